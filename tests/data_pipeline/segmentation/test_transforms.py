"""Image and label transforms of segmentation: the authors' preprocessing to the bit, geometry
moving together, mistakes.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import between, names_in
from PIL import Image

from dajax.ops.resize import resize_bilinear
from dajax.recipes import clan
from dajax.recipes.base import segmentation as seg_base
from data_pipeline.errors import DataError
from data_pipeline.segmentation import labels, resizes
from data_pipeline.segmentation import transforms as seg_transforms
from data_pipeline.segmentation.crop_choice import Wanted
from data_pipeline.segmentation.margins import Margins
from data_pipeline.segmentation.margins import from_config as read_margins
from data_pipeline.segmentation.placing import Choice, Frame

# a random number in each third of CLAN's draw
CLAN_SCALES = {"noscale": 0.5, "s1.0": 0.5, "s1.1": 0.9, "s0.8": 0.1}
VARIANTS = between(names_in("clan_preproc"), "gta_", "_image")  # SCALE_FLIP


def transform(**settings):
    return seg_transforms.from_config(seg_base.whole_frames((26, 44)) | settings)


@pytest.mark.parametrize("variant", VARIANTS)
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
    np.testing.assert_array_equal(resizes.resize_label(label, (10, 20)), expected)


def test_labels_of_the_plain_resize_take_opencvs_nearest_pixel():
    label = np.random.default_rng(0).integers(0, 19, (31, 57)).astype(np.uint8)
    for height, width in ((10, 20), (45, 99), (31, 20)):
        rows, columns = np.arange(height) * 31 // height, np.arange(width) * 57 // width
        found = resizes.resize_label(label, (height, width), "bilinear_plain")
        np.testing.assert_array_equal(found, label[rows[:, None], columns])


@pytest.mark.parametrize("size_hw", [(20, 30), (26, 41), (33, 90), (80, 100), (40, 60)])
def test_the_plain_resize_is_torchs_without_antialiasing_rounded(size_hw):
    """OpenCV's weights are multiples of 1 / 2048: of four pixels at most 0.25 grey levels, and the
    rounding 0.5.
    """
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    pixels = jnp.asarray(image[None], jnp.float32)
    exact = resize_bilinear(pixels, size_hw, align_corners=False)[0]
    found = resizes.resize_image(image, size_hw, "bilinear_plain")
    assert found.dtype == np.uint8 and np.abs(found - np.asarray(exact)).max() < 0.75
    window = slice(3, 17), slice(11, 29)
    part = resizes.resize_image(image, size_hw, "bilinear_plain", window)
    np.testing.assert_array_equal(part, found[window])


def test_half_the_size_is_the_mean_of_four_pixels():
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    mean = image.reshape(8, 2, 12, 2, 3).astype(int).sum((1, 3))
    found = resizes.resize_image(image, (8, 12), "bilinear_plain")
    np.testing.assert_array_equal(found, (mean + 2) // 4)
    pil = resizes.resize_image(image, (8, 12), "bilinear")
    assert np.abs(pil.astype(int) - found).mean() > 10, "PIL's antialiased one is another"


@pytest.mark.parametrize(
    "frame_hw, within, expected",
    [
        ((1052, 1914), (720, 1280), (704, 1280)),  # GTA5: measured with mmcv.rescale_size
        ((1052, 1914), (1440, 2560), (1407, 2560)),
        ((760, 1280), (760, 1280), (760, 1280)),  # SYNTHIA
        ((1024, 2048), (512, 1024), (512, 1024)),  # Cityscapes
        ((1914, 1052), (720, 1280), (1280, 704)),  # turned
    ],
)
def test_a_frame_keeps_its_aspect_as_mmcv_has_it(frame_hw, within, expected):
    assert resizes.fitting_hw(frame_hw, within) == expected


PLAIN = dict(
    resize="bilinear_plain",
    fit=(40, 60),
    channels="rgb",
    mean=(0.0,) * 3,
    divisor=1.0,
    flip=True,
)


def places(height, width):
    """Every pixel says where it is: uint8 [height, width, 3] of its row, its column and 0."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)


