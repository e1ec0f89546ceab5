"""BiCL's losses as a whole against the slides' formulas (dass_formula) and the released code
(dass_iter), and its ablations.
"""

import bicl_golden
import jax
import jax.numpy as jnp
import numpy as np
import prototype_golden as pg
import pytest
from bicl_golden import ABLATION, CODE, settings

from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import bicl
from dajax.models.aspp import SegOutput
from dajax.ops.labels import IGNORED
from dajax.ops.pseudo_labels import NUM_BINS


@pytest.fixture(scope="module")
def formula(golden):
    found = bicl_golden.Formula(golden("dass_formula")[""])
    recipe = settings()
    assert (found.case["tau"], found.case["lam"], found.case["T"]) == (
        recipe.temperature,
        recipe.decay,
        recipe.dynamic.threshold,
    )
    return found


@pytest.mark.parametrize(
    "term, name, other", [("forward", "fc", "backward"), ("backward", "bc", "forward")]
)
def test_each_contrast_and_its_gradient_are_the_slides(formula, term, name, other):
    alone = {other: False, "contrast_weight": 1.0}
    _, terms, _, grads = formula.evaluate(settings(**alone))
    pg.assert_value(terms[term], formula.case[f"{name}_mean"])
    assert other not in terms
    for grad, domain in zip(grads, "ST", strict=True):
        pg.assert_close(grad, np.moveaxis(formula.case[f"{name}_mean_grad_f{domain}"], 1, -1))
    _, stopped, _, grads = formula.evaluate(settings(prototype_gradient=False, **alone))
    pixels, constant = (grads[1], grads[0]) if term == "forward" else grads
    pg.assert_value(stopped[term], formula.case[f"{name}_mean"])
    pg.assert_close(
        pixels, np.moveaxis(formula.case[f"{name}_mean_grad_pixel_stopgrad_proto"], 1, -1)
    )
    assert not np.asarray(constant).any()


def test_the_loss_is_the_weighted_sum_of_its_terms(formula):
    config = settings(target_weight=0.5, entropy_weight=0.7, contrast_weight=0.11)
    loss, terms, _, grads = formula.evaluate(config)
    base = (
        terms["segmentation"]
        + 0.5 * terms["segmentation_target"]
        + 0.7 * (terms["entropy_source"] + 0.5 * terms["entropy_target"])
    )
    np.testing.assert_allclose(
        loss, base + 0.11 * (formula.case["fc_mean"] + formula.case["bc_mean"]), rtol=1e-5
    )
    for grad, domain in zip(grads, "ST", strict=True):
        both = formula.case[f"fc_mean_grad_f{domain}"] + formula.case[f"bc_mean_grad_f{domain}"]
        pg.assert_close(grad, 0.11 * np.moveaxis(both, 1, -1))


def test_the_averages_move_by_the_hybrid_labels_and_their_shares_are_told(formula):
    _, terms, moved, _ = formula.evaluate(settings())
    for domain, short in (("source", "S"), ("target", "T")):
        pg.assert_close(moved[f"mu_{domain}"], formula.case[f"mu_{short}_new"], pg.VALUE_TOLERANCE)
        np.testing.assert_array_equal(moved[f"known_{domain}"], formula.case[f"have_{short}_new"])
    for kind, labels in (("static", "y_F"), ("dynamic", "y_D"), ("hybrid", "y_T")):
        np.testing.assert_allclose(
            terms[f"labelled_{kind}"], (formula.case[labels] != IGNORED).mean(), rtol=1e-6
        )


