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
    filled,
    load,
    mean_over_all,
    norms,
    segmenter,
)

from dajax.models.daformer_head import StagesHead
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


WIDTHS = (64, 128, 320, 512)  # of MiT-b1 to b5


def stages_of(widths):
    """Feature maps of an image of 32x64 pixels."""
    sizes = ((8, 16), (4, 8), (2, 4), (1, 2))
    keys = jax.random.split(jax.random.key(1), 4)
    return [
        jax.random.normal(key, (2, *hw, width))
        for key, hw, width in zip(keys, sizes, widths, strict=True)
    ]


def head_and_variables(kind, num_classes, widths, channels=16, **settings):
    head, stages = StagesHead(kind, num_classes, channels, **settings), stages_of(widths)
    return head, filled(lambda: head.init(jax.random.key(0), stages, Mode())), stages


def test_heads_have_the_authors_sizes():
    """Measured in torch: 3,712,275 parameters of DAFormer's head on MiT-b5, 530,707 of the scale
    attention, which is its form with one 1x1 convolution.
    """
    embedded = (sum(WIDTHS) + 4) * 768
    of_segformer = embedded + 4 * 768 * 768 + 2 * 768 + (768 + 1) * 19
    for kind, channels, expected in (
        ("daformer", 256, 3_712_275),
        ("daformer_conv1", 256, 530_707),
        ("segformer", 768, of_segformer),
    ):
        _, variables, _ = head_and_variables(kind, 19, WIDTHS, channels)
        assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected, kind


@pytest.mark.parametrize("kind", ["daformer_conv1", "segformer"])
def test_one_convolution_fuses_the_stages_finest_first(kind):
    """By hand: every stage embedded, brought to the first one's size and concatenated."""
    head, variables, stages = head_and_variables(kind, 5, (3, 4, 5, 6))
    output = jax.jit(lambda: head.apply(variables, stages, Mode()))()
    params, stats = jax.tree.map(np.asarray, (variables["params"], variables["batch_stats"]))
    stem, fuse = {
        "daformer_conv1": ("embed_layers", "fuse_layer"),
        "segformer": ("linear_c", "linear_fuse"),
    }[kind]
    maps = []
    for i, x in enumerate(stages):
        layer = params[f"{stem}_{i}"]["proj"]
        embedded = np.asarray(x) @ layer["kernel"] + layer["bias"]
        maps.append(resize_bilinear(jnp.asarray(embedded), (8, 16), align_corners=False))
    y = np.concatenate(maps, -1) @ params[fuse]["conv"]["kernel"][0, 0]
    bn, moments = params[fuse]["bn"], stats[fuse]["bn"]
    y = (y - moments["mean"][0]) / np.sqrt(moments["var"][0] + 1e-5) * bn["scale"][0]
    features = np.maximum(y + bn["bias"][0], 0)
    np.testing.assert_allclose(output.features, features, atol=1e-5)
    last = params[head.classifiers[0]]
    np.testing.assert_allclose(
        output.logits, features @ last["kernel"][0, 0] + last["bias"], atol=1e-5
    )


def test_twin_classifiers_are_summed_for_clan():
    """And `classify` makes of given features what the head has made of its own, for PLCA."""
    head, variables, stages = head_and_variables("daformer_conv1", 5, (3, 4, 5, 6), num_heads=2)
    model = segmenter(5, heads="twin").clone(decode_head=head)
    output = jax.jit(lambda: head.apply(variables, stages, Mode()))()
    params = {"decode_head": variables["params"]}
    found = model.classify(params, output.features)
    np.testing.assert_allclose(found, output.logits + output.aux_logits, atol=1e-5)
    np.testing.assert_array_equal(
        model.prediction_logits(output), output.logits + output.aux_logits
    )
    aux, main = model.twin_heads(params)
    assert aux is variables["params"]["conv_seg_aux"] and main is variables["params"]["conv_seg"]
    assert output.last_stage.shape == (2, 1, 2, 6)


def test_dropout_stands_before_the_classifier_alone():
    """Channels of the features, by the key of the pass; the features are those before it."""
    head, variables, stages = head_and_variables("daformer_conv1", 5, (3, 4, 5, 6), dropout=0.5)

    @jax.jit
    def run(key):
        mode, rngs = Mode(train=True, rows=jnp.arange(2)), {"dropout": key}
        return head.apply(variables, stages, mode, mutable=["batch_stats"], rngs=rngs)[0]

    first, other = run(jax.random.key(0)), run(jax.random.key(1))
    np.testing.assert_array_equal(first.features, other.features)
    assert np.abs(first.logits - other.logits).max() > 0


def test_a_frozen_normalisation_of_the_head_is_left_to_no_optimiser():
    patterns = segmenter(train_norm_affine=False).frozen_parameters()
    assert patterns == (r"/decode_head/(.*/)?bn/",)
    assert segmenter().frozen_parameters() == ()
