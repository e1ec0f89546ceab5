"""Deep CORAL: the loss by hand and by the paper's equations, what it must not see, and a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_classifier import Lookup

from dajax.errors import UserError
from dajax.losses.coral import covariance_difference
from dajax.methods import METHODS
from dajax.recipes import coral as recipe

WIDTH, CLASSES, RATE = 4, 3, 64.0  # float32 differences hold a gradient to 1e-6 at such a rate


def rows_of(seed, count=7):
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def loss(source, target):
    masks = [jnp.ones(len(rows), bool) for rows in (source, target)]
    return covariance_difference(jnp.asarray(source), jnp.asarray(target), *masks)


def papers(source, target):
    """(value, gradients of both) by equations 1 to 5 as they stand, in float64."""
    rows = [np.asarray(x, np.float64) for x in (source, target)]
    sums = [np.ones((1, len(x))) @ x for x in rows]
    c_s, c_t = (
        (x.T @ x - s.T @ s / len(x)) / (len(x) - 1) for x, s in zip(rows, sums, strict=True)
    )
    d = rows[0].shape[1]
    grads = [
        sign / (d**2 * (len(x) - 1)) * (x - np.ones((len(x), 1)) @ s / len(x)) @ (c_s - c_t)
        for sign, x, s in zip((1, -1), rows, sums, strict=True)
    ]
    return np.linalg.norm(c_s - c_t) ** 2 / (4 * d**2), grads


def assert_close(actual, expected):
    """float32, of the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_by_hand():
    source, target = jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.array([[1.0, 0.0], [1.0, 4.0]])
    # covariances [[2, 0], [0, 0]] and [[0, 0], [0, 8]]: (4 + 64) / (4 * 2 ** 2)
    assert loss(source, target) == pytest.approx(4.25)
    # [[2, 2], [2, 2]] and [[2, -2], [-2, 2]]: 2 * 4 ** 2 / (4 * 2 ** 2)
    assert loss(jnp.array([[0.0, 0.0], [2.0, 2.0]]), jnp.array([[0.0, 2.0], [2.0, 0.0]])) == 2.0
    # two rows and three, variances 2 and 9: (2 - 9) ** 2 / 4
    assert loss(jnp.array([[0.0], [2.0]]), jnp.array([[0.0], [3.0], [6.0]])) == 12.25


@pytest.mark.parametrize("offset", [0, 100])
def test_value_and_gradients_are_the_papers(offset):
    """Also where the means are large beside the spread."""
    source, target = rows_of(0) + np.float32(offset), 2 * rows_of(1, count=5) - np.float32(offset)
    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(source, target)
    expected, expected_grads = papers(source, target)
    assert value == pytest.approx(expected, rel=2e-5)
    for grad, by_hand in zip(grads, expected_grads, strict=True):
        assert_close(grad, by_hand)


def test_nothing_but_the_covariances_counts():
    """Not the means, nor the order of rows, nor the directions of the axes, nor which domain is
    which; the fourth power of the scale.
    """
    source, target = rows_of(0), 2 * rows_of(1)
    turn = np.linalg.qr(rows_of(2, count=WIDTH))[0]
    same = [
        loss(source + np.float32(3), target - rows_of(3, count=1)),
        loss(source[::-1], target),
        loss(source @ turn, target @ turn),
        loss(target, source),
        loss(3 * source, 3 * target) / 81,
    ]
    np.testing.assert_allclose(same, loss(source, target), rtol=1e-5)  # float32
    assert loss(source, source[::-1] + 1) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("padding", [1e4, np.nan])
