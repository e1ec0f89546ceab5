"""SE's loss: values and gradients of both of the authors' repositories (tier2_self_ensemble)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_value_and_gradients
from golden_arrays import between, names_in

from dajax.losses.classification import cross_entropy
from dajax.losses.self_ensembling import BALANCES, class_balance, self_ensembling
from dajax.recipes import self_ensemble as recipe

TOLERANCE = 1e-4  # tests/golden/README.md
CASES = between(names_in("tier2_self_ensemble"), "student_logits_")


def loss(student, teacher, settings, mask=None, **changes):
    mask = jnp.ones(len(student), bool) if mask is None else mask
    kept = {key: settings[key] for key in ("threshold", "balance", "balance_weight")}
    return self_ensembling(student, jnp.asarray(teacher, jnp.float32), mask, **(kept | changes))


def check(case, name, student, teacher, *, settings, factor=1.0, gradient, **changes):
    """A case in which no row passes has the value 0 and the gradient 0, both exactly."""
    assert_value_and_gradients(
        lambda x: factor * loss(x, teacher, settings, **changes)[0],
        [student],
        case[name],
        [case[gradient]],
        TOLERANCE,
        floor=0.0 if case[name] else 1e-30,
    )


@pytest.mark.parametrize("which", CASES)
def test_both_repositories_losses_are_the_authors(which, golden):
    case = golden("tier2_self_ensemble")[""]
    both = case[f"student_logits_{which}"], case[f"teacher_logits_{which}"]
    digits, photos = recipe.of_digits(), recipe.of_photos()
    for balance in BALANCES:
        names = f"digits_{balance}_{which}", f"digits_{balance}_grad_{which}"
        check(case, names[0], *both, settings=digits, gradient=names[1], balance=balance)
    check(
        case,
        f"photo_{which}",
        *both,
        settings=photos,
        factor=photos["weight"],
        gradient=f"photo_grad_{which}",
    )
    student, teacher = (jnp.asarray(x, jnp.float32) for x in both)
    for settings, count in (
        (digits, case[f"digits_mask_count_{which}"]),
        (photos, case[f"photo_mask_{which}"].sum()),
    ):
        assert loss(student, teacher, settings)[1] * len(student) == pytest.approx(float(count))


def test_the_supervised_losses_are_the_authors(golden):
    case = golden("tier2_self_ensemble")[""]
    labels = jnp.asarray(case["source_label"], jnp.int32)
    for name, seen in (("ce", lambda x: x), ("double_softmax_ce", jax.nn.softmax)):
        assert_value_and_gradients(
            lambda x, seen=seen: cross_entropy(seen(x), labels).mean(),
            [case["source_logits"]],
            case[f"{name}_loss"],
            [case[f"{name}_grad"]],
            TOLERANCE,
        )


def test_balance_by_hand():
    """Of two classes and q = (1/4, 3/4)."""
    q, a, b = jnp.array([0.25, 0.75]), np.log(0.25), np.log(0.75)
    assert class_balance(q, "log") == pytest.approx(-(a + b), rel=1e-4)
    assert class_balance(q, "bce") == pytest.approx(-(a + b), rel=1e-4)
    bug = -0.5 * (a + b + np.log(1.25) + np.log(1.75))
    assert class_balance(q, "bug") == pytest.approx(bug, rel=1e-4)


def test_padded_rows_do_not_count_and_no_rows_are_nothing():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 4, 3)).astype(np.float32) * 9
    settings = recipe.of_digits() | dict(threshold=0.5)
    padded = [np.insert(x, [1, 3], np.nan, axis=0) for x in (student, teacher)]
    mask = jnp.asarray(np.isfinite(padded[0]).all(1))

    def of(x, teacher, mask):
        return loss(x, teacher, settings, mask)

    both = jax.value_and_grad(of, has_aux=True)
    (value, share), grad = both(jnp.asarray(padded[0]), padded[1], mask)
    (expected, other), by_row = both(jnp.asarray(student), teacher, jnp.ones(4, bool))
    np.testing.assert_allclose([value, share], [expected, other], rtol=1e-5)
    np.testing.assert_allclose(grad[mask], by_row, atol=1e-6)
    (value, share), grad = both(jnp.asarray(student), teacher, jnp.zeros(4, bool))
    assert value == share == 0 and not grad.any()
