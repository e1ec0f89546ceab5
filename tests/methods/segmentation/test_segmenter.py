"""What the segmentation methods share: the resize convention of a model, and HRDA's second loss."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dajax.errors import UserError
from dajax.losses.segmentation import cross_entropy_map
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.models.aspp import Detail, SegOutput
from dajax.ops.resize import resize_bilinear
from dajax.parallel import masked_mean


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def hrdas(detail_weight=0.1):
    """An output on a grid of 4 x 6 cells, whose detail crop is 2 x 3 cells from (1, 2) on."""
    detail = Detail(random(2, 2, 3, 5, seed=1), jnp.int32(1), jnp.int32(2), detail_weight)
    return SegOutput(random(2, 4, 6, 7), random(2, 4, 6, 5), None, None, detail)


@pytest.mark.parametrize("align_corners", [True, False])
def test_logits_come_to_size_as_the_model_says(align_corners):
    output = SegOutput(random(2, 4, 6, 7), random(2, 4, 6, 5), None)
    seen = segmenter.at_size(output, (9, 11), align_corners=align_corners)
    expected = resize_bilinear(output.logits, (9, 11), align_corners=align_corners)
    np.testing.assert_array_equal(seen.logits, expected)
    assert seen.detail is None and seen.last_stage is output.features


def test_the_detail_crop_is_judged_by_the_labels_below_it():
    """By hand: labels of 4 pixels a cell, so the crop is rows 4 to 12 and columns 8 to 20."""
    output, rng = hrdas(), np.random.default_rng(3)
    labels = jnp.asarray(rng.integers(0, 5, (2, 16, 24)), jnp.int32)
    mask = jnp.asarray(rng.uniform(size=(2, 16, 24)) < 0.8)

    def loss_of(logits, labels, mask):
        return masked_mean(cross_entropy_map(logits, labels), mask)

    seen = segmenter.at_size(output, (16, 24), align_corners=False)
    found = segmenter.with_detail(loss_of, seen, labels, mask)
    box = np.s_[:, 4:12, 8:20]
    detail = resize_bilinear(output.detail.logits, (8, 12), align_corners=False)
    whole = resize_bilinear(output.logits, (16, 24), align_corners=False)
    expected = 0.9 * loss_of(whole, labels, mask) + 0.1 * loss_of(detail, labels[box], mask[box])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_supervision_has_the_detail_loss():
    config = ConfigDict(dict(loss=dict(kind="cross_entropy")))
    part = {"label": jnp.zeros((2, 16, 24), jnp.int32), "mask": jnp.ones(2, bool)}
    losses = [
        segmenter.supervised(
            segmenter.at_size(hrdas(weight), (16, 24)), part, config=config, axis_name=None
        )[0]
        for weight in (0.0, 1.0, 0.25)
    ]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[2], 0.75 * losses[0] + 0.25 * losses[1], rtol=1e-6)


def test_labels_that_the_cells_do_not_divide_are_refused():
    with pytest.raises(UserError, match="labels of 18x24 on logits of 4x6"):
        segmenter.at_size(hrdas(), (18, 24))
