"""Whole iterations of the authors' own training scripts (clan_trainstep_*, clan_asn_trainstep_*)
through the train steps that runs use.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from compare import assert_close, assert_value
from golden_arrays import channels_first
from recipe_weights import discriminator_params, recipe_state_dict

from dajax.methods import METHODS
from dajax.models.apply import predict_scores
from dajax.models.build import build_segmenter
from dajax.models.seg_weights import from_torch_segmenter
from dajax.recipes import adaptsegnet as adaptsegnet_config
from dajax.recipes import clan as clan_config

# tests/golden/README.md: train-step losses 1e-4 relative, parameters 1e-4 of the array's max, final
# logits 1e-3 of max, all float32 against float64.
LOSS_TOLERANCE, PARAMETER_TOLERANCE, LOGIT_TOLERANCE = 1e-4, 1e-4, 1e-3


def make(case, recipe, argument, *, warmup_steps=0):
    """The recipe's own network and stage, with as many blocks, steps and pixels as the golden file
    has.
    """
    whole = recipe.get_config(argument)
    config = whole[whole.stages[0]]
    model = build_segmenter(whole.model, config, num_classes=case["final_eval_logits2"].shape[1])
    stage_sizes = tuple(case["layers"].tolist())
    model = model.clone(backbone=model.backbone.clone(stage_sizes=stage_sizes))
    config.steps, config.target_hw = int(case["num_steps"]), case["tgt_images"].shape[2:]
    for optimizer in (config.optimizer, config.discriminator_optimizer):
        optimizer.horizon_steps = config.steps  # of the authors' NUM_STEPS
        if warmup_steps:
            optimizer.warmup_steps = config.warmup_steps = warmup_steps
    return model, config


def weights(names, salt, heads):
    """Of the golden network: {torch name: array}. A single head is the main one of two, by another
    name.
    """
    found = recipe_state_dict(names, salt, one_block=True)
    if heads == "single":
        found = {name: array for name, array in found.items() if not name.startswith("layer5.")}
        found = {name.replace("layer6.", "layer5."): array for name, array in found.items()}
    return found


def run(case, method, model, config, names, salts):
    """Metrics of every iteration, and the state after each."""
    rng = jax.random.key(0)
    state = method.init(rng, jnp.zeros((1, 33, 33, 3)), config=config, model=model)
    network, salt = state.params["segmenter"], str(case["salt"])
    params, stats, report = from_torch_segmenter(
        weights(names, salt, model.heads), network, state.batch_stats["segmenter"]
    )
    assert not report.missing and not report.unexpected
    params = {"segmenter": params} | {
        name: discriminator_params(salt + extra) for name, extra in salts.items()
    }
    state = state.replace(params=params, batch_stats={"segmenter": stats})
    step = jax.jit(
        lambda state, batch: method.train_step(state, batch, rng, config=config, model=model)
    )
    assert config.batch_size == 1, "the files hold one image an iteration"
    history = []
    for i in range(len(case["losses"])):
        source, target = (
            np.moveaxis(case[key][i], 0, -1)[None] for key in ("src_images", "tgt_images")
        )
        batch = {"source": part(source, case["src_labels"][i][None]), "target": part(target)}
        state, metrics = step(state, batch)
        history.append((metrics, state))
    assert len(history) > 1
    return history


def torch_leaf(tree, name):
    """A parameter by its torch name, in torch's layout; running statistics by "bn1"."""
    name = name.replace("downsample.0", "downsample_conv")
    *path, leaf = name.replace("downsample.1", "downsample_bn").split(".")
    joined = []
    for word in path:
        joined[-1:] = [f"{joined[-1]}_{word}"] if word.isdigit() else joined[-1:] + [word]
    node = tree if joined[0] in tree else tree["backbone"]
    for word in joined:
        node = node[word]
    value = np.asarray(node["bias" if leaf == "bias" else "kernel"])
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value


def stored_names(case, prefix):
    """What follows a prefix in the keys of a golden file; never nothing."""
    names = [key.removeprefix(prefix) for key in case if key.startswith(prefix)]
    assert names, prefix
    return names


def assert_parameters(case, iteration, state, discriminators, of_single_head=False):
    """The parameters of which the file holds the first entries, and their norms where it does."""
    after, norms = f"it{iteration}_after8_", f"it{iteration}_afternorm_"
    with_norm = set(stored_names(case, norms))
    networks, seen = {"G": "segmenter"} | discriminators, set()
    for name in stored_names(case, after):
        network, _, leaf = name.partition(".")
        if of_single_head:
            # The script's second head and its discriminator have weight 0, and the recipe neither.
            if network not in networks or name.startswith("G.layer5."):
                continue
            leaf = leaf.replace("layer6.", "layer5.")
        value, first = torch_leaf(state.params[networks[network]], leaf), case[after + name]
        seen.add(network)
        found, unit = value.reshape(-1)[: len(first)], np.abs(value).max()
        assert_close(found, first, PARAMETER_TOLERANCE, unit=unit, err_msg=name)
        if name in with_norm:
            norm = np.linalg.norm(value.astype(np.float64))
            assert_value(norm, case[norms + name], PARAMETER_TOLERANCE, err_msg=name)
    assert seen == networks.keys()