def test_what_lies_on_a_frame_moves_with_it():
    """Twice the size of the fitted frame: label and margins take the floor of twice the place."""
    chosen, rng = transform(**PLAIN), np.random.default_rng(0)
    frame = places(80, 120)
    label = frame.sum(-1, dtype=np.uint8)
    trusted = Margins(0.1, 0.25, 0.0, 0.05).trusted((80, 120))
    for _ in range(8):
        whole = Frame(frame // 2, label, trusted)
        moved = seg_transforms.apply_to_frame(whole, rng.random(4), 0.5, chosen)
        row, column = np.moveaxis(2 * moved.image[..., :2].astype(int), -1, 0)
        assert moved.image.shape == (26, 44, 3)
        np.testing.assert_array_equal(moved.label, row + column)
        expected = (row >= 8) & (row < 60) & (column < 114)
        np.testing.assert_array_equal(moved.trusted, expected)


def test_the_crop_that_shows_the_wanted_class_is_taken_of_image_and_label():
    chosen = transform(**PLAIN)
    frame, label = places(40, 60), np.zeros((40, 60), np.uint8)
    label[34:, 50:] = 6  # 60 pixels in the corner
    spare = 15, 17
    further = np.array([(0.2, 0.2), (14.5 / 15, 16.5 / 17), (0.1, 0.1)], np.float32)
    choice = Choice(further, Wanted(6, 50.0))
    moved = seg_transforms.apply_to_frame(
        Frame(frame, label), [0.0, 0.0, 0.0, 0.9], 0.5, chosen, choice
    )
    assert moved.image[0, 0].tolist() == [spare[0] - 1, spare[1] - 1, 0]
    assert (moved.label == 6).sum() == 60


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
        (
            dict(resize="cubic"),
            "transform.resize is 'cubic'; known: bicubic, bilinear, bilinear_plain",
        ),
        (dict(fit=(40,)), r"config.data.transforms.fit is \(40,\); expected \(height, width\)"),
        (dict(fit=(40, 60), scale_range=(1.0, 2.0)), "scale_range and transform.fit exclude"),
        (dict(max_class_share=0.75), "max_class_share is 0.75; .*needs transform.fit"),
        (dict(fit=(40, 60), max_class_share=0.0), "max_class_share is 0; expected a share above"),
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
    with pytest.raises(
        DataError, match="resized to 24x36 .*smaller than the crop 26x44; .* or fit"
    ):
        transform(fit=(24, 36)).check_input((48, 72))


@pytest.mark.parametrize(
    "shares, message",
    [
        ((0.5, 0.5, 0.0, 0.0), "leave something between them"),
        ((0.1, 0.2), r"is \(0.1, 0.2\); expected the shares \(top, bottom, left, right\)"),
        ((15, 120, 0, 0), "expected the shares"),
    ],
)
def test_margins_that_cannot_be_are_one_line(shares, message):
    with pytest.raises(DataError, match=message):
        read_margins(shares, "config.x.margins")


def test_a_margin_as_large_as_the_crop_is_refused():
    margins = read_margins((0.0, 0.25, 0.0, 0.0), "config.x.margins")
    margins.check_crop((512, 1024), (512, 512), "config.x.margins")
    with pytest.raises(
        DataError, match="margin bottom is 0.25 of a frame's height, which are 128 of 512 .* has 96"
    ):
        margins.check_crop((512, 1024), (96, 512), "config.x.margins")
    assert read_margins((), "x") is None and read_margins((0.0,) * 4, "x") is None


def test_a_padded_crop_has_black_pixels_below_and_on_the_right_that_count_for_nothing():
    """VFM-UDA, uda_transform.py: image 0, label 255, and no pseudo-label."""
    frame = Frame(
        np.full((20, 50, 3), 200, np.uint8),
        np.full((20, 50), 7, np.uint8),
        np.ones((20, 50), np.uint8),
    )
    padded = transform(shorter_edge=(20, 20), resize="bilinear", pad=True)  # crops of 26x44
    padded.check_input((20, 50))
    right = np.array([0.0, 0.9, 0.9], np.float32)
    image, label, trusted = seg_transforms.apply_to_frame(frame, right, 0.0, padded)
    assert image.shape == (26, 44, 3) and label.shape == trusted.shape == (26, 44)
    assert (image[:20] == 200).all() and not image[20:].any()
    assert (label[:20] == 7).all() and (label[20:] == 255).all()
    assert trusted[:20].all() and not trusted[20:].any()
    narrow = Frame(frame.image[:, :30], frame.label[:, :30], frame.trusted[:, :30])
    image, label, trusted = seg_transforms.apply_to_frame(narrow, right, 0.0, padded)
    assert image[:20, :30].all() and not image[:, 30:].any() and not image[20:].any()
    assert (label == 7).sum() == trusted.sum() == 20 * 30


def test_a_frame_that_reaches_the_crop_is_cropped_as_without_padding():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    uniforms = np.array([0.3, 0.4, 0.5], np.float32)
    plain, padded = (
        seg_transforms.apply(image, None, uniforms, 0.0, transform(shorter_edge=(30, 36), **more))
        for more in ({}, {"pad": True})
    )
    np.testing.assert_array_equal(plain[0], padded[0])


def test_padding_without_a_crop_is_refused():
    with pytest.raises(DataError, match="transform.pad is True, and nothing is cropped"):
        transform(pad=True)
