"""One adaptation method per file. A method is a module with

init(rng, images, *, config, model, num_images) -> TrainState
    The state at step 0; `images` is one example batch, for its shape; num_images is {"source": N_s,
    "target": N_t, "sources": number of sources}.
plan(state, *, data, config) -> {part name: data_pipeline Part}
    What the batch of each step consists of, until the next refresh. `data.with_index(part)` adds
    each row's number in its set, "index" (-1 in padding); `data.with_strong_view(part)` a second
    view of the same rows, "strong_image", as config.data.strong_view describes it.
train_step(state, batch, rng, *, config, model, axis_name=None) -> (TrainState, {name: float
scalar})
    Pure; compiled once per stage. Metrics are the same on every device.

and, where the paper alternates,

schedule(state, *, config) -> Schedule
    When the next refresh is due and whether the stage is finished; without it a stage runs for
    config.steps steps.
refresh(state, *, data, config, model) -> (TrainState, {name: float}, [str])
    Host side: clustering, pseudo-labels. With it come figures for the log, and lines that the user
    should read.

A method without train_step is one refresh and no more, pseudo_labels for one: nothing is trained
there, and nothing evaluated.

`config` is the stage's own part of the config, `config.<stage>`.
"""

from dajax.errors import UserError
from dajax.methods import adabn, pseudo_labels
from dajax.methods.classification import (
    can,
    cdan,
    dan,
    dann,
    jan,
    mcd,
    mscan,
    source_only,
)
from dajax.methods.segmentation import (
    adaptsegnet,
    bicl,
    clan,
    plca,
    self_training,
    spcl,
)
from dajax.methods.segmentation import source_only as source_only_seg

BY_TASK = {
    "classification": {
        "adabn": adabn,
        "can": can,
        "cdan": cdan,
        "dan": dan,
        "dann": dann,
        "jan": jan,
        "mcd": mcd,
        "mscan": mscan,
        "source_only": source_only,
    },
    "segmentation": {
        "adabn": adabn,
        "adaptsegnet": adaptsegnet,
        "bicl": bicl,
        "clan": clan,
        "plca": plca,
        "pseudo_labels": pseudo_labels,
        "self_training": self_training,
        "source_only_seg": source_only_seg,
        "spcl": spcl,
    },
}
METHODS = BY_TASK["classification"] | BY_TASK["segmentation"]


def get(name, task, key):
    """The module of a method.

    Args:
      name: of the method. task: config.task. key: of the config, for messages.

    Raises:
      UserError: unknown name, or a method of the other task.
    """
    known = BY_TASK[task]
    if name not in known:
        problem = (
            f"is a method of the other task, this is {task}" if name in METHODS else "is unknown"
        )
        raise UserError(f"{key}='{name}' {problem}; methods of {task}: {', '.join(known)}")
    return known[name]
