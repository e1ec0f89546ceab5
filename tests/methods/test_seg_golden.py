"""Whole iterations of the authors' own training scripts (clan_trainstep_*, clan_asn_trainstep_*) through the train steps that runs use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import adaptsegnet as adaptsegnet_config
from configs import base, seg_base
from configs import clan as clan_config
from dajax.methods import METHODS
from dajax.models.apply import predict_scores
from dajax.models.deeplab import build_segmenter
from dajax.models.seg_weights import from_torch_segmenter
from recipe_weights import discriminator_params, recipe_state_dict

# clan_README.md: train-step losses 1e-4 relative, parameters 1e-4 of the array's max, final logits 1e-3 of max, all float32 against float64.
LOSS_TOLERANCE, PARAMETER_TOLERANCE, LOGIT_TOLERANCE = 1e-4, 1e-4, 1e-3


def make(case, heads, config, repeats):
    """The authors' network with four blocks, recipe weights, and the stage's config at the golden file's few steps."""
    settings = ConfigDict(seg_base.deeplab("resnet101", heads, "", aspp_branches=4 if heads == "twin" else 2))
    model = build_segmenter(settings, 19, 1)
    model = model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))
    config.steps = int(case["num_steps"])
    config.target_hw = case["tgt_images"].shape[2:]
    warmup = int(case["preheat"]) if "preheat" in case else 0
    config.optimizer = seg_base.poly_sgd(2.5e-4, warmup_steps=warmup, backbone_sgd_repeats=repeats)
    config.discriminator_optimizer = seg_base.poly_adam(1e-4, warmup_steps=warmup)
    if heads == "twin":
        config.warmup_steps = warmup
    return model, config


def run(case, method, model, config, names, salts):
    """Metrics of every iteration, and the state after each."""
    rng = jax.random.key(0)
    state = method.init(rng, jnp.zeros((1, 33, 33, 3)), config=config, model=model, num_images={})
    network, salt = state.params["segmenter"], str(case["salt"])
    params, stats, _ = from_torch_segmenter(recipe_state_dict(names, salt, one_block=True), network, state.batch_stats["segmenter"])
    params = {"segmenter": params} | {name: discriminator_params(salt + extra) for name, extra in salts.items()}
    state = state.replace(params=params, batch_stats={"segmenter": stats})
    step = jax.jit(lambda state, batch: method.train_step(state, batch, rng, config=config, model=model))
    mask, history = np.ones(1, bool), []
    for i in range(len(case["losses"])):
        source, target = (np.moveaxis(case[key][i], 0, -1)[None] for key in ("src_images", "tgt_images"))
        label = case["src_labels"][i][None].astype(np.int32)
        state, metrics = step(state, {"source": {"image": source, "label": label, "mask": mask}, "target": {"image": target, "mask": mask}})
        history.append((metrics, state))
    return history


def torch_leaf(tree, name):
    """A parameter by its torch name, in torch's layout; running statistics by "bn1"."""
    *path, leaf = name.replace("downsample.0", "downsample_conv").replace("downsample.1", "downsample_bn").split(".")
    joined = []
    for part in path:
        joined[-1:] = [f"{joined[-1]}_{part}"] if part.isdigit() else joined[-1:] + [part]
    node = tree if joined[0] in tree else tree["backbone"]
    for part in joined:
        node = node[part]
    value = np.asarray(node["bias" if leaf == "bias" else "kernel"])
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value


def assert_parameters(case, iteration, state, discriminators):
    prefix = f"it{iteration}_after8_"
    names = [key[len(prefix) :] for key in case if key.startswith(prefix)]
    assert len(names) >= 20
    for name in names:
        network, _, leaf = name.partition(".")
        value = torch_leaf(state.params["segmenter" if network == "G" else discriminators[network]], leaf)
        expected, norm = case[prefix + name], case.get(f"it{iteration}_afternorm_{name}")  # not stored for discriminators of AdaptSegNet
        scale = np.abs(value).max()
        np.testing.assert_allclose(value.reshape(-1)[: len(expected)], expected, rtol=0, atol=PARAMETER_TOLERANCE * scale, err_msg=name)
        if norm is not None:
            np.testing.assert_allclose(np.linalg.norm(value.astype(np.float64)), norm, rtol=PARAMETER_TOLERANCE, err_msg=name)


