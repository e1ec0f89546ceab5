"""FADA's step against the authors' code (tier2_fada)."""

import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import channels_last, ints
from logit_table import gradients, images_of, plain_sgd

from dajax.methods.segmentation import fada
from dajax.models.apply import discriminate_pixels
from dajax.ops.resize import resize_bilinear
from dajax.recipes import fada as recipe

TOLERANCE = 1e-4  # tests/golden/README.md, "Second-tier baselines", of float32
# the golden file's layers in their order
LAYERS = ("conv1", "conv2", "source", "target")


@pytest.fixture(scope="module")
def case(golden):
    return golden("tier2_fada")[""]


def layers(case, key):
    """{layer: {"kernel", "bias"}} of the arrays <key>_0 to <key>_7."""
    arrays = [case[f"{key}_{i}"] for i in range(2 * len(LAYERS))]
    return {
        name: {
            "kernel": jnp.asarray(np.moveaxis(arrays[2 * i], (0, 1), (3, 2)), jnp.float32),
            "bias": jnp.asarray(arrays[2 * i + 1], jnp.float32),
        }
        for i, name in enumerate(LAYERS)
    }


def config_of(case):
    """The authors' stage, at the sizes of the file."""
    config = recipe.get_config("gta5_to_cityscapes,weights=none").fada
    config.optimizer = config.discriminator_optimizer = plain_sgd()
    config.adversarial.width = case["d_param_0"].shape[0]
    config.target_hw = case["label"].shape[1:]
    return config


def test_a_step_is_the_authors(case):
    config, labels = config_of(case), ints(case["label"])
    tables = {
        name: jnp.concatenate([channels_last(case[f"{domain}_{key}"]) for domain in ("src", "tgt")])
        for name, key in (("table", "logits"), ("features", "feature"))
    }
    count, of_target = len(labels), len(case["tgt_logits"])
    images = images_of(np.arange(count + of_target), labels.shape[1:])
    batch = {
        "source": {"image": images[:count], "label": labels, "mask": jnp.ones(count, bool)},
        "target": {"image": images[count:], "mask": jnp.ones(of_target, bool)},
    }
    judge = layers(case, "d_param")
    grads, metrics = gradients(fada, tables, batch, config, discriminator=judge)
    for name, expected in (
        ("segmentation", case["loss_seg"]),
        ("adversarial", case["loss_adv_tgt"] / config.adversarial.weight),
        ("discriminator", case["loss_D_src"] + case["loss_D_tgt"]),
        ("loss", case["loss_seg"] + case["loss_adv_tgt"]),
    ):
        assert_close(metrics[name], expected, TOLERANCE, err_msg=name)
    own = grads["segmenter"]
    of_source = channels_last(case["seg_grad_src_logits"])
    assert_close(own["table"][:count], of_source, TOLERANCE)
    assert_close(own["table"][count:], channels_last(case["adv_grad_tgt_logits"]), 0, floor=1e-9)
    adversarial = channels_last(case["adv_grad_tgt_feature"])
    assert_close(own["features"][count:], adversarial, TOLERANCE)
    assert not np.asarray(own["features"][:count]).any()
    for name, expected in layers(case, "d_grad").items():
        for leaf in expected:
            found = grads["discriminator"][name][leaf]
            assert_close(found, expected[leaf], TOLERANCE, floor=1e-7, err_msg=f"{name} {leaf}")


def test_soft_labels_and_the_discriminators_map_are_the_authors(case):
    config, size_hw = config_of(case), case["label"].shape[1:]
    for domain in ("src", "tgt"):
        logits = resize_bilinear(channels_last(case[f"{domain}_logits"]), size_hw)
        labels = fada.soft_labels(logits, config=config)
        assert_close(labels, channels_last(case[f"{domain}_soft_label"]), TOLERANCE)
    found = discriminate_pixels(
        layers(case, "d_param"),
        channels_last(case["tgt_feature"]),
        num_classes=int(case["K"]),
        width=config.adversarial.width,
    )
    found = resize_bilinear(found, size_hw)
    assert_close(found, channels_last(case["d_out_target"]), TOLERANCE)


def test_a_sure_pixels_label_sums_to_less_than_one():
    config = recipe.get_config().fada
    labels = fada.soft_labels(jnp.array([[[[90.0, 0.0], [0.0, 0.0]]]]), config=config)
    np.testing.assert_allclose(labels.sum(-1), [[[0.9, 1.0]]], rtol=1e-6)
