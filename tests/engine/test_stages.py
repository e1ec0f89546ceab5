"""Stages in their order, in this process: what a stage begins with, and what damage to the stage
before does to it.
"""

import json
import shutil
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_classifier import ToyNetwork

import dajax
from dajax import tasks
from dajax.engine import checkpoint, stages
from dajax.errors import UserError
from dajax.methods.classification import source_only
from dajax.models.apply import init_network
from dajax.models.aspp import SegOutput
from dajax.models.norm import DomainBatchNorm
from dajax.recipes import can, source_only_seg

STEPS = 6


class Flat(ToyNetwork):
    """The toy classifier for pictures: seconds of compilation less than a ResNet, and the engine
    asks no more of a network.
    """

    def __call__(self, images, mode):
        return super().__call__(images.reshape(len(images), -1), mode)


class OneConvolution(nn.Module):
    """A segmenter at an eighth of the size."""

    num_classes: int
    network: ClassVar[str] = "segmenter"
    align_corners: ClassVar[bool] = True

    def frozen_parameters(self):
        return ()

    def prediction_logits(self, output):
        return output.logits

    @nn.compact
    def __call__(self, images, mode):
        features = nn.relu(
            DomainBatchNorm(num_domains=1, name="bn")(
                nn.Conv(4, (8, 8), strides=8, name="conv")(images), mode
            )
        )
        return SegOutput(features, nn.Dense(self.num_classes, name="head")(features), None)


@pytest.fixture(scope="module", autouse=True)
def toy_networks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tasks.classification,
            "build_model",
            lambda *_: Flat(num_classes=10, widths=(8, 8), stops=False),
        )
        patch.setattr(tasks.segmentation, "build_model", lambda *_: OneConvolution(num_classes=19))
        yield


def with_heir(config, **first):
    """The recipe cut down to source_only and a copy of it that begins with its networks and then
    stands still: learning rate 0.
    """
    config.source_only.update(first)
    config.heir = config.source_only.copy_and_resolve_references()
    config.heir.update(dict(init_from="source_only", steps=1))
    config.heir.optimizer.lr = 0.0
    config.stages = ("source_only", "heir")
    config.runtime.update(
        dict(compilation_cache=tiny.CACHE, checkpoint_every=2, log_every=1, devices=1)
    )
    return config


def classification():
    config = can.get_config()
    config.data.per_class, config.evaluation.reestimate_batches = 4, 0
    return with_heir(config, steps=STEPS, batch_size=4)


