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
from compare import assert_close, assert_value
from golden_arrays import channels_first, channels_last, ints

from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import bicl
from dajax.models.aspp import SegOutput
from dajax.ops.confidence import NUM_BINS
from dajax.ops.labels import IGNORED


@pytest.fixture(scope="module")
def formula(golden):
    return bicl_golden.Formula(golden("dass_formula")[""])


def of_file(formula, **changes):
    """The recipe's stage with the constants of the golden file."""
    case = formula.case
    constants = {"temperature": case["tau"], "decay": case["lam"], "dynamic.threshold": case["T"]}
    return settings(**{key: float(value) for key, value in constants.items()} | changes)


@pytest.mark.parametrize(
    "term, name, other", [("forward", "fc", "backward"), ("backward", "bc", "forward")]
)
def test_each_contrast_and_its_gradient_are_the_slides(formula, term, name, other):
    case, alone = formula.case, {other: False, "contrast_weight": 1.0}
    _, terms, _, grads = formula.evaluate(of_file(formula, **alone))
    assert_value(terms[term], case[f"{name}_mean"], pg.VALUE_TOLERANCE)
    assert other not in terms
    for grad, domain in zip(grads, "ST", strict=True):
        expected = case[f"{name}_mean_grad_f{domain}"]
        assert_close(channels_first(grad), expected, pg.GRADIENT_TOLERANCE)
    _, stopped, _, grads = formula.evaluate(of_file(formula, prototype_gradient=False, **alone))
    pixels, constant = (grads[1], grads[0]) if term == "forward" else grads
    assert_value(stopped[term], case[f"{name}_mean"], pg.VALUE_TOLERANCE)
    expected = case[f"{name}_mean_grad_pixel_stopgrad_proto"]
    assert_close(channels_first(pixels), expected, pg.GRADIENT_TOLERANCE)
    assert not np.asarray(constant).any()


def test_the_loss_is_the_weighted_sum_of_its_terms(formula):
    case, weights = formula.case, dict(target_weight=0.5, entropy_weight=0.7, contrast_weight=0.11)
    config = of_file(formula, **weights)
    loss, terms, _, grads = formula.evaluate(config)
    base = (
        terms["segmentation"]
        + 0.5 * terms["segmentation_target"]
        + 0.7 * (terms["entropy_source"] + 0.5 * terms["entropy_target"])
    )
    assert_value(loss, base + 0.11 * (case["fc_mean"] + case["bc_mean"]), pg.VALUE_TOLERANCE)
    for grad, domain in zip(grads, "ST", strict=True):
        both = case[f"fc_mean_grad_f{domain}"] + case[f"bc_mean_grad_f{domain}"]
        assert_close(channels_first(grad), 0.11 * both, pg.GRADIENT_TOLERANCE)


def test_the_averages_move_by_the_hybrid_labels_and_their_shares_are_told(formula):
    _, terms, moved, _ = formula.evaluate(of_file(formula))
    for domain, short in (("source", "S"), ("target", "T")):
        assert_close(moved[f"mu_{domain}"], formula.case[f"mu_{short}_new"], pg.VALUE_TOLERANCE)
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
        _, terms, moved, _ = formula.evaluate(of_file(formula, **changes))
        assert_close(moved["mu_target"], formula.moved_target(labels), pg.VALUE_TOLERANCE)
        hybrid = terms.get("labelled_hybrid", terms["labelled_static"])
        np.testing.assert_allclose(hybrid, (labels != IGNORED).mean(), rtol=1e-6, err_msg=name)
    different = {labels.tobytes() for _, labels in filled.values()}
    assert len(different) == len(filled), "the cases can be told apart"


def most_similar(formula):
    """(cosines of the target's pixels, calibrated; how many pixels lie above the widest gap that
    their best ones have in the middle third, where no bin of a histogram holds both sides).
    """
    cosines = np.where(formula.case["ok_S"], formula.case["sim_S2T"], -1.0)
    ascending = np.sort(cosines.max(-1), axis=None)
    third = ascending.size // 3
    place = third + np.diff(ascending)[third:-third].argmax()
    return cosines, int(ascending.size - place - 1)


def test_a_wanted_share_labels_the_most_similar_pixels_of_the_target(formula):
    """Without a histogram of steps before, that of this batch decides: exactly so many pixels,
    those with the best cosines.
    """
    case, (cosines, num_labelled) = formula.case, most_similar(formula)
    share = num_labelled / case["y_F"].size
    _, terms, moved, _ = formula.evaluate(of_file(formula, **{"dynamic.share": share}))
    assert terms["labelled_dynamic"] * case["y_F"].size == pytest.approx(num_labelled)
    assert moved["scores"].sum() == pytest.approx(1.0, abs=1e-5)
    best = cosines.max(-1)
    chosen = best > float(terms["dynamic_threshold"])
    assert chosen.sum() == num_labelled and best[chosen].min() > best[~chosen].max()
    labels = np.where(chosen, cosines.argmax(-1), case["y_F"])
    assert_close(moved["mu_target"], formula.moved_target(labels), pg.VALUE_TOLERANCE)