def test_calibration_and_priority_choose_the_labels(formula):
    """Told by mu_T, which is made of the labels that were used."""
    case, static = formula.case, formula.case["y_F"]
    filled = {
        "calibrated": ({}, np.where(case["y_D"] != IGNORED, case["y_D"], static)),
        "not calibrated": (
            {"dynamic.calibrate": False},
            np.where(case["y_D_nocal"] != IGNORED, case["y_D_nocal"], static),
        ),
        "static first": ({"priority": "static"}, np.where(static != IGNORED, static, case["y_D"])),
        "static only": ({"dynamic.on": False}, static),
    }
    for name, (changes, labels) in filled.items():
        _, terms, moved, _ = formula.evaluate(settings(**changes))
        pg.assert_close(moved["mu_target"], formula.moved_target(labels), pg.VALUE_TOLERANCE)
        hybrid = terms.get("labelled_hybrid", terms["labelled_static"])
        np.testing.assert_allclose(hybrid, (labels != IGNORED).mean(), rtol=1e-6, err_msg=name)
    different = {labels.tobytes() for _, labels in filled.values()}
    assert len(different) == len(filled), "the cases can be told apart"


def test_a_wanted_share_labels_the_most_similar_pixels_of_the_target(formula):
    """Without a histogram of steps before, that of this batch decides: exactly so many pixels,
    those with the best cosines.
    """
    case = formula.case
    cosines = np.where(case["ok_S"], case["sim_S2T"], -1.0)  # calibrated
    _, terms, moved, _ = formula.evaluate(settings(**{"dynamic.share": 0.35}))
    num_labelled = round(0.35 * case["y_F"].size)
    assert terms["labelled_dynamic"] * case["y_F"].size == pytest.approx(num_labelled)
    assert moved["scores"].sum() == pytest.approx(1.0, abs=1e-5)
    best = cosines.max(-1)
    chosen = best > float(terms["dynamic_threshold"])
    assert chosen.sum() == num_labelled and best[chosen].min() > best[~chosen].max()
    labels = np.where(chosen, cosines.argmax(-1), case["y_F"])
    pg.assert_close(moved["mu_target"], formula.moved_target(labels), pg.VALUE_TOLERANCE)


def test_the_threshold_of_a_share_remembers_the_steps_before(formula):
    """Higher scores, remembered for a half, leave a fifth of the batch above six tenths of all."""
    high = jnp.zeros(NUM_BINS).at[-1].set(1.0)
    config = settings(**{"dynamic.share": 0.6, "decay": 0.5})
    _, terms, moved, _ = formula.evaluate(config, extra=formula.extra | {"scores": high})
    np.testing.assert_allclose(moved["scores"][-1], 0.5, atol=1e-6)
    assert terms["labelled_dynamic"] == pytest.approx(0.2)


def test_probable_labels_are_those_of_the_softmax_of_cosines(formula):
    cosine = np.where(formula.case["ok_S"], formula.case["sim_S2T"], -1.0)
    exponentials = np.exp(cosine / 0.1)
    probability = exponentials / exponentials.sum(-1, keepdims=True)
    labels = np.where(probability.max(-1) > 0.8, cosine.argmax(-1), formula.case["y_F"])
    _, _, moved, _ = formula.evaluate(
        settings(**{"dynamic.score": "probability", "dynamic.threshold": 0.8})
    )
    pg.assert_close(moved["mu_target"], formula.moved_target(labels), pg.VALUE_TOLERANCE)


def test_the_first_steps_have_no_bias(formula):
    """Without a mu of both domains xi is 0: then calibration changes nothing, whatever the other
    domain's mu is.
    """
    unknown = jnp.zeros(9, bool)
    for lacking in ("known_source", "known_target"):
        extra = formula.extra | {lacking: unknown}
        found = [
            formula.evaluate(settings(**{"dynamic.calibrate": on}), extra=extra)[1][
                "labelled_dynamic"
            ]
            for on in (True, False)
        ]
        assert found[0] == found[1] == np.float32((formula.case["y_D_nocal"] != IGNORED).mean())


def test_the_rows_of_the_ablation_are_configurations(formula):
    base = {
        "segmentation",
        "segmentation_target",
        "entropy_source",
        "entropy_target",
        "labelled_static",
    }
    dynamic = {"labelled_dynamic", "labelled_hybrid"}
    expected = {
        "base": base,
        "forward": base | {"forward"},
        "forward_backward": base | {"forward", "backward"},
        "uncalibrated": base | {"forward", "backward"} | dynamic,
        "bicl_0": base | {"forward", "backward"} | dynamic,
    }
    found = {row: formula.evaluate(settings(**changes)) for row, changes in ABLATION.items()}
    assert {row: set(terms) for row, (_, terms, _, _) in found.items()} == expected
    assert len({float(loss) for loss, *_ in found.values()}) == len(ABLATION)
    _, _, extra, grads = found["base"]
    assert not any(np.asarray(grad).any() for grad in grads), (
        "L_base touches features through logits only"
    )
    assert all(np.array_equal(extra[name], formula.extra[name]) for name in extra)
    neither, *_ = formula.evaluate(settings(forward=False, backward=False))
    assert neither == found["base"][0]


