"""What differs between classification and segmentation, and nothing else: one module each, chosen by `config.task`. A task is a module with

open_data(config) -> Domains
    Opens the sets that the config names.
domains_to_check(config) -> [(role, what data_pipeline.check_data takes)]
    For `--mode=check_data`.
describe(config, domains) -> [str]
    What was found, a line each, for the head of a run.
make_feed(domains, config, name, *, directory, devices, check_stop) -> feed
    What the methods of stage `name` ask for their batches; `directory` is the stage's.
build_model(config, stage_config, domains) -> Flax module
load_pretrained(config, state) -> TrainState
    With the weights of `config.model.weights`, where it names a file.
evaluate(state, *, data, model, config, run) -> Evaluation
    On the target, the only place where its labels are read; `config` is the stage's, `run` the whole.
judge_refresh(state, *, data) -> {name: float}
    How good the labels are that a refresh has made; for the log only.
check_result(result, class_names)
    Raises ValueError where what result.json holds is not what `evaluate` reports, nor the result of a stage without an evaluation.
table(results, domains) -> str
    The stages side by side.
"""

from dajax.errors import UserError
from dajax.tasks import classification, segmentation

TASKS = {"classification": classification, "segmentation": segmentation}


def get(name):
    """The module of a task.

    Raises:
      UserError: unknown name.
    """
    if name not in TASKS:
        raise UserError(f"unknown config.task '{name}'; known: {', '.join(TASKS)}")
    return TASKS[name]
