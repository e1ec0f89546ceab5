"""The golden networks of MiT (sota_*.npz), and the network's part of a config with one."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from recipe_weights import recipe_state_dict, shapes_of

from dajax.models.encoder_decoder import build_segmenter
from dajax.models.norm import Mode
from dajax.models.seg_weights import from_torch_segmenter
from dajax.models.to_torch import to_torch

# tests/golden/README.md, sota_*: logits and gradients, of the array's max; losses, relative
TOLERANCE, LOSS_TOLERANCE = 1e-4, 1e-5
TINY = dict(
    backbone="mit_tiny",
    head="daformer",
    head_channels=16,
    heads="single",
    dropout=0.0,
    drop_path=0.0,
    norm="train",
    train_norm_affine=True,
    dtype="float32",
    remat="none",
)


def segmenter(num_classes=19, **settings):
    """An EncoderDecoder of TINY with other settings."""
    return build_segmenter(ConfigDict(TINY | settings), num_classes, 1)


def load(model, network, salt, image_hw=(64, 64), allow_partial=False):
    """Variables of a model with the weights of a golden network."""
    entries = recipe_state_dict(network, salt, names="sota_names_part2")
    trees = shapes_of(model, (1, *image_hw, 3))
    params, stats, report = from_torch_segmenter(entries, *trees, allow_partial=allow_partial)
    assert not report.unexpected
    return {"params": params, "batch_stats": stats}


def variables_of(model, image_shape, **method):
    """`filled` of a model for images.

    Args:
      method: of Module.init, for a module that is not called by __call__.
    """
    images = jnp.zeros(image_shape)
    return filled(lambda: model.init(jax.random.key(0), images, Mode(), **method))


def filled(init):
    """Variables of random numbers about as large as a network begins with; nothing is compiled.

    Args:
      init: f() -> variables.
    """
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        normal = jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32)
        if path[-1].key in ("scale", "var"):
            return jnp.exp(0.1 * normal)
        if path[-1].key == "kernel":
            return normal * float(np.prod(leaf.shape[:-1])) ** -0.5
        return 0.1 * normal

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(init))


def norms(grads, names):
    """Norms of gradients of a network, in the order of torch names."""
    arrays = to_torch(grads, {}, norm_set=0)
    own = [name.removeprefix("backbone.") for name in names]
    assert set(own) == set(arrays)
    return np.array([np.linalg.norm(arrays[name].astype(np.float64)) for name in own])


def assert_norms_close(found, expected):
    """Each gradient's norm on its own; those that are nothing but rounding beside the largest."""
    atol = TOLERANCE * 1e-2 * expected.max()
    np.testing.assert_allclose(found, expected, rtol=3 * TOLERANCE, atol=atol)


def mean_over_all(logits, labels, weights=1.0):
    """mmseg's loss: cross-entropy times weight, 0 at void, over the number of all pixels."""
    is_valid = labels != 255
    logs = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(logs, jnp.where(is_valid, labels, 0)[..., None], -1)[..., 0]
    return -(jnp.where(is_valid, picked, 0.0) * weights).mean()
