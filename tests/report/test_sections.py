"""What the sections of a report say of made-up networks: whose rows, whose statistics, and which
figure stands where.
"""

import dataclasses
import types

import jax
import numpy as np
import pytest

from dajax.report import context as contexts
from dajax.report import features, pixels, predictions, seen, training
from dajax.report.context import Context, Network
from dajax.report.seen import ImageSample
from dajax.tasks.segmentation.pseudo_label_feed import PSEUDO_LABELS

NAMES = ("cat", "dog")
some = types.SimpleNamespace


def image_context(network=None, **samples):
    """A Context of classifiers that say `samples`, {domain: ImageSample}."""
    return some(
        task="classification",
        class_names=NAMES,
        networks=[network],
        runs=[None],
        labelled=lambda what: None,
        sample=lambda network, domain: samples[domain],
    )


def image_sample(features, labels, logits=None):
    features = np.array(features, np.float32)
    rows = 10 * np.arange(len(features))
    return ImageSample(rows, np.array(labels), features, np.array(logits or features, np.float32))


def test_a_domain_goes_through_its_own_statistics():
    network = Network("can", None, some(config=some(target_bn=1)), None)
    assert (network.norm_set("source"), network.norm_set("target")) == (0, 1)


def test_the_target_of_a_report_is_what_is_measured_on():
    domains = some(source="photos", target="to adapt to", evaluation="to measure on")
    network = some(run=some(domains=domains))
    assert Context.images_of(None, network, "source") == "photos"
    assert Context.images_of(None, network, "target") == "to measure on"


def test_of_several_runs_the_last_stages_are_compared():
    stages = [some(name="source_only"), some(name="can")]
    run = some(networks=lambda: stages)
    assert contexts._chosen(run, None, is_comparison=True) == stages[1:]
    assert contexts._chosen(run, None, is_comparison=False) == stages
    assert contexts._chosen(run, "source_only", is_comparison=True) == stages[:1]


@dataclasses.dataclass
class Trained:
    step: int
    params: int
    batch_stats: int = 0
    extra: int = 0


def test_a_snapshot_is_read_of_its_own_step(monkeypatch, tmp_path):
    def read(directory, step):
        assert directory == tmp_path / "can" / "checkpoints"
        return dict(params=step, batch_stats=step, extra=step), None

    monkeypatch.setattr(contexts.checkpoint, "read", read)
    monkeypatch.setattr(contexts.teacher, "predicting", lambda state, config: state)
    stage = some(directory=tmp_path / "can", config=None, snapshots=[10, 20, 30, 40, 50])
    newest = Network("can", None, stage, Trained(50, 50))
    found = [network.trained for network in Context.snapshots(None, newest, 3)]
    assert [(one.step, one.params) for one in found] == [(10, 10), (30, 30), (50, 50)]
    assert found[0].batch_stats == found[0].extra == 10 and found[-1] is newest.trained


def test_images_of_several_sources_go_through_the_statistics_of_theirs():
    domains = some(sources=(range(3), range(4)))
    network = some(run=some(domains=domains), norm_set=lambda domain: 2)
    parts = seen._by_statistics(network, "source", np.array([0, 2, 3, 6]))
    assert [(name, rows.tolist()) for name, rows in parts] == [
        ("source0", [0, 2]),
        ("source1", [3, 6]),
    ]
    ((name, rows),) = seen._by_statistics(network, "target", np.array([0, 6]))
    assert name == "target" and rows.tolist() == [0, 6]


