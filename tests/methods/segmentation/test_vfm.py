"""What VFM-UDA adds to cross_domain_mixing: masked tokens, mirrored labels, jitter of an image's
own, a weak view; on its recipe's stage with a toy transformer.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import labelled_source_and_target
from compare import assert_trees_close
from tiny_segmenter import tiny_segmenter

from dajax import parallel
from dajax.engine import teacher
from dajax.errors import UserError
from dajax.methods.segmentation import _mean_teacher as mean_teacher
from dajax.methods.segmentation import _mixed_images as mixed_images
from dajax.methods.segmentation import _strong_view as strong_view
from dajax.methods.segmentation import cross_domain_mixing as mixing
from dajax.models.vit import Variant, ViT
from dajax.models.vit_segmenter import ViTSegmenter
from dajax.recipes import dacs, vfm
from dajax.recipes.base import deeplab
from dajax.state import TEACHER

SHAPE, CLASSES = (4, 16, 24, 3), 4
TOY = Variant(12, 1, 3, patch=4, grid=3, layer_scale=1.0)  # 4 x 6 tokens


def stage(**changes):
    config = vfm.get_config("scenes").vfm
    config.optimizer = deeplab.poly_sgd(0.01, head_multiplier=1.0)
    config.update_from_flattened_dict(changes)
    return config


def model():
    return ViTSegmenter(ViT(TOY), CLASSES)


def parts(seed=0):
    batch = labelled_source_and_target(seed, SHAPE, CLASSES)
    return jax.tree.map(jnp.asarray, batch)


def draw(key, rows, config):
    return mixed_images.draw(key, rows, SHAPE[1:3], config=config, model=model())


@pytest.fixture(scope="module")
def many():
    """Drawn for 100 steps of four images: leaves [100, 4, ...]."""
    keys, rows = jax.random.split(jax.random.key(0), 100), jnp.arange(4)
    return jax.device_get(jax.jit(jax.vmap(lambda key: draw(key, rows, stage())))(keys))


def test_masks_hide_tokens_and_leave_the_pixels(many):
    """Each token with probability 0.7."""
    config = stage(**{"masked.strong_view": False})
    batch, drawn = parts(), jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), many)
    labels, weights = jnp.zeros(SHAPE[:3], jnp.int32), jnp.ones(SHAPE[:3])
    part, _ = mixed_images.masked_part(
        batch["source"], batch["target"], labels, weights, drawn, jnp.arange(4), config=config
    )
    np.testing.assert_array_equal(part["image"], batch["target"]["image"])
    assert part["token_mask"].shape == (4, 4, 6) and part["token_mask"].dtype == bool
    # 9,600 tokens: five deviations
    assert abs((many.noise <= config.masked.ratio).mean() - 0.7) < 0.024


def test_tokens_are_asked_of_networks_that_have_them():
    config = dacs.get_config("scenes").dacs
    config.masked.update(weight=1.0, block=0)
    residual = tiny_segmenter(config, heads="single", num_classes=CLASSES)
    with pytest.raises(UserError, match="masked.block=0: hides tokens of a vision transformer"):
        mixed_images.mask_grid(SHAPE[1:3], config=config, model=residual)


@pytest.fixture(scope="module")
def first_state():
    config = stage()

    def begun():
        state = mixing.init(jax.random.key(0), jnp.zeros(SHAPE), config=config, model=model())
        return teacher.begin(state, config)

    return jax.jit(begun)()


@pytest.mark.slow
def test_mirrored_labels_are_those_of_the_mirrored_image_mirrored(first_state):
    """The mean of both views' probabilities knows no left and right; one view's does."""
    target = parts()["target"]
    mirrored = target | {"image": target["image"][:, :, ::-1]}
    for word in (True, False):
        config = stage(mirrored_labels=word, threshold=0.3)

        @jax.jit
        def label(target, config=config):
            return mean_teacher.label_target(
                first_state, target, config=config, model=model(), axis_name=None
            )[:2]

        (labels, weights), (others, _) = label(target), label(mirrored)
        agree = float((labels == others[:, :, ::-1]).mean())
        # ties of rounding
        assert agree > 0.99 if word else agree < 0.99, agree
        assert 0 <= weights.min() and weights.max() <= 1


def test_every_image_has_its_own_gates(many):
    for gates, probability in (
        (many.mixed.jitters, 0.8),
        (many.masked.blurs, 0.5),
        (many.source.jitters, 0.9),
    ):
        assert abs(gates.mean() - probability) < 0.125  # of 400, five deviations
        assert (gates != gates[:, :1]).any(), "not one for the batch"
    keys = jax.random.split(jax.random.key(0), 100)
    half = draw(keys[3], jnp.arange(2, 4), stage())
    np.testing.assert_array_equal(half.masked.blurs, many.masked.blurs[3, 2:])
    np.testing.assert_allclose(half.source.factors, many.source.factors[3, 2:], rtol=1e-6)


def test_the_weak_view_has_strengths_of_its_own(many):
    """random_aug_weak's; each end is nearly reached by 400 draws."""
    for place, strength in enumerate((32 / 255, 0.5, 0.5, 18 / 360)):
        found = np.abs(many.target.factors[..., place] - (0 if place == 3 else 1))
        assert 0.95 * strength < found.max() <= strength * (1 + 1e-5)
    assert (many.target.factors != many.source.factors).any()


def test_a_closed_gate_leaves_an_image_as_it_is(many):
    config, images = stage(), parts()["source"]["image"]
    drawn = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), many.source)._replace(
        jitters=jnp.array([True, False, True, False])
    )
    found = jax.jit(lambda images: strong_view.weak_view(images, drawn, config))(images)
    changed = (found != images).any((1, 2, 3))
    np.testing.assert_array_equal(changed, drawn.jitters)
    config.weak_view.probability = 0.0
    assert strong_view.weak_view(images, None, config) is images


@pytest.mark.slow
def test_a_step_trains_the_mask_token_and_moves_the_teacher(first_state):
    """A mean of the networks before and after it, as DAFormer's."""
    config = stage(threshold=0.0)  # random weights are sure of nothing
    after, figures = jax.jit(
        lambda state, batch: mixing.train_step(
            state, batch, jax.random.key(1), config=config, model=model()
        )
    )(first_state, parts())
    assert {"segmentation", "mixed", "masked"} <= set(figures)
    assert all(np.isfinite(value) for value in figures.values())
    before, now = (state.params["segmenter"] for state in (first_state, after))
    assert (before["backbone"]["mask_token"] != now["backbone"]["mask_token"]).any()
    mean = jax.tree.map(lambda a, b: (a + b) / 2, before, now)
    assert_trees_close(after.extra[TEACHER]["params"]["segmenter"], mean, 1e-6, floor=1e-7)


@pytest.mark.slow
def test_four_devices_train_what_one_trains(first_state):
    """With every switch on; each device has one image."""
    config, batch = stage(threshold=0.3), jax.device_get(parts())

    def train_step(state, batch, rng, axis_name):
        return mixing.train_step(
            state, batch, rng, config=config, model=model(), axis_name=axis_name
        )

    found = []
    for devices in (jax.devices()[:1], jax.devices()):
        step = parallel.compile_train_step(train_step, devices)
        state = jax.tree.map(jnp.array, first_state)  # a step donates what it is given
        after, _ = step(state, batch, jax.random.key(1))
        found.append(jax.device_get((after.params, after.extra[TEACHER])))
    assert_trees_close(*found, 1e-5, floor=1e-6)