def test_the_threshold_of_a_share_remembers_the_steps_before(formula):
    """Higher scores, remembered for a half, are a part of the share that is wanted of all."""
    share = most_similar(formula)[1] / formula.case["y_F"].size
    high = jnp.zeros(NUM_BINS).at[-1].set(1.0)
    config = of_file(formula, **{"dynamic.share": 0.5 + 0.5 * share, "decay": 0.5})
    _, terms, moved, _ = formula.evaluate(config, extra=formula.extra | {"scores": high})
    np.testing.assert_allclose(moved["scores"][-1], 0.5, atol=1e-6)
    assert terms["labelled_dynamic"] == pytest.approx(share)


def test_probable_labels_are_those_of_the_softmax_of_cosines(formula):
    cosine, threshold = np.where(formula.case["ok_S"], formula.case["sim_S2T"], -1.0), 0.8
    exponentials = np.exp(cosine / formula.case["tau"])
    probability = exponentials / exponentials.sum(-1, keepdims=True)
    labels = np.where(probability.max(-1) > threshold, cosine.argmax(-1), formula.case["y_F"])
    changes = {"dynamic.score": "probability", "dynamic.threshold": threshold}
    _, _, moved, _ = formula.evaluate(of_file(formula, **changes))
    assert_close(moved["mu_target"], formula.moved_target(labels), pg.VALUE_TOLERANCE)


def test_the_first_steps_have_no_bias(formula):
    """Without a mu of both domains xi is 0: then calibration changes nothing, whatever the other
    domain's mu is.
    """
    unknown = jnp.zeros(formula.num_classes, bool)
    expected = np.float32((formula.case["y_D_nocal"] != IGNORED).mean())
    for lacking in ("known_source", "known_target"):
        extra = formula.extra | {lacking: unknown}
        for on in (True, False):
            config = of_file(formula, **{"dynamic.calibrate": on})
            _, terms, _, _ = formula.evaluate(config, extra=extra)
            assert terms["labelled_dynamic"] == expected


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
    found = {
        row: formula.evaluate(of_file(formula, **changes)) for row, changes in ABLATION.items()
    }
    assert {row: set(terms) for row, (_, terms, _, _) in found.items()} == expected
    assert len({float(loss) for loss, *_ in found.values()}) == len(ABLATION)
    _, _, extra, grads = found["base"]
    assert not any(np.asarray(grad).any() for grad in grads), (
        "L_base touches features through logits only"
    )
    assert all(np.array_equal(extra[name], formula.extra[name]) for name in extra)
    neither, *_ = formula.evaluate(of_file(formula, forward=False, backward=False))
    assert neither == found["base"][0]


def evaluate_iteration(case, config):
    """(loss, terms, gradients by input) of dass_iter.npz."""
    mask = np.ones(len(case["label_s"]), bool)
    batch = {
        domain: {"label": ints(case[f"label_{domain[0]}"]), "mask": mask}
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
    (loss, (terms, after)), grads = step({name: channels_last(case[name]) for name in names})
    assert after.keys() == extra.keys() and not any(
        np.asarray(value).any() for value in after.values()
    )
    return loss, terms, grads


def test_a_whole_iteration_is_the_released_codes(golden):
    case = golden("dass_iter")[""]
    config = of_code(case)

    def weighted_entropy(terms):
        both = terms["entropy_source"] + config.target_weight * terms["entropy_target"]
        return config.entropy_weight * both

    loss, terms, grads = evaluate_iteration(case, config)
    contrast = config.contrast_weight * (terms["forward"] + terms["backward"])
    for found, name in (
        (loss, "total"),
        (terms["segmentation"], "source"),
        (terms["segmentation_target"], "target"),
        (weighted_entropy(terms), "entropy"),
        (contrast, "metric"),
    ):
        assert_value(found, case[f"loss_{name}"], pg.VALUE_TOLERANCE, err_msg=name)
    pg.assert_iteration_gradients(grads, case)
    _, terms, _ = evaluate_iteration(case, of_code(case, entropy="right"))
    assert_value(weighted_entropy(terms), case["loss_entropy_true"], pg.VALUE_TOLERANCE)


def of_code(case, **changes):
    """The recipe's stage with settings=code, and the weights of the golden file."""
    weight, same = case["lamb_metric"]
    assert weight == same, "the method has one weight for both directions"
    weights = {
        "target_weight": case["lambt"],
        "entropy_weight": case["lamb"],
        "contrast_weight": weight,
    }
    return settings(**CODE | {key: float(value) for key, value in weights.items()} | changes)


def test_each_direction_of_a_pair_has_its_switch(golden):
    case = golden("dass_iter")[""]
    domains = [
        (channels_last(case[f"feature_{domain}"]), ints(case[f"label_{domain}"])) for domain in "st"
    ]
    num_classes = case["logits_s"].shape[1]
    both = pg.pair_losses(*domains[0], *domains[1], num_classes)
    directions = ("forward", "backward")
    for name, (values, has_pixels) in zip(directions, both, strict=True):
        only = {direction: direction == name for direction in directions}
        _, terms, _ = evaluate_iteration(case, of_code(case, **only))
        assert has_pixels.all(), "every pair of the file has a class in common"
        assert_value(terms[name], values.mean(), pg.VALUE_TOLERANCE)
        assert {name} == {*directions} & terms.keys()
