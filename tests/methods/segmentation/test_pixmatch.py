"""PixMatch's labels, losses, boxes and average against the authors' code (tier2_pixmatch)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import between, channels_last, ints, names_in

from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import pixmatch
from dajax.ops.cut_mix import box_mask
from dajax.ops.moving_average import moving_average
from dajax.recipes import pixmatch as recipe

TOLERANCE = 1e-4  # tests/golden/README.md, "Second-tier baselines", of float32
PUBLISHED = recipe.get_config("gta5_to_cityscapes,weights=none").pixmatch


@pytest.fixture(scope="module")
def case(golden):
    return golden("tier2_pixmatch")[""]


def seen(logits, aux_logits):
    return segmenter.Seen(logits, logits, logits, aux_logits)


@pytest.mark.parametrize("name", between(names_in("tier2_pixmatch"), "loss_"))
def test_labels_loss_and_gradients_are_the_authors(case, name):
    clean = seen(channels_last(case["logits"]), channels_last(case["logits_aux"]))
    labels = pixmatch.labels_of(clean, threshold=float(name.replace("_", ".")))
    for found, key in zip(labels, ("label", "label_aux"), strict=True):
        expected = case[f"{key}_{name}"]
        np.testing.assert_array_equal(found, np.where(expected < 0, 255, expected))
    part = {"label": labels[0], "mask": jnp.ones(len(labels[0]), bool)}

    @jax.jit
    def loss(logits, aux_logits):
        term = pixmatch.consistency(seen(logits, aux_logits), part, labels[1], config=PUBLISHED)
        return PUBLISHED.fourier.weight * term

    perturbed = [channels_last(case[f"perturbed_logits{end}"]) for end in ("", "_aux")]
    value, grads = jax.value_and_grad(loss, argnums=(0, 1))(*perturbed)
    assert_close(value, case[f"loss_{name}"], TOLERANCE)
    for grad, key in zip(grads, ("grad", "grad_aux"), strict=True):
        assert_close(grad, channels_last(case[f"{key}_{name}"]), TOLERANCE)


def test_cut_mix_is_the_authors(case):
    size_hw = case["cut_label_target"].shape[1:]
    for i in between(case, "cut_box_"):
        top, left, bottom, right = case[f"cut_box_{i}"]
        share = case[f"cut_lambda_{i}"]
        halves = [int(side * np.sqrt(1 - share)) // 2 for side in size_hw]
        # the centre of a box that may be cut off at its beginning, or at its end
        center = [
            low + half if low > 0 else high - half
            for low, high, half in zip((top, left), (bottom, right), halves, strict=True)
        ]
        box = box_mask(jnp.float32(share), jnp.asarray(center, jnp.float32), size_hw)
        assert box[top:bottom, left:right].all()
        assert box.sum() == (bottom - top) * (right - left)
        mixed = functools.partial(pixmatch.cut_mixed, box, jnp.asarray(case[f"cut_swapped_{i}"]))
        image = mixed(*(channels_last(case[f"cut_image_{name}"]) for name in ("source", "target")))
        np.testing.assert_array_equal(image, channels_last(case[f"cut_image_{i}"]))
        label = mixed(*(ints(case[f"cut_label_{name}"]) for name in ("source", "target")))
        np.testing.assert_array_equal(label, case[f"cut_label_{i}"])


def test_the_average_is_the_authors(case):
    """That of the engine without its warm-up, for which the code has none."""
    average = jnp.asarray(case["ema_params"][0], jnp.float32)
    for params, shadow in zip(case["ema_params"][1:], case["ema_shadow"][1:], strict=True):
        values = jnp.asarray(params, jnp.float32)
        average = moving_average(average, values, PUBLISHED.teacher.momentum)
        assert_close(average, shadow, TOLERANCE)


def test_a_box_of_nothing_and_of_everything():
    center = jnp.array([2.0, 3.0])
    assert not box_mask(jnp.float32(1.0), center, (4, 6)).any()
    assert box_mask(jnp.float32(0.0), center, (4, 6)).all()