def assert_statistics(case, iteration, state):
    """Running statistics after both passes: the source's, then the target's."""
    for kind, leaf in (("runmean", "mean"), ("runvar", "var")):
        prefix = f"it{iteration}_{kind}_"
        for name in stored_names(case, prefix):
            path = name.replace("downsample.1", "downsample_bn").split(".")
            node = state.batch_stats["segmenter"]["backbone"]
            for word in [f"{path[0]}_{path[1]}", *path[2:]] if len(path) > 1 else path:
                node = node[word]
            expected = case[prefix + name]
            found = node[leaf][0][: len(expected)]
            assert_close(found, expected, PARAMETER_TOLERANCE, err_msg=name)


def assert_final_logits(case, model, state, expected):
    """Of the first target image, in evaluation mode, after the last iteration."""
    image = np.moveaxis(case["tgt_images"][0], 0, -1)[None]
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    found = channels_first(predict_scores(model, variables, image, norm_set=0))
    assert_close(found, expected, LOGIT_TOLERANCE)


# Compiling takes nearly all of the time of these tests, so what differs little from another runs
# with the slow ones.
@pytest.mark.parametrize(
    "name", ["clan_trainstep_dup", pytest.param("clan_trainstep_nodup", marks=pytest.mark.slow)]
)
def test_five_iterations_of_clan_are_the_authors(golden, name):
    """As released (dup), which is the recipe as it stands; nodup is that code with every parameter
    listed once.
    """
    case = golden(name)[""]
    argument = "gta5_to_cityscapes,weights=none"
    model, config = make(case, clan_config, argument, warmup_steps=int(case["preheat"]))
    if name.endswith("nodup"):
        config.optimizer.repeats = ()
    history = run(case, METHODS["clan"], model, config, "clan", {"discriminator": ""})
    for i, (metrics, state) in enumerate(history):
        seg, adv, weight, d_source, d_target = case["losses"][i]
        damping = 1 - i / config.steps
        found = (
            metrics["segmentation"],
            metrics["adversarial"] * config.adversarial.weight * damping,
            (metrics["weight_cosine"] + 1) * config.weight_loss * damping,
            metrics["discriminator_source"],
            metrics["discriminator_target"],
        )
        expected = (seg, adv, weight, d_source, d_target)
        assert_value(found, expected, LOSS_TOLERANCE, err_msg=f"iteration {i}")
        assert_parameters(case, i, state, {"D": "discriminator"})
        assert_statistics(case, i, state)
    summed = case["final_eval_logits1"] + case["final_eval_logits2"]
    assert_final_logits(case, model, state, summed)


@pytest.mark.slow  # CLAN's run through the same engine, in the default suite
def test_three_iterations_of_adaptsegnet_are_the_authors(golden):
    """Multi level, the recipe as it stands."""
    case = golden("clan_asn_trainstep_multi")[""]
    model, config = make(case, adaptsegnet_config, "gta5_to_cityscapes,weights=none,levels=multi")
    config.loss.aux_weight = float(case["lambda_seg"])
    config.adversarial.aux_weight = float(case["lambda_adv1"])
    config.adversarial.weight = float(case["lambda_adv2"])
    # D1 judges the auxiliary head.
    history = run(
        case,
        METHODS["adaptsegnet"],
        model,
        config,
        "asn_multi",
        {"discriminator": "D2/", "discriminator_aux": ""},
    )
    for i, (metrics, state) in enumerate(history):
        seg, adv, d1_source, d2_source, d1_target, d2_target = case["losses"][i]
        fooled = config.adversarial.weight * metrics["adversarial_discriminator"]
        fooled += config.adversarial.aux_weight * metrics["adversarial_discriminator_aux"]
        judged = metrics["discriminator_aux"], metrics["discriminator"]
        assert_value(
            (metrics["loss"] - fooled, fooled, *judged),
            (seg, adv, d1_source + d1_target, d2_source + d2_target),
            LOSS_TOLERANCE,
            err_msg=f"iteration {i}",
        )
        assert_parameters(case, i, state, {"D1": "discriminator_aux", "D2": "discriminator"})
    assert_final_logits(case, model, state, case["final_eval_logits2"])
    # Torch leaves the last branches of both heads without a gradient, and so without weight decay.
    unused = case["it0_none_grad"].tolist()
    assert len(unused) == 2 * 2 * (len(model.aspp_rates) - model.aspp_branches)  # weight and bias
    for key in unused:
        np.testing.assert_array_equal(
            torch_leaf(history[0][1].params["segmenter"], key),
            torch_leaf(state.params["segmenter"], key),
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, gan",
    [("clan_asn_trainstep_single", "vanilla"), ("clan_asn_trainstep_single_ls", "least_squares")],
)
def test_three_iterations_of_single_level_are_the_authors(golden, name, gan):
    """The authors' script has a second head and its discriminator at weight 0 beside them; the
    recipe has neither.
    """
    case = golden(name)[""]
    model, config = make(case, adaptsegnet_config, f"gta5_to_cityscapes,weights=none,gan={gan}")
    assert float(case["lambda_seg"]) == float(case["lambda_adv1"]) == 0
    config.adversarial.weight = float(case["lambda_adv2"])
    history = run(
        case, METHODS["adaptsegnet"], model, config, "asn_multi", {"discriminator": "D2/"}
    )
    for i, (metrics, state) in enumerate(history):
        seg, adv, _, d2_source, _, d2_target = case["losses"][i]
        fooled = config.adversarial.weight * metrics["adversarial_discriminator"]
        found = metrics["loss"] - fooled, fooled, metrics["discriminator"]
        expected = seg, adv, d2_source + d2_target
        assert_value(found, expected, LOSS_TOLERANCE, err_msg=f"iteration {i}")
        assert_parameters(case, i, state, {"D2": "discriminator"}, of_single_head=True)
    assert_final_logits(case, model, state, case["final_eval_logits2"])
