"""Image and label transforms of segmentation: the authors' preprocessing to the bit, geometry
moving together, mistakes.
"""

import numpy as np
import pytest
from PIL import Image

from dajax.recipes import clan
from dajax.recipes.base import segmentation as seg_base
from data_pipeline.errors import DataError
from data_pipeline.segmentation import labels
from data_pipeline.segmentation import transforms as seg_transforms

# a random number in each third of CLAN's draw
CLAN_SCALES = {"noscale": 0.5, "s1.0": 0.5, "s1.1": 0.9, "s0.8": 0.1}


def transform(**settings):
    return seg_transforms.from_config(seg_base.whole_frames((26, 44)) | settings)


@pytest.mark.parametrize(
    "variant", ["noscale_noflip", "noscale_flip", "s1.0_flip", "s1.1_noflip", "s0.8_flip"]
)
@pytest.mark.parametrize("domain", ["gta", "syn", "city"])
def test_images_and_labels_are_the_authors_to_the_bit(golden, domain, variant):
    case = golden("clan_preproc")[""]
    scale, flip = variant.split("_")
    chosen = transform(
        flip=True,
        image_scales=() if scale == "noscale" else clan.IMAGE_SCALES,
        size=tuple(case["crop_wh"][::-1].tolist()),
    )
    ids, space = {
        "gta": (case["gta_label_ids"], labels.GTA5),
        "syn": (case["synthia_label_png"][..., 0], labels.SYNTHIA_CLAN),
        "city": (None, None),
    }[domain]
    label = None if ids is None else labels.map_ids(ids, space, "golden")
    image, label = seg_transforms.apply(
        case["image_rgb"], label, [0.1 if flip == "flip" else 0.9], CLAN_SCALES[scale], chosen
    )
    np.testing.assert_array_equal(
        seg_transforms.normalise(image, chosen),
        np.moveaxis(case[f"{domain}_{variant}_image"], 0, -1),
    )
    if domain == "city":
        assert label is None
    else:
        np.testing.assert_array_equal(label, case[f"{domain}_{variant}_label"])


@pytest.mark.parametrize(
    "settings", [dict(shorter_edge=(30, 50)), dict(scale_range=(0.6, 1.5)), dict(flip=True)]
)
def test_image_and_label_move_together(settings):
    """A label drawn as an image of wide stripes comes out the same from both, but for the borders
    that the image's resize smooths.
    """
    stripes = ((np.arange(60)[:, None] // 15 + np.arange(90) // 18) % 2).astype(np.uint8)
    chosen = transform(
        **(
            {"shorter_edge": None, "scale_range": None, "flip": True, "resize": "bilinear"}
            | settings
        )
    )
    rng, agreement = np.random.default_rng(0), []
    for _ in range(20):
        image, label = seg_transforms.apply(
            np.repeat(255 * stripes[..., None], 3, 2),
            stripes,
            rng.random(chosen.num_uniforms),
            0.5,
            chosen,
        )
        assert image.shape[:2] == label.shape == (26, 44)
        agreement.append(np.mean((image[..., 0] > 127) == label))
    assert min(agreement) > 0.93, min(agreement)


def test_the_same_numbers_give_the_same_pixels_and_others_do_not():
    jitter = dict(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2, before_geometry=False)
    chosen = transform(color_jitter=jitter, flip=True)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    uniforms = np.linspace(0.05, 0.9, chosen.num_uniforms)
    first, again = (seg_transforms.apply(image, None, uniforms, 0.5, chosen)[0] for _ in range(2))
    other = seg_transforms.apply(image, None, uniforms[::-1], 0.5, chosen)[0]
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_color_jitter_without_strength_changes_nothing_and_brightness_is_pils():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    none = seg_transforms.ColorJitter(0.0, 0.0, 0.0, 0.0, False)
    # The trip to HSV and back, which a hue of 0 makes as well, moves a byte by a few.
    assert np.abs(none(image, np.full(5, 0.3)).astype(int) - image).max() <= 6
    brighter = seg_transforms.ColorJitter(0.5, 0.0, 0.0, 0.0, False)(
        np.full((4, 4, 3), 100, np.uint8), np.array([1.0, 0.5, 0.5, 0.5, 0.0])
    )
    np.testing.assert_array_equal(brighter, 150)


def test_labels_take_pils_nearest_pixel():
    label = np.random.default_rng(0).integers(0, 19, (31, 57)).astype(np.uint8)
    rows = ((np.arange(10) + 0.5) * 3.1).astype(int)
    columns = ((np.arange(20) + 0.5) * 2.85).astype(int)
    expected = label[rows[:, None], columns]
    np.testing.assert_array_equal(seg_transforms.resize_label(label, (10, 20)), expected)


def test_evaluation_is_the_whole_frame_without_randomness():
    chosen = transform(shorter_edge=(30, 50), flip=True)
    with pytest.raises(DataError, match="this transform is random"):
        seg_transforms.apply_evaluation([np.zeros((40, 60, 3), np.uint8)], chosen)
    image = np.random.default_rng(0).integers(0, 256, (52, 88, 3), np.uint8)
    out = seg_transforms.apply_evaluation([image, image[:30]], chosen.for_evaluation())
    resized = np.asarray(Image.fromarray(image).resize((44, 26), Image.Resampling.BICUBIC))
    expected = resized[..., ::-1] - np.array(seg_base.CAFFE_MEAN_BGR, np.float32)
    # one pass of PIL may round otherwise than two
    assert out.shape == (2, 26, 44, 3) and np.abs(out[0] - expected).max() <= 1


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(resize="cubic"), "transform.resize is 'cubic'; known: bicubic, bilinear"),
        (dict(channels="gbr"), "transform.channels is 'gbr'; known: rgb, bgr"),
        (dict(shorter_edge=(10, 20)), "transform.shorter_edge begins at 10"),
        (dict(shorter_edge=(30, 50), image_scales=((1.0, 1.1),)), "exclude each other"),
        (dict(scales=()), "config.data.transforms.scales is unknown"),
    ],
)
def test_a_mistake_in_the_config_is_one_clear_line(settings, message):
    with pytest.raises(DataError, match=message):
        transform(**settings)


def test_a_crop_larger_than_the_image_names_both_sizes():
    with pytest.raises(DataError, match="resized to 20x30 .*smaller than the crop 26x44"):
        seg_transforms.apply(
            np.zeros((40, 60, 3), np.uint8),
            None,
            np.zeros(4),
            0.5,
            transform(scale_range=(0.5, 1.0)),
        )
