"""PLCA's data and schedule from our own settings (plca_data.npz): label maps, preprocessing to the
bit, learning rates.

Its padding (padded_*) has no test: a crop larger than the image is refused here, and never happens
in PLCA (shorter edge 760 or more, crop 730).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax import optim
from dajax.models.seg_weights import PLCA_TRAIN_IDS
from dajax.recipes import plca
from dajax.recipes.base.segmentation import CAFFE_MEAN_BGR
from data_pipeline.segmentation import labels
from data_pipeline.segmentation import transforms as seg_transforms

MAPS = {  # map/TASK/DATASET -> our table and the ids that the task's files may hold
    ("GTAV2Cityscapes", "GTAV"): (labels.GTA5, range(35)),
    ("GTAV2Cityscapes", "Cityscapes"): (labels.CITYSCAPES, (*range(34), 255)),
    ("SYNTHIA2Cityscapes", "SYNTHIA"): (labels.SYNTHIA, range(23)),
    ("SYNTHIA2Cityscapes", "Cityscapes"): (labels.CITYSCAPES_16, (*range(34), 255)),
}


def train_ids(plca_labels, num_classes):
    """PLCA's class numbers -> ours: train ids of Cityscapes, without gaps where there are 16 of
    them.
    """
    ids = np.array(PLCA_TRAIN_IDS[:num_classes])
    table = np.full(256, 255, np.uint8)
    table[:num_classes] = ids if num_classes == 19 else np.searchsorted(labels.SUBSETS["16"], ids)
    return table[plca_labels]


def bilinear_crops(size_hw, shorter_edge):
    return seg_transforms.from_config(
        dict(
            size=size_hw,
            resize="bilinear",
            image_scales=(),
            shorter_edge=shorter_edge,
            scale_range=None,
            flip=True,
            color_jitter=None,
            channels="bgr",
            divisor=1.0,
            mean=CAFFE_MEAN_BGR,
            std=(1.0, 1.0, 1.0),
        )
    )


@pytest.mark.parametrize("task, dataset", MAPS)
def test_label_maps_are_plcas_but_for_the_order_of_classes(golden, task, dataset):
    space, ids = MAPS[task, dataset]
    expected = golden("plca_data")[f"map/{task}"][dataset][list(ids)]
    found = space.lut[list(ids)]
    np.testing.assert_array_equal(found, train_ids(expected, space.num_classes))
    assert set(found) == {*range(space.num_classes), 255}
    assert (found != expected).any(), "the two orders differ"


def test_resize_flip_and_crop_are_plcas_to_the_bit(golden):
    """PLCA flips, then crops; we crop, then flip: the same pixels come from the window in mirror
    image.
    """
    case = golden("plca_data")["tf"]
    height, width = case["label_resized"].shape
    top, left, crop_height, crop_width = case["crop"].tolist()
    chosen = bilinear_crops((crop_height, crop_width), (int(case["size"]),) * 2)
    mirrored_left = width - crop_width - left
    uniforms = [
        0.5,
        (top + 0.5) / (height - crop_height + 1),
        (mirrored_left + 0.5) / (width - crop_width + 1),
        0.1,
    ]
    label = labels.map_ids(case["label"], labels.GTA5, "golden")
    image, label = seg_transforms.apply(case["image"], label, uniforms, 0.5, chosen)
    np.testing.assert_array_equal(
        seg_transforms.normalise(image, chosen), np.moveaxis(case["out_image"], 0, -1)
    )
    np.testing.assert_array_equal(label, train_ids(case["out_label"], 19))
    unflipped = case["image_resized"][top:, mirrored_left:][:crop_height, :crop_width]
    np.testing.assert_array_equal(image[:, ::-1], unflipped)


def test_frames_of_the_final_test_are_plcas_within_one_grey_level(golden):
    """The golden file's Pillow (13) goes along the height first for this size, as preprocess.resize
    explains, and rounds in between.
    """
    case = golden("plca_data")["tf"]
    size_hw = tuple(case["test_size"].tolist())
    chosen = bilinear_crops(size_hw, (max(size_hw), 2 * max(size_hw))).for_evaluation()
    found = seg_transforms.apply_evaluation([case["image"]], chosen)[0]
    difference = np.abs(found - seg_transforms.normalise(case["test_resized"], chosen))
    assert difference.max() <= 1.001 and difference.mean() < 0.3, (
        difference.max(),
        difference.mean(),
    )


@pytest.mark.parametrize(
    "task, variant", [("g2c", "gta5_to_cityscapes"), ("s2c", "synthia_to_cityscapes")]
)
def test_the_recipes_learning_rates_are_plcas(golden, task, variant):
    """28 of 30 epochs with GTA5, 8 of 10 with SYNTHIA, of 372 steps: the rate never reaches 0."""
    case = golden("plca_data")[f"lr/{task}"]
    recipe = plca.get_config(f"{variant},weights=none").plca
    found = jax.vmap(optim.make_schedule(recipe.optimizer, recipe.steps))(
        jnp.asarray(case["iters"], jnp.int32)
    )
    assert case["iters"].max() < recipe.steps
    np.testing.assert_allclose(found, case["lr"], rtol=1e-6)  # float32 powers
