"""The segmentation pipeline: a pure function of the step, the same eagerly and in tf.data, every
evaluation image once, errors by file.
"""

import numpy as np
import pytest
from PIL import Image

from dajax.recipes import clan
from dajax.recipes.base import segmentation as seg_base
from data_pipeline import batch_parts
from data_pipeline.errors import DataError
from data_pipeline.segmentation import labels
from data_pipeline.segmentation import pipeline as seg_pipeline
from data_pipeline.segmentation import transforms as seg_transforms
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.segmentation_set import SegmentationSet

SIZE = (24, 48)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Seven pairs in Cityscapes' ids; the last two larger than the others."""
    folder, rng, paths = tmp_path_factory.mktemp("set"), np.random.default_rng(0), ([], [])
    for i in range(7):
        shape = (40, 80) if i < 5 else (60, 90)
        label = rng.integers(7, 13, shape).astype(np.uint8)
        for kind, picture, files in (
            ("image", rng.integers(0, 256, (*shape, 3), np.uint8), paths[0]),
            ("label", label, paths[1]),
        ):
            files.append(str(folder / f"{kind}{i}.png"))
            Image.fromarray(picture).save(files[-1])
    return SegmentationSet("test", tuple(paths[0]), tuple(paths[1]), labels.CITYSCAPES, read_ids)


def make_part(images, with_labels=True, **settings):
    transform = seg_transforms.from_config(seg_base.whole_frames(SIZE, flip=True) | settings)
    return seg_pipeline.SegPart(
        images,
        lambda step: (np.arange(3) + 3 * step) % 7,
        transform,
        key=5,
        with_labels=with_labels,
    )


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_any_step_can_be_asked_for_directly(images):
    part = make_part(
        images,
        color_jitter=dict(
            brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, before_geometry=False
        ),
    )
    from_zero = list(seg_pipeline.batches({"a": part}, 0, 5))
    assert_same(next(iter(seg_pipeline.batches({"a": part}, 4, 5)))["a"], from_zero[4]["a"])
    assert (
        from_zero[0]["a"]["image"].shape == (3, *SIZE, 3)
        and from_zero[0]["a"]["label"].dtype == np.int32
    )


def test_tf_data_gives_what_the_functions_give_eagerly(images):
    part = make_part(images)
    batch = next(iter(seg_pipeline.batches({"a": part}, 2, 3)))["a"]
    chosen = batch_parts.chosen(seg_pipeline.Reader(part), 2, 3)
    for row in range(3):
        index, uniforms = chosen["index"][row], chosen["uniforms"][row]
        image, label = seg_transforms.apply(
            images.read_image(index), images.read_label(index), uniforms, 0.5, part.transform
        )
        np.testing.assert_array_equal(
            batch["image"][row], seg_transforms.normalise(image, part.transform)
        )
        np.testing.assert_array_equal(batch["label"][row], label)


def test_the_image_scale_is_one_a_batch_and_labels_keep_their_size(images):
    part = make_part(images, image_scales=clan.IMAGE_SCALES)
    heights = [batch["a"]["image"].shape[1] for batch in seg_pipeline.batches({"a": part}, 0, 30)]
    assert set(heights) == {int(0.8 * 24), 24, int(1.1 * 24)}
    assert all(
        batch["a"]["label"].shape == (3, *SIZE) for batch in seg_pipeline.batches({"a": part}, 0, 4)
    )


def test_without_labels_there_is_no_label_at_all(images):
    batch = next(
        iter(
            seg_pipeline.batches({"a": make_part(images.without_labels(), with_labels=False)}, 0, 1)
        )
    )["a"]
    assert batch.keys() == {"image", "mask", "index"}
    with pytest.raises(DataError, match="part 'a' wants labels and test has none"):
        seg_pipeline.batches({"a": make_part(images.without_labels())}, 0, 1)


def test_evaluation_shows_every_image_once_with_its_label_at_its_own_size(images):
    transform = seg_transforms.from_config(seg_base.whole_frames(SIZE))
    seen = []
    for batch in seg_pipeline.evaluation_batches(images, transform, 4):
        assert batch["image"].shape == (4, *SIZE, 3)
        for row in range(4):
            if batch["mask"][row]:
                seen.append(batch["index"][row])
                label = images.read_label(seen[-1])
                height, width = batch["size_hw"][row]
                assert label.shape == (height, width)
                np.testing.assert_array_equal(batch["label"][row, :height, :width], label)
                assert (batch["label"][row, height:] == 255).all()
                assert (batch["label"][row, :, width:] == 255).all()
            else:
                assert (
                    not batch["image"][row].any()
                    and (batch["label"][row] == 255).all()
                    and batch["index"][row] == -1
                )
    assert seen == list(range(7))


def test_a_truncated_file_is_named(images, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(open(images.image_paths[1], "rb").read()[:400])
    spoilt = SegmentationSet(
        "test",
        (images.image_paths[0], str(broken), *images.image_paths[2:]),
        images.label_paths,
        images.space,
        read_ids,
    )
    with pytest.raises(DataError, match="broken.png"):
        list(seg_pipeline.batches({"a": make_part(spoilt)}, 0, 2))


def test_a_crop_larger_than_the_image_names_the_file(images):
    with pytest.raises(DataError, match=r"image\d.png: resized to .* smaller than the crop 24x48"):
        list(
            seg_pipeline.batches({"a": make_part(images, flip=False, scale_range=(0.2, 0.3))}, 0, 1)
        )
