"""Opening a stage of a workdir: its config, a checkpoint and its figures, as what predicts with it
(dajax.trained). Needs no data and no TensorFlow.
"""

import pathlib

from ml_collections import ConfigDict

from dajax.engine import checkpoint, json_files, log, snapshots, teacher
from dajax.engine.old_config import with_added_keys
from dajax.errors import UserError
from dajax.label_free import LAST
from dajax.models import mean_of_networks
from dajax.models.build import build_model, build_segmenter
from dajax.settings import starts_of
from dajax.trained import TrainedClassifier, TrainedSegmenter
from data_pipeline.classification import transforms as preprocess
from data_pipeline.segmentation import transforms as seg_transforms

# Of a damaged file of a workdir: run.py mends some, and says of the others what to do.
REMEDY = "run.py with the --workdir and --config of that run says how it is mended"


def open_workdir(workdir, stage=None, select=LAST):
    """Opens a stage of a workdir, by default the last one that has a checkpoint.

    Args:
      stage: its name.
      select: which of its snapshots: "last", the newest that is whole; or a rule of
        dajax.label_free, the one that it picks of those that are kept, without labels.

    Raises:
      UserError: no workdir, no such stage, no checkpoint that is whole, another file of it is
        damaged, or there is nothing to choose from.
    """
    workdir = pathlib.Path(workdir)
    if not (workdir / "config.json").exists():
        why = "it has no config.json" if workdir.exists() else "there is nothing of this name"
        raise UserError(f"{workdir}: is no workdir of dajax ({why}); pass the --workdir of a run")
    stored = json_files.read(
        workdir / "config.json", REMEDY, keys=("stages", "task", "model", "data")
    )
    config = ConfigDict(with_added_keys(stored))
    if not isinstance(config.stages, (list, tuple)) or not all(
        isinstance(name, str) for name in config.stages
    ):
        raise UserError(
            f"{workdir / 'config.json'}: is damaged (stages={stored['stages']}, expected a list of"
            f" names); {REMEDY}"
        )
    begun = [name for name in config.stages if checkpoint.steps(workdir / name / "checkpoints")]
    if not begun:
        raise UserError(
            f"{workdir}: no stage has a checkpoint yet; train it first, run.py with this --workdir"
            " and its --config"
        )
    stage = stage or begun[-1]
    if stage not in begun:
        raise UserError(
            f"{workdir}: stage '{stage}' has no checkpoint; these have: {', '.join(begun)}"
        )
    step = snapshots.choose(workdir / stage, select)
    state, _ = checkpoint.read(workdir / stage / "checkpoints", step)
    dataset = json_files.read(workdir / "dataset.json", REMEDY, keys=("class_names",))
    directory = workdir / stage
    result = _result(directory / "result.json", int(state["step"]))
    names = dataset["class_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"{workdir / 'dataset.json'}: is damaged (class_names={names}, expected a list of"
            f" names); {REMEDY}"
        )
    shape = dataset["image_shape"] if "image_shape" in dataset else None
    if not isinstance(shape, list) or not all(isinstance(side, int) for side in shape):
        raise UserError(
            f"{workdir / 'dataset.json'}: is damaged (image_shape={shape}, expected height, width"
            f" and channels); {REMEDY}"
        )
    kind, model, transform = _built(config, stage, len(names), workdir / "config.json")
    networks = _networks(state, config, stage, directory)
    return kind(
        config=config,
        stage=stage,
        step=int(state["step"]),
        class_names=tuple(names),
        image_shape=tuple(shape),
        params=networks["params"],
        batch_stats=networks["batch_stats"],
        extra=state["extra"],
        model=model,
        transform=transform,
        results=result,
        metrics=log.read_metrics(directory / "metrics.jsonl"),
    )


def _built(config, stage, num_classes, path):
    """(class of Trained, Flax module, evaluation transform) that a config.json describes.

    Raises:
      UserError: it is JSON, but a key of it is missing or of another type.
    """
    try:
        if config.task == "segmentation":
            model = build_segmenter(config.model, config[stage], num_classes=num_classes)
            model = mean_of_networks.of_stage(model, starts_of(config[stage].init_from))
            transform = seg_transforms.from_config(config.data.transforms.evaluation)
            return TrainedSegmenter, model, transform.for_evaluation()
        if config.task == "classification":
            model = build_model(config.model, config[stage], num_classes=num_classes)
            transform = preprocess.from_config(config.data.transform)
            return TrainedClassifier, model, transform.for_evaluation()
        raise ValueError(f"task={config.task}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problem = f"what it says of stage {stage} is not what a run writes: {error}"
        raise UserError(f"{path}: is damaged ({problem}); {REMEDY}") from error


def _networks(state, config, stage, directory):
    """The dict `state` with the student's networks or the teacher's, as the stage predicts."""
    try:
        return teacher.predicting(state, config[stage])
    except KeyError as error:
        raise UserError(
            f"{directory}: config.{stage}.predict_with='teacher', and the checkpoint holds none;"
            f" {REMEDY}"
        ) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{directory}: what config.json says of predict_with is not what a run writes"
            f" ({error}); {REMEDY}"
        ) from error


def _result(path, step):
    """The stage's figures where they are those of this step: an older checkpoint, taken for a
    damaged one, has none.
    """
    result = json_files.read(path, REMEDY, keys=("step",)) if path.exists() else None
    return result if result is not None and result["step"] == step else None