def test_padded_rows_do_not_count_whatever_they_hold(padding):
    masks = [jnp.array(mask, bool) for mask in ([1, 0, 1, 1, 0, 1, 1], [0, 1, 1, 1, 0, 0, 0])]
    rows = [
        jnp.where(mask[:, None], rows_of(seed), np.float32(padding))
        for seed, mask in enumerate(masks)
    ]
    value, grads = jax.value_and_grad(
        lambda *rows: covariance_difference(*rows, *masks), argnums=(0, 1)
    )(*rows)
    expected, expected_grads = papers(*(x[mask] for x, mask in zip(rows, masks, strict=True)))
    assert value == pytest.approx(expected, rel=2e-5)
    for grad, by_hand, mask in zip(grads, expected_grads, masks, strict=True):
        assert_close(grad[mask], by_hand)
        assert not grad[~mask].any()


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("domain", [0, 1])
def test_nothing_without_a_gradient_where_a_domain_has_no_covariance(domain, count):
    masks = [jnp.ones(7, bool), jnp.ones(7, bool)]
    masks[domain] = jnp.arange(7) < count
    value, grads = jax.value_and_grad(lambda x: covariance_difference(*x, *masks))(
        [jnp.asarray(rows_of(0)), jnp.asarray(rows_of(1))]
    )
    assert value == 0 and not any(grad.any() for grad in grads)


def stage(**changes):
    """The recipe's, with plain SGD at one rate."""
    config = recipe.get_config("digits").coral
    config.optimizer.update(
        schedule="constant", lr=RATE, momentum=0.0, weight_decay=0.0, nesterov=False
    )
    config.update(changes)
    return config


@pytest.mark.parametrize("layer", ["logits", "features"])
def test_a_step_goes_against_the_gradient_of_its_layers_rows(layer):
    """And of the cross-entropy in the source's logits. The network is a table of features and one
    of logits, so that what a step changes is the gradient of these; the last row of each domain is
    padding.
    """
    count, config, method = 6, stage(layer=layer, weight=0.7), METHODS["coral"]
    images, mask, labels = np.eye(12, dtype=np.float32), np.arange(6) < 5, np.arange(6) % CLASSES
    batch = {
        "source": {"image": images[:count], "label": labels.astype(np.int32), "mask": mask},
        "target": {"image": images[count:], "mask": mask},
    }
    model = Lookup(CLASSES, WIDTH)
    before = method.init(jax.random.key(0), images, config=config, model=model)
    step = jax.jit(lambda *x: method.train_step(*x, config=config, model=model))
    after, metrics = step(before, batch, jax.random.key(0))

    def tables(state):
        networks = state.params["classifier"]
        return {
            "features": np.array(networks["table"]["kernel"]),
            "logits": np.array(networks["head"]["kernel"]),
        }

    old, new = tables(before), tables(after)
    value, grads = papers(old[layer][:5], old[layer][6:11])
    expected = {name: np.zeros(table.shape) for name, table in old.items()}
    exponentials = np.exp(old["logits"][:5])
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    expected["logits"][:5] = (probabilities - np.eye(CLASSES)[labels[:5]]) / 5
    expected[layer][:5] += 0.7 * grads[0]
    expected[layer][6:11] += 0.7 * grads[1]
    for name in old:
        moved = (old[name] - new[name]) / RATE
        np.testing.assert_allclose(moved, expected[name], rtol=0, atol=2e-6, err_msg=name)
    assert metrics["alignment"] == pytest.approx(value, rel=2e-5)
    assert metrics["loss"] == pytest.approx(float(metrics["ce"]) + 0.7 * value, rel=2e-5)


def test_an_unknown_layer_is_refused():
    with pytest.raises(UserError, match="layer='fc8': unknown; known: logits, features"):
        METHODS["coral"].init(
            jax.random.key(0), jnp.zeros((2, 2)), config=stage(layer="fc8"), model=Lookup(3, 4)
        )


def test_the_recipe_has_the_authors_numbers_on_office_31():
    """For amazon -> webcam, whose weight the authors' code/README.md names."""
    config = recipe.get_config("office31,root=DIR,weights=none,source=amazon,target=webcam")
    found, optimizer = config.coral, config.coral.optimizer
    assert (found.layer, found.weight, found.batch_size) == ("logits", 0.8, 128)
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (1e-3, 0.9, 5e-4)
    assert optimizer.lr_multipliers == (("head/", 10.0),)
