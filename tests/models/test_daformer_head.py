"""The decoders over four stages: DAFormer's against the authors' (sota_daformer_head.npz), the
others by what they are made of.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import channels_first, channels_last, ints
from mit_golden import (
    LOSS_TOLERANCE,
    TOLERANCE,
    assert_norms_close,
    load,
    mean_over_all,
    norms,
    segmenter,
)
from recipe_weights import shapes_of

from dajax.models.norm import Mode
from dajax.models.to_torch import to_torch
from dajax.ops.resize import resize_bilinear

BACKBONES = {"small": ("mit_tiny", 16), "full": ("mit_b5", 256)}


def features_of(arrays, tag):
    """The four feature maps; those of "full" are generated."""
    if tag == "small":
        return [channels_last(arrays[f"small_feat{i}"]) for i in range(4)]
    seeds = [zlib.crc32(f"{arrays['salt']}full_feat{i}".encode()) for i in range(4)]
    return [
        channels_last(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
        for seed, shape in zip(seeds, arrays["full_feat_shapes"], strict=True)
    ]


@pytest.mark.parametrize("tag", ["small", pytest.param("full", marks=pytest.mark.slow)])
def test_daformers_head_is_the_authors(golden, tag):
    """Logits in evaluation; loss, gradients and statistics of a training pass."""
    arrays, (backbone, channels) = golden("sota_daformer_head")[""], BACKBONES[tag]
    model = segmenter(backbone=backbone, head_channels=channels)
    variables = load(model, f"daformer_head_{tag}", str(arrays["salt"]), allow_partial=True)
    own = {name: tree["decode_head"] for name, tree in variables.items()}
    labels, stages = ints(arrays[f"{tag}_label"]), features_of(arrays, tag)

    def train(params, stages):
        output, updated = model.decode_head.apply(
            {**own, "params": params}, stages, Mode(train=True), mutable=["batch_stats"]
        )
        logits = resize_bilinear(output.logits, labels.shape[1:], align_corners=False)
        return mean_over_all(logits, labels), (output.logits, updated["batch_stats"])

    @jax.jit
    def run(stages):
        evaluated = model.decode_head.apply(own, stages, Mode())
        step = jax.value_and_grad(train, argnums=(0, 1), has_aux=True)
        return evaluated.logits, step(own["params"], stages)

    evaluated, ((loss, (logits, stats)), (grads, grads_stages)) = run(stages)
    assert_close(channels_first(evaluated), arrays[f"{tag}_eval_logits"], TOLERANCE)
    np.testing.assert_allclose(loss, arrays[f"{tag}_train_loss"], rtol=LOSS_TOLERANCE)
    assert_norms_close(
        norms(grads, arrays[f"{tag}_param_names"].tolist()), arrays[f"{tag}_gradnorm"]
    )
    of_stages = np.array([np.linalg.norm(np.float64(grad)) for grad in grads_stages])
    assert_norms_close(of_stages, arrays[f"{tag}_feat_gradnorm"])
    if tag == "small":
        assert_close(channels_first(logits), arrays["small_train_logits"], TOLERANCE)
        for i, grad in enumerate(grads_stages):
            assert_close(channels_first(grad), arrays[f"small_feat_grad{i}"], TOLERANCE)
    after = to_torch({}, stats, norm_set=0)
    stored = [key for key in arrays if key.startswith(f"{tag}_after_")]
    assert len(stored) == len(after) == 16
    for key in stored:
        assert_close(after[key.removeprefix(f"{tag}_after_")], arrays[key], TOLERANCE, err_msg=key)


def count(model):
    return sum(
        leaf.size for leaf in jax.tree.leaves(shapes_of(model, (1, 32, 32, 3))[0]["decode_head"])
    )


def test_heads_have_the_authors_sizes():
    """Measured in torch: 3,712,275 parameters of DAFormer's head on MiT-b5, 530,707 of the scale
    attention, which is its form with one 1x1 convolution.
    """
    assert count(segmenter(backbone="mit_b5", head_channels=256)) == 3_712_275
    conv1 = segmenter(backbone="mit_b5", head="daformer_conv1", head_channels=256)
    assert count(conv1) == 530_707
    segformer = segmenter(backbone="mit_b5", head="segformer", head_channels=768)
    embedded = (64 + 128 + 320 + 512 + 4) * 768
    assert count(segformer) == embedded + 4 * 768 * 768 + 2 * 768 + (768 + 1) * 19


def test_features_and_classifier_make_the_logits():
    """For PLCA's aggregation, and of twin heads their sum for CLAN."""
    for heads in ("single", "twin"):
        model = segmenter(5, heads=heads)
        images = jax.random.normal(jax.random.key(1), (2, 32, 64, 3))
        variables = model.init(jax.random.key(0), images, Mode())
        output = model.apply(variables, images, Mode())
        assert output.features.shape == (2, 8, 16, 16) and output.logits.shape == (2, 8, 16, 5)
        assert output.last_stage.shape == (2, 1, 2, 64)
        np.testing.assert_allclose(
            model.classify(variables["params"], output.features),
            model.prediction_logits(output),
            atol=1e-6,
        )
        if heads == "twin":
            aux, main = model.twin_heads(variables["params"])
            assert not np.array_equal(aux["kernel"], main["kernel"])


def test_dropout_of_the_head_drops_channels():
    """Its classifier is linear: with every channel dropped but by chance, logits change by row."""
    model = segmenter(5, dropout=0.5)
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    variables = model.init(jax.random.key(0), images, Mode())

    def run(key):
        mode = Mode(train=True, rows=jnp.arange(2))
        rngs = {"dropout": jax.random.key(key)}
        return model.apply(variables, images, mode, mutable=["batch_stats"], rngs=rngs)[0]

    first, again, other = run(0), run(0), run(1)
    np.testing.assert_array_equal(first.logits, again.logits)
    np.testing.assert_array_equal(first.features, other.features)  # what stands before it
    assert np.abs(first.logits - other.logits).max() > 0


def test_a_frozen_normalisation_of_the_head_is_left_to_no_optimiser():
    patterns = segmenter(train_norm_affine=False).frozen_parameters()
    assert patterns == (r"/decode_head/(.*/)?bn/",)
    assert segmenter().frozen_parameters() == ()
