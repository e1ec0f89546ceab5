"""MaxSquare's labels from two heads, and the loss of the auxiliary head on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import between, channels_first, channels_last, names_in

from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.ops.guided_labels import guided_labels
from dajax.ops.labels import IGNORED
from dajax.parallel import masked_mean
from dajax.recipes import maxsquare

TOLERANCE = 1e-4  # tests/golden/README.md, of scalars and gradients in float32


@pytest.mark.parametrize("name", between(names_in("tier2_maxsquare"), "guided_loss_"))
def test_guidance_is_the_authors(golden, name):
    case = golden("tier2_maxsquare")[""]
    heads = [channels_last(case[f"guided_logits{head}_{name}"]) for head in ("", "_aux")]

    def loss(main, aux):
        labels = guided_labels(main, aux, threshold=float(name.replace("_", ".")))
        valid = valid_pixels(labels, jnp.ones(len(labels), bool))
        return maxsquare.GUIDANCE_WEIGHT * masked_mean(
            cross_entropy_map(aux, labels), valid
        ), labels

    (value, labels), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(*heads)
    expected = case[f"guided_label_{name}"]
    np.testing.assert_array_equal(labels, np.where(expected < 0, IGNORED, expected))
    assert_value(value, case[f"guided_loss_{name}"], TOLERANCE)
    assert_close(channels_first(grads[1]), case[f"guided_grad_aux_{name}"], TOLERANCE)
    assert not np.asarray(grads[0]).any() and not case[f"guided_grad_main_{name}"].any()


def test_either_head_is_enough_and_the_mean_decides():
    sure, other, none = [9.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]
    main = jnp.asarray([[[sure, other, other, none]]])
    aux = jnp.asarray([[[other, sure, other, none]]])
    found = guided_labels(main, aux, threshold=0.9)
    np.testing.assert_array_equal(found[0, 0], [0, 0, IGNORED, IGNORED])
    assert guided_labels(main[:0], aux[:0], threshold=0.9).shape == (0, 1, 4)
