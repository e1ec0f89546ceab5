"""A run on other target labels ends with the same bits: whole runs through the engine, with
clustering, prototypes and pseudo-labels.
"""

import dataclasses
import functools
import shutil

import in_process
import numpy as np
import pytest
from PIL import Image

from dajax.recipes import can, spcl
from dajax.tasks.classification import setup as classification
from dajax.tasks.segmentation import setup as segmentation
from data_pipeline.digits import sets as digits
from data_pipeline.scenes import sets as scenes
from data_pipeline.segmentation.labels import CITYSCAPES

COUNTS = {"source": 6, "target_train": 4, "target_val": 2}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The root of a few scenes of 32 x 64."""
    root = tmp_path_factory.mktemp("honest") / "scenes"
    scenes.ensure(root, size_hw=(32, 64), counts=COUNTS)
    return root


@pytest.fixture(params=["shallow", pytest.param("whole", marks=pytest.mark.slow)])
def network(request, monkeypatch):
    """The recipe's own network, and all of its stages, are for the slow run."""
    if request.param == "shallow":
        monkeypatch.setattr(classification, "build_network", in_process.flat)
        monkeypatch.setattr(
            segmentation, "build_segmenter", in_process.shallow(segmentation.build_segmenter)
        )
    return request.param


@pytest.fixture
def engine():
    """f(config, workdir) -> {stage: states} of a whole run."""

    def run(config, workdir):
        in_process.run(config, workdir)
        return {name: in_process.states(workdir / name) for name in config.stages}

    with in_process.compiled_programs_kept():
        yield run


def figures(workdir, stage):
    """Lines of a stage's metrics without what is for evaluation only, and the lines that are all
    for evaluation.
    """
    rows = in_process.metrics(workdir, stage)
    told = [
        {key: value for key, value in row.items() if "evaluation_only" not in key}
        for row in rows
        if row["kind"] != "evaluation"
    ]
    evaluations = [row for row in rows if row["kind"] == "evaluation"]
    for row in evaluations:
        without = {key: value for key, value in row.items() if key.startswith("label_free_")}
        assert {f"label_free_{rule}" for rule in ("entropy", "im", "snd", "dev")} == without.keys()
        told.append(without)
    return told, evaluations


def test_can_ends_with_the_same_bits_whatever_the_targets_labels_are(
    network, engine, monkeypatch, tmp_path
):
    """Clustering, filter, class-aware batches and the stop rule included: two loops of updates."""
    real, runs, exchange = digits.target, {}, np.random.default_rng(0).permutation(90)

    def target(size, relabel):
        images = real(size)
        return dataclasses.replace(
            images, images=images.images[:90], labels=relabel(images.labels[:90])
        )

    for name, relabel in (
        ("true", lambda labels: labels),
        ("other", lambda labels: (labels[exchange] + 3) % 10),
    ):
        monkeypatch.setattr(digits, "target", functools.partial(target, relabel=relabel))
        config = can.get_config()
        config.stages = ("can",)
        config.update_from_flattened_dict(
            {
                "data.per_class": 6,
                "can.init_from": "",
                "can.batch_size": 8,
                "can.max_loops": 2,
                "can.class_aware.update_fraction": 0.05,
                "can.clustering.max_distance": 1.0,
                "can.clustering.batch_size": 90,
                "evaluation.reestimate_batches": 2,
                "runtime.eval_batch_size": 90,
                "evaluation.source_held_out": 0.34,  # two of six
            }
        )
        runs[name] = engine(config, tmp_path / name)
    in_process.assert_same_states(*runs.values())
    last = runs["true"]["can"][max(runs["true"]["can"])]
    assert (last["['extra']['pseudo_labels']"] >= 0).any() and last["['extra']['loop']"] == 2
    (told, seen), (told_again, seen_again) = (figures(tmp_path / name, "can") for name in runs)
    assert told == told_again and seen != seen_again, (
        "evaluation sees the other labels, nothing else does"
    )
    assert sum(row.get("kind") == "refresh" for row in told) == 2


def relabelled(root, copy):
    """A copy of the scenes in which every target frame has the label of another one, with the
    classes exchanged.
    """
    shutil.copytree(root, copy)
    ids = np.array([entry.id for entry in CITYSCAPES.trained])
    table = np.arange(256, dtype=np.uint8)
    table[ids] = np.random.default_rng(0).permutation(ids)
    for split in ("train", "val"):
        paths = sorted((copy / "target" / "gtFine" / split).rglob("*_labelIds.png"))
        labels = [table[np.asarray(Image.open(path))] for path in paths]
        assert len(paths) > 1
        for path, label in zip(paths, labels[1:] + labels[:1], strict=True):
            Image.fromarray(label).save(path)
    return copy


def test_spcl_ends_with_the_same_bits_whatever_the_targets_labels_are(
    network, engine, drawn, monkeypatch, tmp_path
):
    """Pseudo-labels, prototypes, contrast on both; in the slow run pseudo-labels again, and
    self-training on those.
    """
    depth = 1 if network == "shallow" else 2  # how often pseudo-labels are made and trained on
    runs, roots = {}, {"true": drawn, "other": relabelled(drawn, tmp_path / "relabelled")}
    for name, root in roots.items():
        monkeypatch.setattr(
            scenes,
            "ensure",
            lambda *_, root=root, **__: (str(root / "source"), str(root / "target")),
        )
        config = spcl.get_config()
        labels = ("warm_up_labels", "spcl_labels")[:depth]
        trained = ("spcl", "self_training")[:depth]
        config.stages = ("warm_up_labels", "spcl", "spcl_labels", "self_training")[: 2 * depth]
        config.update_from_flattened_dict(
            {
                "warm_up_labels.init_from": "",
                "spcl.init_from": "",
                "spcl.steps": 2,
                "spcl.batch_size": 2,
                "self_training.steps": 2,
                "self_training.batch_size": 2,
                "evaluation.reestimate_batches": 0,
                "evaluation.agreement_batches": 1,
                "evaluation.num_pictures": 0,
                "evaluation.source_held_out": 0.34,
                "runtime.eval_batch_size": 2,
                "warm_up_labels.statistics": "running",
                "spcl_labels.statistics": "running",
                **{
                    f"data.transforms.{view}.size": (32, 64)
                    for view in ("source", "target", "self_training", "evaluation")
                },
                "model.aspp_rates": (1, 2),
                "model.aspp_branches": 2,
            }
        )
        runs[name] = engine(config, tmp_path / name)
    in_process.assert_same_states(*runs.values())
    for stage in labels:
        one, other = (
            sorted((tmp_path / name / stage / "pseudo_labels").rglob("*.png")) for name in runs
        )
        assert len(one) == len(other) == COUNTS["target_train"]
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
        told, told_again = (figures(tmp_path / name, stage)[0] for name in runs)
        assert told == told_again and len(told) == 1
    for stage in trained:
        (told, seen), (told_again, seen_again) = (figures(tmp_path / name, stage) for name in runs)
        assert told == told_again and seen != seen_again, (
            "evaluation sees the other labels, nothing else does"
        )
