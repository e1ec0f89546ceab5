"""The feed's words for rare classes and margins, on files of frames whose pixels say where they
are.
"""

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from dajax.errors import UserError
from dajax.recipes.base import segmentation as seg_base
from dajax.tasks.common import Domains
from dajax.tasks.segmentation import problems as seg_problems
from dajax.tasks.segmentation import rare_classes
from dajax.tasks.segmentation.feed import SegFeed
from data_pipeline.errors import DataError
from data_pipeline.segmentation import pseudo_label_files, resizes
from data_pipeline.segmentation import transforms as seg_transforms
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.labels import CITYSCAPES
from data_pipeline.segmentation.segmentation_set import SegmentationSet

ROAD_ID, RIDER_ID, RIDER = 7, 25, 12  # ids of files, and a train id
FRAME_HW, CROP_HW = (40, 80), (24, 24)
RARE = ConfigDict(dict(temperature=1.0, min_pixels=100, min_crop_ratio=0.5))
# The rider is 144 of 3,200 pixels of each of two frames out of six.
RIDERS = {1: (20, 60), 4: (3, 2)}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("frames"), ([], [])
    rows, columns = np.mgrid[: FRAME_HW[0], : FRAME_HW[1]]
    for i in range(6):
        ids = np.full(FRAME_HW, ROAD_ID, np.uint8)
        if i in RIDERS:
            top, left = RIDERS[i]
            ids[top : top + 12, left : left + 12] = RIDER_ID
        image = np.stack([rows, columns, np.full(FRAME_HW, i)], -1).astype(np.uint8)
        for kind, array, files in (("image", image, paths[0]), ("label", ids, paths[1])):
            files.append(str(folder / f"{kind}{i}.png"))
            Image.fromarray(array).save(files[-1])
    return SegmentationSet("frames", *map(tuple, paths), CITYSCAPES, read_ids)


def transform(**settings):
    """Crops of frames that nothing resizes, in bytes."""
    plain = dict(channels="rgb", mean=(0.0,) * 3, resize="bilinear_plain")
    crops = dict(fit=FRAME_HW, size=CROP_HW, flip=True)
    return seg_transforms.from_config(seg_base.whole_frames(CROP_HW) | plain | crops | settings)


def feed_of(frames, directory, **settings):
    view = transform(**settings)
    domains = Domains(
        frames,
        frames,
        frames,
        {"source": view, "target": view, "evaluation": view.for_evaluation()},
        (*CROP_HW, 3),
        frames.class_names,
    )
    return SegFeed(
        domains,
        seed=0,
        stage="mixing",
        directory=directory / "mixing",
        devices=jax.devices()[:1],
        is_oracle=False,
    )


def test_a_batch_shows_enough_of_the_class_that_each_image_was_drawn_for(frames, tmp_path):
    """And image, label and margins are at one place, whatever crop was chosen; any step can be
    asked for directly.
    """
    feed = feed_of(frames, tmp_path)
    parts = {
        "source": feed.rare_classes("source", 3, RARE),
        "target": feed.shuffled("target", 2, margins=(0.1, 0.25, 0.0, 0.05)),
    }
    with feed.steps(parts, 0, 8) as stream:
        batches = list(stream)
    shown = {True: [], False: []}
    for step, batch in enumerate(batches):
        image, label = (batch["source"][name] for name in ("image", "label"))
        row, column, frame = np.moveaxis(image.astype(int), -1, 0)
        drawn = parts["source"].wanted.of_step(step)
        np.testing.assert_array_equal(frame[:, 0, 0], parts["source"].rows(step))
        for i in range(3):
            top, left = RIDERS.get(frame[i, 0, 0], (-99, -99))
            inside = (row[i] >= top) & (row[i] < top + 12)
            inside &= (column[i] >= left) & (column[i] < left + 12)
            np.testing.assert_array_equal(label[i], np.where(inside, RIDER, 0))
            shown[bool(drawn[i] == RIDER)].append(inside.sum())
        assert "label" not in batch["target"] and "trusted" not in batch["source"]
        row, column, _ = np.moveaxis(batch["target"]["image"].astype(int), -1, 0)
        trusted = (row >= 4) & (row < 30) & (column < 76)
        np.testing.assert_array_equal(batch["target"]["trusted"], trusted)
        assert batch["target"]["trusted"].dtype == bool
    # one crop in eight shows 50 of its pixels: all of eleven fail once in four
    assert len(shown[True]) > 8 and np.mean(np.array(shown[True]) > 50) > 0.6
    assert np.mean(np.array(shown[False]) > 50) < 0.3
    with feed_of(frames, tmp_path).steps(
        {"source": feed_of(frames, tmp_path).rare_classes("source", 3, RARE)}, 5, 6
    ) as stream:
        again = next(stream)["source"]
    for name, value in again.items():
        np.testing.assert_array_equal(value, batches[5]["source"][name])


