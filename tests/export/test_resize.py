"""The exported resizes are those of the evaluation, for sizes that come when the program runs."""

import jax
import numpy as np
import pytest
from jax import export

from dajax.export import program
from dajax.export.resize import SUPPORTS, resize_as_read, resize_scores
from dajax.ops.resize import resize_bilinear
from data_pipeline.segmentation.resizes import PLAIN, resize_image

HW = (9, 14)
SIZES = {
    "bicubic": ((23, 37), (270, 5), (9, 20), (1, 1)),
    "bilinear": ((23, 37), (9, 20)),
    PLAIN: ((23, 37), (270, 5), (9, 20), (1, 1)),
}


def of_any_size(function, constraints=()):
    """The function of uint8 [N, H, W, 3], exported for any N, H and W, and read back."""
    sizes = export.symbolic_shape("batch, height, width", constraints=constraints)
    exported = export.export(jax.jit(function))(jax.ShapeDtypeStruct((*sizes, 3), np.uint8))
    return export.deserialize(exported.serialize()).call


@pytest.mark.parametrize("resample", [*SUPPORTS, PLAIN])
def test_every_byte_is_the_pipelines(resample):
    """Larger, smaller, a 30-fold reduction, one side alone, and a single pixel; black and white
    noise overshoots both ends.
    """
    rng = np.random.default_rng(0)
    call = of_any_size(lambda x: resize_as_read(x, HW, resample))
    for hw in SIZES[resample]:
        images = rng.choice(np.array([0, 3, 128, 255], np.uint8), (2, *hw, 3))
        expected = [resize_image(image, HW, resample) for image in images]
        np.testing.assert_array_equal(call(images), expected)
        if hw == (9, 20):
            np.testing.assert_array_equal(resize_as_read(images, HW, resample), expected)


@pytest.mark.parametrize("align_corners", [True, False])
def test_scores_are_resized_as_the_evaluation_does(align_corners):
    scores = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))

    def at_size_of(images):
        return resize_scores(scores, images.shape[1:3], align_corners=align_corners)

    call = of_any_size(at_size_of)
    for hw in ((4, 6), (13, 7), (1, 2)):
        images = np.zeros((2, *hw, 3), np.uint8)
        expected = resize_bilinear(scores, hw, align_corners=align_corners)
        # the same weights in another order of sums
        np.testing.assert_allclose(call(images), expected, atol=1e-6)


def test_a_crop_lies_where_the_evaluation_cuts_it():
    """Spare pixels 0 to 7: a half is rounded to the even number."""
    call = of_any_size(lambda x: program._central(x, (2, 2)), ["height >= 2", "width >= 2"])
    for spare in range(8):
        top = round(spare / 2)
        images = np.arange((2 + spare) * 9 * 3, dtype=np.uint8).reshape(1, 2 + spare, 9, 3)
        expected = images[:, top : top + 2, 4:6]  # 7 spare columns: 3.5 is 4
        np.testing.assert_array_equal(program._central(images, (2, 2)), expected)
        if spare in (2, 3, 5):
            np.testing.assert_array_equal(call(images), expected)