def assert_statistics(case, iteration, state):
    """Running statistics after both passes: the source's, then the target's."""
    for kind, leaf in (("runmean", "mean"), ("runvar", "var")):
        keys = [key for key in case if key.startswith(f"it{iteration}_{kind}_")]
        assert keys
        for key in keys:
            path = key.split(f"{kind}_")[1].replace("downsample.1", "downsample_bn").split(".")
            node = state.batch_stats["segmenter"]["backbone"]
            for part in ([f"{path[0]}_{path[1]}", *path[2:]] if len(path) > 1 else path):
                node = node[part]
            expected = case[key]
            tolerance = PARAMETER_TOLERANCE * np.abs(expected).max()
            np.testing.assert_allclose(node[leaf][0][: len(expected)], expected, rtol=0, atol=tolerance, err_msg=key)


def final_logits(case, model, state):
    image = np.moveaxis(case["tgt_images"][0], 0, -1)[None]
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return np.moveaxis(np.asarray(predict_scores(model, variables, image, domain=0)), -1, 1)


# Compiling takes nearly all of the time of these tests, so what differs little from another runs with the slow ones.
@pytest.mark.parametrize("name, repeats", [("clan_trainstep_dup", 3), pytest.param("clan_trainstep_nodup", 1, marks=pytest.mark.slow)])
def test_five_iterations_of_clan_are_the_authors(golden, name, repeats):
    case = golden(name)[""]
    arg = base.parse_arg("gta5_to_cityscapes", clan_config.VARIANTS, settings="code")
    model, config = make(case, "twin", clan_config.authors(arg), repeats)
    history = run(case, METHODS["clan"], model, config, "clan", {"discriminator": ""})
    for i, (metrics, state) in enumerate(history):
        seg, adv, weight, d_source, d_target = case["losses"][i]
        damping = 1 - i / config.steps
        found = (
            metrics["segmentation"], metrics["adversarial"] * config.adversarial.weight * damping,
            (metrics["weight_cosine"] + 1) * config.weight_loss * damping, metrics["discriminator_source"], metrics["discriminator_target"],
        )
        np.testing.assert_allclose(found, (seg, adv, weight, d_source, d_target), rtol=LOSS_TOLERANCE, err_msg=f"iteration {i}")
        assert_parameters(case, i, state, {"D": "discriminator"})
        assert_statistics(case, i, state)
    expected = case["final_eval_logits1"] + case["final_eval_logits2"]
    assert np.abs(final_logits(case, model, state) - expected).max() < LOGIT_TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize(
    "name, gan",
    [
        ("clan_asn_trainstep_multi", "vanilla"), pytest.param("clan_asn_trainstep_single", "vanilla", marks=pytest.mark.slow),
        pytest.param("clan_asn_trainstep_single_ls", "least_squares", marks=pytest.mark.slow),
    ],
)
def test_three_iterations_of_adaptsegnet_are_the_authors(golden, name, gan):
    """The single-level script also runs both heads, the auxiliary ones at weight 0."""
    case = golden(name)[""]
    arg = base.parse_arg("gta5_to_cityscapes", adaptsegnet_config.VARIANTS, gan=gan, backbone="resnet101")
    model, config = make(case, "multi", adaptsegnet_config.authors(arg), 3)
    config.loss.aux_weight = float(case["lambda_seg"])
    config.adversarial.update(weight=float(case["lambda_adv2"]), aux_weight=float(case["lambda_adv1"]))
    # D1 judges the auxiliary head.
    history = run(case, METHODS["adaptsegnet"], model, config, "asn_multi", {"discriminator": "D2/", "discriminator_aux": ""})
    for i, (metrics, state) in enumerate(history):
        seg, adv, d1_source, d2_source, d1_target, d2_target = case["losses"][i]
        fooled = config.adversarial.weight * metrics["adversarial_discriminator"]
        fooled += config.adversarial.aux_weight * metrics["adversarial_discriminator_aux"]
        found = metrics["loss"] - fooled, fooled, metrics["discriminator_aux"], metrics["discriminator"]
        np.testing.assert_allclose(found, (seg, adv, d1_source + d1_target, d2_source + d2_target), rtol=LOSS_TOLERANCE, err_msg=f"iteration {i}")
        assert_parameters(case, i, state, {"D1": "discriminator_aux", "D2": "discriminator"})
    expected = case["final_eval_logits2"]
    assert np.abs(final_logits(case, model, state) - expected).max() < LOGIT_TOLERANCE * np.abs(expected).max()
    unused = [key for key in case["it0_none_grad"] if "conv2d_list" in key]
    assert len(unused) == 8, "what torch leaves without a gradient, and so without weight decay"
    for key in unused:
        np.testing.assert_array_equal(torch_leaf(history[0][1].params["segmenter"], key), torch_leaf(state.params["segmenter"], key))
