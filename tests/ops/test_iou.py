"""IoU against the authors' evaluation code (clan_miou.npz) and a real set of predictions, and the
pictures of it.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dajax.ops.metrics import confusion_matrix, iou_report
from dajax.ops.pictures import NOT_COUNTED, RIGHT, WRONG, panels
from data_pipeline.scenes import sets as scenes
from data_pipeline.segmentation import labels

count = jax.jit(
    lambda gt, prediction: confusion_matrix(gt, prediction, jnp.ones(gt.shape, bool), 19)
)


@pytest.mark.parametrize("case", ["a", "b"])
def test_the_confusion_matrix_and_its_means_are_the_authors(golden, case):
    arrays = golden("clan_miou")[""]
    gt = labels.map_ids(arrays["gt_ids"][0], labels.CITYSCAPES, "golden")
    np.testing.assert_array_equal(gt, arrays["gt_trainids"][0])
    confusion = np.asarray(
        count(
            jnp.asarray(arrays["gt_trainids"], jnp.int32),
            jnp.asarray(arrays[f"{case}_pred"], jnp.int32),
        )
    )
    np.testing.assert_array_equal(confusion, arrays[f"{case}_hist"])
    report = iou_report(
        confusion, labels.CITYSCAPES.class_names, labels.subsets_of(labels.CITYSCAPES)
    )
    iou = np.array([np.nan if value is None else value for value in report["iou"].values()])
    np.testing.assert_allclose(iou / 100, arrays[f"{case}_iou"], rtol=1e-9)
    for name, key in (("miou", "miou19_nanmean"), ("miou_16", "miou16"), ("miou_13", "miou13")):
        np.testing.assert_allclose(report[name] / 100, arrays[f"{case}_{key}"], rtol=1e-9)


@pytest.mark.slow
def test_somebodys_real_predictions_have_the_known_miou(shared_data):
    """250 frames of Cityscapes val: 45.57, and per class as that folder's README says."""
    folder, total = shared_data / "cityscapes_val250", np.zeros((19, 19), np.int64)
    truths = sorted((folder / "gt_trainIds").glob("*.png"))
    assert len(truths) == 250
    (predictions,) = [
        path for path in folder.iterdir() if path.is_dir() and path.name != "gt_trainIds"
    ]
    names = {
        pathlib.Path(path).name.split("_gtFine")[0].split("_leftImg8bit")[0]: path
        for path in predictions.glob("*.png")
    }
    for path in truths:
        gt = np.asarray(Image.open(path))
        prediction = np.asarray(Image.open(names[path.name.split("_gtFine")[0]]))
        total += np.asarray(count(jnp.asarray(gt, jnp.int32), jnp.asarray(prediction, jnp.int32)))
    report = iou_report(total, labels.CITYSCAPES.class_names, {})
    known = (
        "94.8 64.2 83.5 16.8 24.2 29.1 28.9 45.0 86.0 50.6 88.2 52.4 24.9 81.9 10.3 15.9 9.0 11.2"
    )
    known = [float(iou) for iou in f"{known} 48.9".split()]
    np.testing.assert_allclose(list(report["iou"].values()), known, atol=0.05)
    assert round(report["miou"], 2) == 45.57


def test_the_iou_of_drawn_streets_is_that_of_their_sets_of_pixels():
    """Labels of the scenes against the labels of other scenes: per class, pixels of both over
    pixels of either, in plain Python.
    """

    def label(split, i):
        return labels.CITYSCAPES.lut[scenes.draw("target", split, i, size_hw=(32, 64), seed=0)[1]]

    truths, predictions = ([label(split, i) for i in range(4)] for split in ("train", "val"))
    total = np.zeros((19, 19), np.int64)
    both, either = np.zeros(19), np.zeros(19)
    for truth, prediction in zip(truths, predictions, strict=True):
        prediction = np.where(prediction == 255, 3, prediction)  # a network leaves no pixel out
        total += np.asarray(
            count(jnp.asarray(truth, jnp.int32), jnp.asarray(prediction, jnp.int32))
        )
        both_labels = zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True)
        pixels = [(k, p) for k, p in both_labels if k != 255]
        for c in range(19):
            both[c] += sum(k == p == c for k, p in pixels)
            either[c] += sum(k == c or p == c for k, p in pixels)
    report = iou_report(total, labels.CITYSCAPES.class_names, {"pair": (0, 2)})
    known = either > 0
    assert known.sum() > 12 and (both > 0).sum() > 5
    np.testing.assert_allclose(
        [value for value in report["iou"].values() if value is not None],
        100 * both[known] / either[known],
    )
    np.testing.assert_allclose(report["miou"], 100 * np.mean(both[known] / either[known]))
    np.testing.assert_allclose(report["miou_pair"], 100 * np.mean(both[[0, 2]] / either[[0, 2]]))


def test_a_class_that_nobody_has_is_left_out_and_one_only_predicted_counts_zero():
    confusion = np.array([[2, 0, 1], [0, 0, 0], [0, 0, 0]])
    report = iou_report(confusion, ["a", "b", "c"], {"ab": (0, 1), "b": (1,)})
    assert report["iou"] == {"a": pytest.approx(200 / 3), "b": None, "c": 0.0}
    assert (
        report["miou"] == pytest.approx(100 / 3)
        and report["miou_ab"] == pytest.approx(200 / 3)
        and report["miou_b"] is None
    )


def test_the_picture_shows_what_is_right_wrong_and_not_counted():
    image, palette = np.full((2, 2, 3), 9, np.uint8), np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    picture = panels(
        image, np.array([[0, 1], [1, 0]], np.uint8), np.array([[0, 0], [255, 0]], np.uint8), palette
    )
    assert picture.shape == (2, 14, 3)
    np.testing.assert_array_equal(picture[:, :2], image)
    np.testing.assert_array_equal(picture[0, 4:6], palette)
    np.testing.assert_array_equal(picture[1, 8], (0, 0, 0))
    np.testing.assert_array_equal(picture[0, 12:], [RIGHT, WRONG])
    np.testing.assert_array_equal(picture[1, 12], NOT_COUNTED)
    without_label = panels(image, np.array([[0, 1], [1, 0]], np.uint8), None, palette)
    np.testing.assert_array_equal(without_label, picture[:, :6])