def test_distances_are_of_both_domains_and_of_unit_features_on_request():
    """Class 0 lies at (2, 0) and (4, 0), class 1 at (0, 4) and (0, 6): scatter 1 around centers
    (3, 0) and (0, 5). Of length 1 the domains are the same.
    """
    source = image_sample([[2, 0], [0, 4]], [0, 1])
    target = image_sample([[4, 0], [0, 6]], [0, 1])
    context = image_context(source=source, target=target)
    gap, ratio = features.distances(context, None, unit=False)
    np.testing.assert_allclose(gap, [2, 2])
    np.testing.assert_allclose(ratio, [1 / 34, 1 / 34])
    gap, ratio = features.distances(context, None, unit=True)
    np.testing.assert_allclose([gap, ratio], np.zeros((2, 2)), atol=1e-12)


def test_an_embedding_of_both_domains_is_taken_apart_again(monkeypatch):
    monkeypatch.setattr(features, "tsne", lambda rows, seed: rows[:, :2])
    sets = {"source": np.arange(9.0).reshape(3, 3), "target": -np.ones((2, 3))}
    found = features._embedded(sets, {"source": np.array([0, 1, 0]), "target": None})
    for domain, (points, _) in found.items():
        np.testing.assert_array_equal(points, sets[domain][:, :2])
    assert found["source"][1].tolist() == [0, 1, 0] and found["target"][1] is None


def test_frequencies_are_of_labels_and_predictions_of_each_domain():
    source = image_sample([[1, 0], [1, 0], [1, 0]], [0, 0, 0])
    target = image_sample([[1, 0], [0, 1], [0, 1]], [1, 1, 1])
    counts = pixels._image_counts(image_context(source=source, target=target), some(label="can"))
    assert {name: row.tolist() for name, row in counts.items()} == {
        "source, labels": [3, 0],
        "target, predictions of can": [1, 2],
        "target, true classes": [0, 3],
    }


def test_a_failure_says_what_was_predicted_and_what_is_true(monkeypatch):
    """Of the rows 0, 10 and 20 of the set the last two are wrong, the last one surely."""
    target = image_sample([[1, 0], [0, 1], [9, 0]], [0, 0, 1])
    shown = {}

    def image_grid(images, titles):
        shown.update(zip(images, titles, strict=True))

    monkeypatch.setattr(predictions.plots, "image_grid", image_grid)
    context = image_context(some(label="can"), target=target)
    context.images_of = lambda network, domain: some(read=lambda row: (domain, int(row)))
    (picture,) = predictions.failures(context).blocks
    assert shown == {
        ("target", 20): "cat, not dog\n100.0% sure",
        ("target", 10): "dog, not cat\n73.1% sure",
    }
    assert list(shown)[0] == ("target", 20), "the surest first"
    assert picture.caption.startswith("can: 2 of 3 sampled target images are wrong, all of them")


def test_pseudo_labels_are_those_of_the_last_refresh():
    def line(share, **figures):
        return {"kind": "refresh", "labelled": share, "labelled_per_class": [share, 1 - share]}

    first, last = (
        line(0.25),
        line(0.75)
        | {
            "churn": 0.125,
            "density_evaluation_only": 70.0,
            "accuracy_evaluation_only": 90.0,
            "accuracy_dog_evaluation_only": 80.0,
            "threshold_cat": 0.5,
        },
    )
    stage = some(label="labels_1", metrics=[first, {"kind": "train"}, last])
    section = training.pseudo_labels(some(stages=[stage], class_names=NAMES))
    _, table, per_class = section.blocks
    assert table.rows == [["labels_1", 75.0, 12.5, 70.0, 90.0]]
    assert per_class.head[1:] == [
        f"labels_1: {title}" for title in ("share %", "threshold", "accuracy %")
    ]
    assert per_class.rows == [["cat", 75.0, 0.5, None], ["dog", 25.0, None, 80.0]]


def test_a_verdict_has_before_and_after_in_their_columns():
    verdict = {"before": {"pixel_agreement": 60.0}, "after": {"pixel_agreement": 70.0}}
    run = some(label="", verdicts={"bicl_1": verdict | {"kept": True}})
    _, table = training.verdicts(some(runs=[run])).blocks
    assert table.head == ["round", "figure", "before", "after", "kept"]
    assert table.rows == [["bicl_1", "pixel_agreement", 60.0, 70.0, True]]


