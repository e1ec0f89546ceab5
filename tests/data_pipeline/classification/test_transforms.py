"""The image transforms, in numpy and in TensorFlow."""

import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from scipy import ndimage

from data_pipeline import DataError
from data_pipeline.classification.transforms import (
    CROP_TRIES,
    Affine,
    ResizedCrop,
    Transform,
    apply_evaluation,
    crop_and_flip,
    from_config,
    resized_crop_box,
)
from data_pipeline.classification.warp import warp_and_normalise
from data_pipeline.preprocess import resize
from data_pipeline.stream import tf

CONFIG = dict(size=32, resize=40, crop="random", flip=True, affine=None, mean=(0.5,), std=(0.25,))
AFFINE = Affine(rotate_rad=0.4, shear=0.3, scale=0.2, shift_px=3.0)
PLAIN = Transform((20, 24), mean=(0.0,), std=(1.0,))


def noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("size_hw", [(32, 32), (31, 47), (90, 70), (11, 5), (61, 25), (57, 43)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_pillows_along_the_width_and_then_along_the_height(size_hw, channels):
    image = noise(57, 43, channels)
    height, width = size_hw
    pillow = Image.fromarray(image if channels == 3 else image[:, :, 0])
    expected = pillow.resize((width, 57), Image.Resampling.BICUBIC).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    resized = resize(image, size_hw)
    assert resized.shape == (height, width, channels)
    np.testing.assert_array_equal(resized.squeeze(), np.asarray(expected))


def test_resizing_equals_pillows_own_resize_where_no_version_changes_the_order():
    image = noise(57, 43, 3)
    np.testing.assert_array_equal(
        resize(image, (80, 30)), Image.fromarray(image).resize((30, 80), Image.Resampling.BICUBIC)
    )


def test_a_random_crop_reaches_every_corner_and_nothing_beyond():
    image = noise(7, 9, 1)
    transform = Transform((4, 5), mean=(0.0,), std=(1.0,), crop="random")
    almost_one = np.float32(1 - 2**-24)
    for numbers, (top, left) in (
        ((0, 0), (0, 0)),
        ((almost_one, almost_one), (3, 4)),
        ((0.5, 0.3), (2, 1)),
    ):
        cropped = crop_and_flip(image, np.array(numbers, np.float32), transform)
        np.testing.assert_array_equal(cropped, image[top : top + 4, left : left + 5])


def test_a_flip_mirrors_half_of_the_images_after_the_crop():
    image = noise(7, 9, 3)
    transform = Transform((7, 5), mean=(0.0,), std=(1.0,), crop="random", flip=True)
    np.testing.assert_array_equal(
        crop_and_flip(image, np.array([0, 0, 0.49], np.float32), transform), image[:, 4::-1]
    )
    np.testing.assert_array_equal(
        crop_and_flip(image, np.array([0, 0, 0.5], np.float32), transform), image[:, :5]
    )


WIDE = ResizedCrop(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))  # torchvision's defaults


def tries(*pairs, top=0.0, left=0.0):
    """Uniforms of a resized crop: where it lies, and the first tries' area and ratio; the tries
    after them as the last.
    """
    return np.array(
        [top, left, *np.ravel([*pairs, *[pairs[-1]] * (CROP_TRIES - len(pairs))])], np.float32
    )


@pytest.mark.parametrize(
    "image_hw, uniforms, box",
    [
        # Area 0.08 * 20,000 = 1,600 and ratio 3 / 4: width sqrt(1,200) = 34.6, height sqrt(2,133) =
        # 46.2; half of 55 rows, a quarter of 166 columns.
        ((100, 200), tries((0, 0), top=0.5, left=0.25), (27, 41, 46, 35)),
        # Area 0.54 * 20,000 and ratio 1 (the logarithm's middle): 103.9, higher than the image; the
        # next try is the one above.
        ((100, 200), tries((0.5, 0.5), (0, 0), top=0.5, left=0.25), (27, 41, 46, 35)),
        # Ratio 3 / 4 * (16 / 9)^(3 / 4) = 1.1547, area 0.08 * 6,400 = 512: width 24.3, height
        # 21.06.
        ((80, 80), tries((0, 0.75), top=0.999), (59, 0, 21, 24)),
        # None of ten fits into a band: its largest part of ratio 4 / 3, 13.3 wide, from the middle;
        # a column's of ratio 3 / 4.
        ((10, 100), tries((0.9, 0.5)), (0, 43, 10, 13)),
        ((100, 10), tries((0.9, 0.5)), (43, 0, 13, 10)),
        # None fits, and the image's own ratio is within the bounds: all of it.
        ((10, 10), tries((0.9999, 0.99)), (0, 0, 10, 10)),
    ],
)
def test_a_resized_crop_is_torchvisions(image_hw, uniforms, box):
    assert resized_crop_box(image_hw, uniforms, WIDE) == box


def test_a_resized_crop_stays_within_the_image_and_its_bounds():
    rng, (height, width) = np.random.default_rng(0), (40, 50)
    boxes = np.array(
        [
            resized_crop_box((height, width), rng.random(2 + 2 * CROP_TRIES, np.float32), WIDE)
            for _ in range(300)
        ]
    )
    top, left, part_height, part_width = boxes.T
    assert (
        (boxes >= 0).all()
        and (top + part_height <= height).all()
        and (left + part_width <= width).all()
    )
    assert top.max() > 20 and left.max() > 25, "parts reach the far corner too"
    share, ratio = part_height * part_width / (height * width), part_width / part_height
    # Whole pixels: of sides of 12 at least, half a pixel is 4 %.
    assert (
        0.08 * 0.92 < share.min() < 0.12
        and share.max() > 0.8
        and 0.75 * 0.92 < ratio.min() < ratio.max() < 4 / 3 * 1.08
    )


def test_a_resized_crop_is_brought_to_size_bilinearly_and_then_mirrored():
    image = noise(100, 200, 3)
    transform = Transform((24, 32), mean=(0.0,), std=(1.0,), crop=WIDE, flip=True)
    assert transform.num_uniforms == 2 + 2 * CROP_TRIES + 1
    part = image[27:73, 41:76]
    expected = resize(part, (24, 32), Image.Resampling.BILINEAR)
    numbers = tries((0, 0), top=0.5, left=0.25)
    np.testing.assert_array_equal(
        crop_and_flip(image, np.append(numbers, np.float32(0.5)), transform), expected
    )
    np.testing.assert_array_equal(
        crop_and_flip(image, np.append(numbers, np.float32(0.4)), transform), expected[:, ::-1]
    )


def test_evaluation_takes_the_centre_in_place_of_a_resized_crop():
    transform = from_config(
        ConfigDict(CONFIG | {"crop": dict(scale=(0.08, 1.0), ratio=[0.75, 1.5])})
    )
    assert transform.crop == ResizedCrop((0.08, 1.0), (0.75, 1.5))
    assert transform.for_evaluation() == from_config(CONFIG).for_evaluation()


def test_a_centre_crop_can_be_mirrored():
    """The training view that tllib has of VisDA-2017."""
    image = noise(9, 9, 3)
    transform = Transform((5, 5), mean=(0.0,), std=(1.0,), crop="center", flip=True)
    np.testing.assert_array_equal(
        crop_and_flip(image, np.array([0.5], np.float32), transform), image[2:7, 2:7]
    )
    np.testing.assert_array_equal(
        crop_and_flip(image, np.array([0.4], np.float32), transform), image[2:7, 6:1:-1]
    )


def test_an_image_smaller_than_the_crop_is_refused_with_both_sizes():
    transform = Transform((8, 8), mean=(0.0,), std=(1.0,), crop="center")
    with pytest.raises(DataError, match="an image is 7x9, smaller than the crop 8x8"):
        crop_and_flip(noise(7, 9, 3), np.zeros(0), transform)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_affine_map_equals_scipys(channels):
    transform = dataclasses.replace(PLAIN, affine=AFFINE)
    images = noise(6, 20, 24, channels)
    numbers = np.random.default_rng(1).random((6, 6), dtype=np.float32)
    warped = warp_and_normalise(images, numbers, transform).numpy()
    for image, number, got in zip(images, numbers, warped, strict=True):
        rotate, shear, scale_x, scale_y, shift_x, shift_y = 2 * number - 1
        angle = 0.4 * rotate
        # In scipy's order of axes, (row, column).
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        matrix = (
            matrix
            @ np.array([[1, 0], [0.3 * shear, 1]])
            @ np.diag([1 + 0.2 * scale_y, 1 + 0.2 * scale_x])
        )
        centre = np.array([9.5, 11.5])
        inverse = np.linalg.inv(matrix)
        offset = centre - inverse @ (centre + [3 * shift_y, 3 * shift_x])
        for c in range(channels):
            expected = ndimage.affine_transform(
                image[:, :, c] / 255.0, inverse, offset, order=1, mode="grid-constant"
            )
            # float32 coordinates up to 24, values up to 1
            np.testing.assert_allclose(got[:, :, c], expected, atol=1e-4)


def test_an_affine_map_of_no_range_changes_nothing():
    images = noise(2, 20, 24, 1)
    transform = dataclasses.replace(PLAIN, affine=Affine(0.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(
        warp_and_normalise(images, np.ones((2, 6), np.float32) * 0.9, transform),
        images / 255.0,
        atol=1e-5,
    )  # float32 rounding of the coordinates


def test_a_positive_shift_moves_right_and_down_and_leaves_black():
    image = noise(1, 20, 24, 1)
    transform = dataclasses.replace(PLAIN, affine=Affine(0.0, 0.0, 0.0, 4.0))
    # +4 and +2 pixels
    moved = warp_and_normalise(
        image, np.array([[0, 0, 0, 0, 1, 0.75]], np.float32), transform
    ).numpy()
    np.testing.assert_allclose(moved[0, 2:, 4:], image[0, :-2, :-4] / 255.0, atol=1e-5)
    assert not moved[0, :2].any() and not moved[0, :, :4].any()


def test_the_transform_is_the_same_eagerly_and_inside_tf_data():
    transform = dataclasses.replace(PLAIN, affine=AFFINE, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    images, numbers = noise(4, 20, 24, 3), np.random.default_rng(1).random((4, 6), dtype=np.float32)
    dataset = tf.data.Dataset.from_tensors((images, numbers)).map(
        lambda x, u: warp_and_normalise(x, u, transform)
    )
    np.testing.assert_array_equal(
        next(dataset.as_numpy_iterator()), warp_and_normalise(images, numbers, transform)
    )


def test_evaluation_without_tensorflow_gives_the_same_numbers():
    transform = from_config(
        CONFIG | dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    ).for_evaluation()
    images = [noise(50, 40, 3), noise(33, 61, 3)]
    cropped = np.stack([crop_and_flip(image, np.zeros(0), transform) for image in images])
    expected = warp_and_normalise(cropped, np.zeros((2, 0), np.float32), transform).numpy()
    predicted = apply_evaluation(images, transform)
    assert predicted.shape == (2, 32, 32, 3) and predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, expected, rtol=1e-6, atol=1e-6)  # float32 rounding
    np.testing.assert_array_equal(
        apply_evaluation(np.stack([images[0]] * 2), transform)[1], predicted[0]
    )


def test_evaluation_refuses_what_it_cannot_do():
    with pytest.raises(DataError, match="use transform.for_evaluation"):
        apply_evaluation(noise(1, 40, 40, 1), from_config(CONFIG))
    evaluation = from_config(CONFIG).for_evaluation()
    with pytest.raises(DataError, match="no images"):
        apply_evaluation([], evaluation)
    with pytest.raises(DataError, match="expected uint8"):
        apply_evaluation(noise(1, 40, 40, 1) / 255, evaluation)


def test_for_evaluation_leaves_nothing_random():
    transform = from_config(
        CONFIG | {"affine": dict(rotate_rad=0.1, shear=0.1, scale=0.1, shift_px=2)}
    )
    assert transform.num_uniforms == 9
    evaluation = transform.for_evaluation()
    assert (
        evaluation.num_uniforms == 0
        and evaluation.crop == "center"
        and evaluation.resize_hw == (40, 40)
    )
    assert dataclasses.replace(transform, crop=None, resize_hw=None).for_evaluation().crop is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"flips": True}, "transform.flips is unknown; known: size, resize"),
        ({"affine": {"rotate": 1}}, "transform.affine.rotate_rad is missing"),
        ({"crop": "centre"}, "transform.crop is 'centre'; known: 'random', 'center'"),
        (
            {"crop": {"scale": (0.08, 1.0)}},
            "transform.crop.ratio is missing; expected the keys scale, ratio",
        ),
        (
            {"crop": {"scale": (0.5, 0.2), "ratio": (1, 1)}},
            r"transform.crop.scale is \(0.5, 0.2\); expected 0 < low <= high <= 1",
        ),
        (
            {"crop": {"scale": (0.5, 1.0), "ratio": 1.0}},
            "transform.crop.ratio is 1.0; expected two numbers",
        ),
        ({"resize": 20}, "transform.resize is 20x20, smaller than the crop 32x32"),
        ({"crop": None}, "transform.resize is 40x40 and transform.size 32x32; make them equal"),
        ({"std": (0.0,)}, "transform.std is"),
    ],
)
def test_a_wrong_config_names_its_key(change, message):
    with pytest.raises(DataError, match=message):
        from_config(CONFIG | change)


def test_a_missing_key_is_named():
    with pytest.raises(DataError, match="transform.flip is missing"):
        from_config({name: value for name, value in CONFIG.items() if name != "flip"})
