"""Whole iterations of the authors' own training scripts (clan_trainstep_*, clan_asn_trainstep_*)
through the train steps that runs use.
"""

import numpy as np
import pytest
from authors_steps import (
    LOSS_TOLERANCE,
    assert_final_logits,
    assert_parameters,
    assert_statistics,
    make,
    run,
    torch_leaf,
)
from compare import assert_value

from dajax.methods import METHODS
from dajax.recipes import adaptsegnet as adaptsegnet_config
from dajax.recipes import clan as clan_config


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