@pytest.fixture
def bicl(tmp_path, monkeypatch):
    """f(calibrate) -> {kind: (density, accuracy)} of a stage over two images of three pixels."""
    (tmp_path / "labels_0" / PSEUDO_LABELS).mkdir(parents=True)
    static = np.array([[[0, 255, 1]], [[1, 255, 255]]], np.uint8)
    truth = np.array([[[0, 1, 1]], [[0, 1, 1]]], np.uint8)
    of_pixels = np.array([[[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]]], np.float32)

    class Target:
        name, has_labels = "street", True

        def __len__(self):
            return 2

        def without_labels(self):
            return self

    def outputs(network, domain, images, rows):
        return [(of_pixels, None, truth[row]) for row in rows]

    monkeypatch.setattr(pixels, "pixel_outputs", outputs)
    made = some(read_label=lambda row: static[row])
    monkeypatch.setattr(pixels.pseudo_label_files, "read", lambda folder, images: made)
    eye, known = np.eye(2, dtype=np.float32), np.array([True, True])
    extra = dict(mu_source=eye, known_source=known, known_target=known)
    extra["mu_target"] = np.float32([[1, 0], [1, 1]])
    sums = np.float32([[8, 0], [0, 2]]), np.float32([8, 2])
    sample = some(moments=(np.array([8, 2]), sums[0], sums[1]))

    def kinds(calibrate):
        dynamic = some(on=True, calibrate=calibrate, threshold=0.9, score="cosine", share=0.0)
        stage = some(
            config=some(
                method="bicl",
                dynamic=dynamic,
                labels_from="labels_0",
                temperature=1.0,
                priority="dynamic",
            )
        )
        run = some(domains=some(target=Target()), workdir=tmp_path)
        network = some(label="bicl", stage=stage, run=run, trained=some(extra=extra))
        context = some(networks=[network], class_names=NAMES, samples=9, sample=lambda *_: sample)
        _, table = pixels.bicl_kinds(context).blocks
        return {kind: tuple(figures) for _, kind, *figures in table.rows}

    return kinds


def test_kinds_of_labels_are_those_of_the_stage(bicl, unchecked_types):
    """Static: three of six pixels, one of them wrong. Dynamic: the first pixel of each image; with
    calibration, which turns the second class by 45 degrees, the second one too.
    """
    third = 100 / 3
    with jax.numpy_dtype_promotion("standard"):  # as users have it
        on, off = bicl(True), bicl(False)
    assert on["static"] == pytest.approx((50.0, 2 * third))
    assert on["dynamic, uncalibrated"] == pytest.approx((third, 100.0))
    assert on["dynamic, calibrated"] == pytest.approx((2 * third, 100.0))
    assert on["hybrid"] == pytest.approx((500 / 6, 100.0))
    assert off["dynamic, calibrated"] == off["dynamic, uncalibrated"]


def test_a_pair_of_images_shares_the_rarest_class_and_needs_no_label_of_the_target(monkeypatch):
    """Class 1 is the rarest of the source, and no prediction in the first target image has it,
    though its label does.
    """
    labels = {"source": np.array([[[0, 0]], [[0, 1]]]), "target": np.array([[[1, 1]], [[0, 0]]])}
    predicted = np.array([[[0, 0]], [[0, 1]]])

    def outputs(network, domain, images, rows):
        return [(None, np.eye(2)[predicted[row]], labels[domain][row]) for row in rows]

    monkeypatch.setattr(pixels, "pixel_outputs", outputs)
    context = some(
        class_names=NAMES,
        images_of=lambda network, domain: None,
        sample=lambda network, domain: some(rows=np.arange(2), label_counts=np.array([3, 1])),
    )
    assert pixels._pair(context, None) == ({"source": 1, "target": 1}, 1)