def segmentation(root):
    config = source_only_seg.get_config()
    config.data.scenes.update(dict(source=2, target=2, evaluation=1, root=str(root)))
    config.evaluation.update(dict(reestimate_batches=0, num_pictures=0))
    return with_heir(config, steps=1, batch_size=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir of classification(), which nothing disturbed; tests change copies of it."""
    workdir = tmp_path_factory.mktemp("stages") / "run"
    stages.run(classification(), workdir, "train")
    return workdir


def parameters(workdir, stage):
    return {
        name: leaf
        for name, leaf in tiny.final_state(workdir, stage).items()
        if name.startswith("params/")
    }


def assert_the_heir_has_what_source_only_left(workdir, model, shape):
    """Every array bit for bit, and not what a stage begins with by itself: the same seed gives
    every stage the same random network.
    """
    left, heir = parameters(workdir, "source_only"), parameters(workdir, "heir")
    assert left.keys() == heir.keys() and left
    for name in left:
        np.testing.assert_array_equal(heir[name], left[name], err_msg=name)
    config = json.loads((workdir / "config.json").read_text())
    assert config["heir"]["init_from"] == "source_only" and config["heir"]["optimizer"]["lr"] == 0

    random_network, _ = init_network(jax.random.key(0), jnp.zeros((2, *shape)), model=model)
    random_network = jax.tree.leaves_with_path(random_network)
    moved = [
        leaf
        for path, leaf in random_network
        if (
            np.asarray(leaf)
            != left[f"params/{jax.tree_util.keystr(path, simple=True, separator='/')}"]
        ).any()
    ]
    assert len(moved) > len(left) / 2


def test_a_classifier_begins_with_the_network_that_init_from_names(finished):
    assert_the_heir_has_what_source_only_left(
        finished, tasks.classification.build_model(), (32, 32, 1)
    )


def test_a_segmenter_begins_with_the_network_that_init_from_names(tmp_path):
    stages.run(segmentation(tmp_path / "scenes"), tmp_path / "run", "train")
    assert_the_heir_has_what_source_only_left(
        tmp_path / "run", tasks.segmentation.build_model(), (64, 128, 3)
    )


def copy_without(finished, tmp_path, *names):
    """A copy of the finished workdir, as if it had been stopped before these were made."""
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    for name in names:
        path = workdir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return workdir


def spoil_newest(workdir, stage="source_only"):
    """Turns one bit of the arrays of a stage's last checkpoint; its step."""
    folder = workdir / stage / "checkpoints"
    step = checkpoint.steps(folder)[-1]
    path = max(
        (folder / str(step) / "state").rglob("*"),
        key=lambda path: path.stat().st_size if path.is_file() else 0,
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return step


def assert_same_outcome(workdir, finished):
    for stage in ("source_only", "heir"):
        left, right = tiny.final_state(workdir, stage), tiny.final_state(finished, stage)
        for name in right:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{stage}: {name}")
        assert (workdir / stage / "metrics.jsonl").read_text() == (
            finished / stage / "metrics.jsonl"
        ).read_text()
    assert (
        json.loads((workdir / "results.json").read_text())["stages"]
        == json.loads((finished / "results.json").read_text())["stages"]
    )
    events = EventAccumulator(str(workdir / "source_only"), size_guidance={"scalars": 0})
    events.Reload()
    for tag, steps in (("train/loss", range(1, STEPS + 1)), ("evaluation/accuracy", [STEPS])):
        assert sorted(event.step for event in events.Scalars(tag)) == list(steps), tag


def test_a_stage_resumed_past_a_damaged_checkpoint_ends_with_the_same_bits(
    finished, tmp_path, capsys
):
    workdir = copy_without(finished, tmp_path, "results.json", "source_only/result.json", "heir")
    assert spoil_newest(workdir) == STEPS
    stages.run(classification(), workdir, "train")
    said = capsys.readouterr().out
    assert (
        f"the checkpoint of step {STEPS} is damaged" in said
        and f"source_only: continues at step {STEPS - 2}" in said
    )
    assert (workdir / "source_only" / "checkpoints" / f"{STEPS}.damaged").is_dir()
    assert_same_outcome(workdir, finished)


def test_a_finished_stage_whose_end_is_damaged_is_trained_to_it_again_for_its_heir(
    finished, tmp_path, capsys
):
    """An older checkpoint of a finished stage is no substitute: the next stage would begin with
    another network.
    """
    workdir = copy_without(finished, tmp_path, "results.json", "heir")
    spoil_newest(workdir)
    stages.run(classification(), workdir, "train")
    assert f"source_only: continues at step {STEPS - 2}" in capsys.readouterr().out
    assert_same_outcome(workdir, finished)


def test_damage_to_a_stage_that_nobody_begins_with_any_more_is_left_alone(
    finished, tmp_path, capsys
):
    workdir = copy_without(finished, tmp_path, "results.json")
    spoil_newest(workdir)
    stages.run(classification(), workdir, "train")
    assert capsys.readouterr().out.count("already finished") == 2


def test_evaluating_and_opening_take_the_older_checkpoint_and_say_so(finished, tmp_path, capsys):
    workdir = copy_without(finished, tmp_path)
    spoil_newest(workdir)
    stages.run(classification(), workdir, "eval")
    said = capsys.readouterr().out
    assert f"that of step {STEPS - 2} is taken instead" in said
    assert (
        json.loads((workdir / "eval.json").read_text())["stages"]["source_only"]["step"]
        == STEPS - 2
    )
    trained = dajax.load(workdir, "source_only")
    assert trained.step == STEPS - 2 and trained.results is None, (
        "the figures on file are another step's"
    )
    assert f"that of step {STEPS - 2} is taken instead" in capsys.readouterr().out
    assert dajax.load(finished, "source_only").results["step"] == STEPS


@pytest.mark.parametrize(
    "spoils, says",
    [
        ("params", r"params/\S+ is not finite after step 4"),
        ("loss", r"step 4 is not finite \(.*loss inf"),
    ],
)
def test_what_is_not_finite_reaches_no_checkpoint(tmp_path, monkeypatch, spoils, says):
    """Parameters of step 4, whose own figures are of before its update and finite; or its loss."""
    train_step = source_only.train_step

    def spoiling(*args, **kwargs):
        state, metrics = train_step(*args, **kwargs)
        spoil = jnp.where(state.step == 4, jnp.inf, 1.0)
        if spoils == "loss":
            return state, metrics | {"loss": metrics["loss"] * spoil}
        return state.replace(params=jax.tree.map(lambda x: x * spoil, state.params)), metrics

    monkeypatch.setattr(source_only, "train_step", spoiling)
    config = classification()
    with pytest.raises(
        UserError,
        match=rf"source_only: {says}.*; stopped before it reached a checkpoint. Lower",
    ):
        stages.run(config, tmp_path / "run", "train")
    assert checkpoint.steps(tmp_path / "run" / "source_only" / "checkpoints") == [2]
    assert all(
        np.isfinite(leaf).all()
        for leaf in tiny.final_state(tmp_path / "run", "source_only").values()
    )


def test_a_finished_run_that_is_called_again_keeps_what_made_its_figures(finished, tmp_path):
    workdir = copy_without(finished, tmp_path)
    path = workdir / "results.json"
    made_elsewhere = json.loads(path.read_text()) | {"devices": "8 x another"}
    path.write_text(json.dumps(made_elsewhere))
    stages.run(classification(), workdir, "train")
    assert json.loads(path.read_text()) == made_elsewhere
    path.write_text(json.dumps(made_elsewhere | {"stages": {}}))  # of other figures
    stages.run(classification(), workdir, "train")
    mended = json.loads(path.read_text())
    assert mended["stages"] == made_elsewhere["stages"] and "another" not in mended["devices"]