def test_pixels_are_counted_once_for_all_stages_of_a_workdir(frames, tmp_path, monkeypatch):
    feed_of(frames, tmp_path).rare_classes("source", 2, RARE)
    record = json.loads((tmp_path / "source_pixels.json").read_text())
    assert record["of"]["count"] == 6

    def fail(self, index):
        raise AssertionError(f"label {index} was read")

    monkeypatch.setattr(SegmentationSet, "read_label", fail)
    feed_of(frames, tmp_path).rare_classes("source", 2, RARE)


def test_without_a_ratio_every_crop_will_do(frames, tmp_path):
    settings = ConfigDict(RARE.to_dict() | dict(min_crop_ratio=0.0))
    assert feed_of(frames, tmp_path).rare_classes("source", 2, settings).wanted is None


def test_what_cannot_be_drawn_is_one_line(frames, tmp_path):
    feed = feed_of(frames, tmp_path)
    settings = ConfigDict(RARE.to_dict() | dict(min_pixels=144))
    with pytest.raises(
        DataError,
        match="config.mixing.rare_classes.min_pixels=144: no image of frames .* 'rider'.* are 144",
    ):
        feed.rare_classes("source", 2, settings)
    with pytest.raises(UserError, match="the labels of 'target' are not for training"):
        feed.rare_classes("target", 2, RARE)
    with pytest.raises(DataError, match="config.mixing.margins is .0.1,.; expected the shares"):
        feed.shuffled("target", 2, margins=(0.1,))


RARE_CROPS = ConfigDict(dict(share=0.02, probability=0.5))  # riders are 0.015 of all pixels


def with_pseudo_labels(frames, directory, counted=True, **settings):
    """A feed, and its part with the frames' own labels as pseudo-labels."""
    labels = [frames.read_label(index) for index in range(len(frames))]
    pixels = [np.bincount(each.ravel(), minlength=19).tolist() for each in labels]
    folder = directory / "made" / "pseudo_labels"
    origin = {"pixels": pixels} if counted else {}
    pseudo_label_files.write(folder, frames.without_labels(), labels, origin=origin)
    feed = feed_of(frames, directory, **settings)
    return feed, feed.with_pseudo_labels(3, "made")


def test_crops_of_pseudo_labels_are_centred_on_rare_classes(frames, tmp_path):
    """About half of them; image and label are at one place, and any step can be asked for."""
    feed, part = with_pseudo_labels(frames, tmp_path, flip=False)
    part = feed.with_index(feed.with_crops_of_rare_classes(part, "made", RARE_CROPS))
    shown = []
    with feed.steps({"target": part}, 0, 60) as stream:
        batches = [batch["target"] for batch in stream]
    for batch in batches:
        row, column, frame = np.moveaxis(batch["image"].astype(int), -1, 0)
        for i, index in enumerate(frame[:, 0, 0]):
            assert index == batch["index"][i]
            top, left = RIDERS.get(index, (-99, -99))
            inside = (row[i] >= top) & (row[i] < top + 12)
            inside &= (column[i] >= left) & (column[i] < left + 12)
            np.testing.assert_array_equal(batch["label"][i], np.where(inside, RIDER, 0))
            if index == 1:
                at = row[i, 0, 0], column[i, 0, 0]
                # a centre in 20..31, 60..71 of 40 x 80, less half of 24, within 0..16, 0..56
                shown.append(8 <= at[0] and 48 <= at[1])
    assert len(shown) == 30
    assert 0.4 < np.mean(shown) < 0.75, "half, and a twelfth of those that lie anywhere"
    with feed.steps({"target": part}, 7, 8) as stream:
        again = next(stream)["target"]
    for name, value in again.items():
        np.testing.assert_array_equal(value, batches[7][name])