def evaluate_iteration(case, config):
    """(loss, terms, gradients by input) of dass_iter.npz."""
    mask = np.ones(len(case["label_s"]), bool)
    batch = {
        domain: {"label": pg.ints(case[f"label_{domain[0]}"]), "mask": mask}
        for domain in ("source", "target")
    }
    classes, width = case["logits_s"].shape[1], case["feature_s"].shape[1]
    # pairs have no memory: returned as it is
    extra = {"mu_source": jnp.zeros((classes, width)), "known_source": jnp.zeros(classes, bool)}

    def loss_fn(inputs):
        seen = [
            segmenter.at_size(
                SegOutput(inputs[f"feature_{domain[0]}"], inputs[f"logits_{domain[0]}"], None),
                part["label"].shape[1:],
            )
            for domain, part in batch.items()
        ]
        loss, terms, after = bicl.losses(*seen, batch, extra, config=config)
        return loss, (terms, after)

    names = ("logits_s", "logits_t", "feature_s", "feature_t")
    step = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (loss, (terms, after)), grads = step({name: pg.last(case[name]) for name in names})
    assert after.keys() == extra.keys() and not any(
        np.asarray(value).any() for value in after.values()
    )
    return loss, terms, grads


def test_a_whole_iteration_is_the_released_codes(golden):
    case = golden("dass_iter")[""]
    config = settings(**CODE)
    assert (case["lambt"], case["lamb"]) == (config.target_weight, config.entropy_weight) and (
        case["lamb_metric"] == config.contrast_weight
    ).all()
    loss, terms, grads = evaluate_iteration(case, config)
    pg.assert_value(loss, case["loss_total"])
    pg.assert_value(terms["segmentation"], case["loss_source"])
    pg.assert_value(terms["segmentation_target"], case["loss_target"])
    pg.assert_value(
        0.4 * (terms["entropy_source"] + 0.3 * terms["entropy_target"]), case["loss_entropy"]
    )
    pg.assert_value(0.2 * (terms["forward"] + terms["backward"]), case["loss_metric"])
    for domain in "st":
        pg.assert_close(
            grads[f"feature_{domain}"], np.moveaxis(case[f"grad_feature_{domain}"], 1, -1)
        )
    pg.assert_close(grads["logits_t"][:1], np.moveaxis(case["grad_logits_t"], 1, -1))
    pg.assert_close(grads["logits_s"].sum((1, 2)), case["grad_logits_s_sum_hw"])
    pg.assert_close(jnp.abs(grads["logits_t"]).sum((1, 2)), case["grad_logits_t_abs_sum_hw"])
    _, terms, _ = evaluate_iteration(case, settings(**CODE | {"entropy": "right"}))
    pg.assert_value(
        0.4 * (terms["entropy_source"] + 0.3 * terms["entropy_target"]), case["loss_entropy_true"]
    )


def test_each_direction_of_a_pair_has_its_switch(golden):
    for case, weights in (
        (golden("dass_iter")[""], (True, False)),
        (golden("dass_iter")[""], (False, True)),
    ):
        forward, backward = weights
        _, terms, _ = evaluate_iteration(case, settings(forward=forward, backward=backward, **CODE))
        pairs = pg.pair_losses(
            *(x for d in "st" for x in (pg.last(case[f"feature_{d}"]), pg.ints(case[f"label_{d}"])))
        )
        name, (values, _) = ("forward", pairs[0]) if forward else ("backward", pairs[1])
        pg.assert_value(terms[name], values.mean())
        assert ("backward" if forward else "forward") not in terms
