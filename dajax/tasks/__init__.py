"""What differs between classification and segmentation, and nothing else: one module each, chosen
by `config.task`. A task is a module with

open_data(config) -> Domains
    Opens the sets that the config names, and reads what is done to their images.
domains_to_check(config) -> [(role, what data_pipeline.check.check_data takes)]
    For `--mode=check_data`.
describe(config, domains) -> [str]
    What was found, a line each, for the head of a run; what the readers left out is part of it.
problems(config, domains, *, files=True, training=True) -> [str]
    What would stop the run over its data, a line each, found before the first step. files=False
    leaves out the state of single files, for a caller that has decoded them all; training=False
    looks at the evaluation set alone.
write_classes(domains, workdir)
    In segmentation: writes what the classes' ids and colours are into the workdir, for whoever
    predicts with it where the data are not.
check_labels(config, domains, workdir)
    In segmentation: raises DataError or UserError where images do not hold what a stage draws,
    which the labels of all of them tell. What is counted is kept in the workdir.
make_feed(domains, config, name, *, directory, devices, stop) -> tasks.feed.BaseFeed
    What the methods of stage `name` ask for their batches; `directory` is the stage's.
build_model(config, stage_config, domains) -> Flax module
load_pretrained(config, state) -> TrainState
    With the weights of `config.model.weights`, where it names a file.
evaluate(state, *, data, model, config, stage_config) -> Evaluation
    On the target, the only place where its labels are read; and what needs none of them, see
    dajax.label_free.
legend_of_pictures(data) -> [(text, colour)]
    In a task whose evaluation has pictures: what their colours mean.
judge_refresh(state, *, data) -> {name: figure}
    How good the labels are that a refresh has made; for the log only.
warn_of_refresh(figures, earlier, *, data) -> [str]
    What the user should know of a refresh, found without labels of the target. `figures` are those
    of judge_refresh and of the method's refresh, `earlier` a list of those of the refreshes before.
view_agreement(state, *, data, model, config, stage_config) -> {name: float}
    In a task with rounds of self-training: how much the predictions for two views of unlabelled
    target images agree, see engine.rounds.
check_result(result, class_names)
    Raises ValueError where what result.json holds is not what `evaluate` reports, nor the result of
    a stage without an evaluation.
table(results, domains, chosen="last step") -> str
    The stages side by side; `chosen` says in the title of which snapshots.

`config` is the run's, `stage_config` a stage's own part of it.
"""

from dajax.errors import UserError
from dajax.tasks.classification import setup as classification
from dajax.tasks.segmentation import setup as segmentation

TASKS = {"classification": classification, "segmentation": segmentation}


def check_start(config, domains, *, training):
    """Asks the task for its `problems` before anything is spent on training.

    Raises:
      UserError: the first of them, and how many more there are.
    """
    problems = get(config.task).problems(config, domains, training=training)
    if problems:
        others = len(problems) - 1
        more = f" ({others:,} more such findings; --mode=check_data lists them)" if others else ""
        raise UserError(problems[0] + more)


def get(name):
    """The module of a task.

    Raises:
      UserError: unknown name.
    """
    if name not in TASKS:
        raise UserError(f"unknown config.task '{name}'; known: {', '.join(TASKS)}")
    return TASKS[name]