def test_crops_that_cannot_be_centred_are_refused(frames, tmp_path):
    feed, part = with_pseudo_labels(frames, tmp_path / "old", counted=False)
    with pytest.raises(UserError, match="mixing.rare_crops: the pseudo-labels of 'made' were made"):
        feed.with_crops_of_rare_classes(part, "made", RARE_CROPS)
    feed, part = with_pseudo_labels(frames, tmp_path, max_class_share=0.75)
    with pytest.raises(DataError, match="max_class_share=0.75 draws crops again"):
        feed.with_crops_of_rare_classes(part, "made", RARE_CROPS)
    trains = dict(method="self_training", transform="target", margins=())
    for probability, is_refused in ((0.8, True), (0.0, False)):
        config = ConfigDict(trains | {"rare_crops": dict(share=0.001, probability=probability)})
        assert check(frames, tmp_path, config) == []
        if is_refused:
            with pytest.raises(UserError, match="config.mixing.rare_crops.probability=0.8: images"):
                check(frames, tmp_path, config, fit=())
        else:
            assert check(frames, tmp_path, config, fit=()) == []


def stage(**settings):
    return ConfigDict(dict(method="mixing", rare_classes=RARE.to_dict(), margins=()) | settings)


def check(frames, directory, stage_config, **settings):
    """What a run says of a stage before its first step."""
    view = transform(**settings)
    domains = Domains(
        frames, frames, frames, {"source": view, "target": view}, (*CROP_HW, 3), frames.class_names
    )
    rare_classes.check(
        ConfigDict(dict(stages=("mixing",), mixing=stage_config)), domains, directory
    )
    return seg_problems._margin_problems("mixing", stage_config, domains)


def test_what_no_image_or_crop_can_give_is_told_at_the_start(frames, tmp_path):
    assert check(frames, tmp_path, stage()) == []
    assert (tmp_path / "source_pixels.json").exists(), "for the stage"
    with pytest.raises(UserError, match="min_crop_ratio=0.5: frames of the source are not cropped"):
        check(frames, tmp_path, stage(), fit=())
    few = stage(rare_classes=RARE.to_dict() | dict(min_pixels=144))
    with pytest.raises(DataError, match="no image of frames has more pixels of 'rider'"):
        check(frames, tmp_path, few)
    off = RARE.to_dict() | dict(temperature=0.0, min_pixels=9999)
    assert check(frames, tmp_path, stage(rare_classes=off), fit=()) == []
    wide = stage(rare_classes=off, margins=(0.0, 0.0, 0.4, 0.0))
    (line,) = check(frames, tmp_path, wide)
    assert "config.mixing.margins: the margin left is 0.4 of a frame's width" in line
    assert check(frames, tmp_path, wide, fit=()) == [], "a frame that is not cropped"


def test_padding_of_target_images_is_not_trusted_whether_or_not_there_are_margins(frames, tmp_path):
    """VFM-UDA's own folders have no margins. Source images have a label there, which says so."""
    height, width = CROP_HW
    feed = feed_of(frames, tmp_path, fit=(height // 2, width), pad=True, flip=False)
    parts = {"target": feed.shuffled("target", 2), "source": feed.shuffled_with_labels("source", 2)}
    with feed.steps(parts, 0, 1) as stream:
        (batch,) = stream
    resized_hw = resizes.fitting_hw(FRAME_HW, (height // 2, width))
    assert resized_hw[0] < height and resized_hw[1] <= width
    expected = np.zeros((2, *CROP_HW), bool)
    expected[:, : resized_hw[0], : resized_hw[1]] = True
    np.testing.assert_array_equal(batch["target"]["trusted"], expected)
    assert "trusted" not in batch["source"]
    assert (batch["source"]["label"][~expected] == 255).all()
    assert not batch["source"]["image"][~expected].any()
