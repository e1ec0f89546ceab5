"""MCC with its rivals, AFN, MDD and M3SDA as methods: whose rows a step aligns, which way its
gradients go, and what is refused. Their losses have tests of their own.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from toy_classifier import Lookup, TwoHeads

from dajax.errors import UserError
from dajax.losses.class_confusion import minimum_class_confusion, nuclear_norm
from dajax.losses.domain_adversarial import reversal_coefficient
from dajax.losses.margin_disparity import source_disparity, target_disparity
from dajax.methods import METHODS, Sizes
from dajax.recipes import afn, bnm, m3sda, mcc, mdd

COUNT, CLASSES, WIDTH, RATE = 6, 3, 4, 64.0  # such a rate holds a gradient to 1e-6 in float32
PLAIN = dict(schedule="constant", lr=RATE, momentum=0.0, weight_decay=0.0, nesterov=False)


def stepped(config, model, step=0):
    """(state before, after, figures) of one step; the last row of each domain is padding."""
    images, mask = np.eye(2 * COUNT, dtype=np.float32), np.arange(COUNT) < COUNT - 1
    labels = np.arange(COUNT) % CLASSES
    batch = {
        "source": part(images[:COUNT], labels, mask),
        "target": part(images[COUNT:], mask=mask),
    }
    config.optimizer.update(PLAIN)
    method = METHODS[config.method]
    state = method.init(jax.random.key(0), images, config=config, model=model)
    state = state.replace(step=jnp.int32(step))
    run = jax.jit(lambda *x: method.train_step(*x, config=config, model=model))
    return state, *run(state, batch, jax.random.key(0))


@pytest.mark.parametrize(
    "recipe, name, loss",
    [
        (mcc, "mcc", lambda x, mask: minimum_class_confusion(x, mask, 2.5)),
        (bnm, "bnm", nuclear_norm),
    ],
)
def test_a_step_goes_against_the_gradient_of_the_targets_logits(recipe, name, loss):
    config = recipe.get_config()[name]
    config.weight = 0.7
    before, after, figures = stepped(config, Lookup(CLASSES, WIDTH))
    old, new = (
        np.asarray(state.params["classifier"]["head"]["kernel"]) for state in (before, after)
    )
    mask = jnp.arange(COUNT) < COUNT - 1
    value, grad = jax.value_and_grad(loss)(jnp.asarray(old[COUNT:]), mask)
    assert figures["alignment"] == pytest.approx(float(value), rel=1e-4)
    moved = (old[COUNT:] - new[COUNT:]) / RATE
    np.testing.assert_allclose(moved, 0.7 * grad, rtol=0, atol=2e-6)


def test_mdds_adversary_parts_on_the_target_and_the_features_keep_it_from_that():
    """The adversary's own gradient is whole; that of the features is reversed, times the
    coefficient of the step.
    """
    config, start = mdd.get_config().mdd, 700
    before, after, _ = stepped(config, Lookup(CLASSES, WIDTH, over_features=True), start)
    params, mask = before.params, jnp.arange(COUNT) < COUNT - 1
    table, head = (params["classifier"][name]["kernel"] for name in ("table", "head"))
    logits = table @ head + params["classifier"]["head"]["bias"][None]

    def disparity(table, adversary):
        other = table @ adversary["kernel"] + adversary["bias"][None]
        on_source = source_disparity(other[:COUNT], logits[:COUNT])
        on_target = target_disparity(other[COUNT:], logits[COUNT:], config.log_floor)
        mean = lambda x: jnp.where(mask, x, 0.0).sum() / (COUNT - 1)  # noqa: E731
        return config.source_weight * mean(on_source) + mean(on_target)

    of_table, of_adversary = jax.grad(disparity, (0, 1))(table, params["second_head"]["linear"])

    def moved(*names):
        old, new = before.params, after.params
        for name in names:
            old, new = old[name], new[name]
        return (np.asarray(old) - np.asarray(new)) / RATE

    for name, grad in of_adversary.items():
        np.testing.assert_allclose(moved("second_head", "linear", name), grad, atol=4e-6)
    coefficient = reversal_coefficient(start, **config.reversal)
    # target rows have no other loss
    expected = -coefficient * of_table[COUNT:]
    np.testing.assert_allclose(moved("classifier", "table", "kernel")[COUNT:], expected, atol=4e-6)
    assert coefficient > 0.03 and np.abs(expected).max() > 1e-3


@pytest.mark.parametrize(
    "recipe, name, changes, says",
    [
        (mcc, "mcc", dict(term="norm"), "term='norm': unknown; known: confusion, nuclear_norm"),
        (
            mcc,
            "mcc",
            dict(term="nuclear_norm"),
            "temperature=2.5: term='nuclear_norm' does not read",
        ),
        (afn, "afn", dict(term="hard", radius=25.0), "delta=1.0: term='hard' does not read it"),
        (afn, "afn", dict(radius=25.0), "radius=25.0: term='stepwise' does not read it"),
        (m3sda, "m3sda", dict(target_bn=2), "target_bn=2: the data have 3 source"),
    ],
)
def test_what_cannot_be_meant_or_is_not_read_is_refused(recipe, name, changes, says):
    config = recipe.get_config()[name]
    config.update(changes)
    with pytest.raises(UserError, match=says):
        METHODS[config.method].init(
            jax.random.key(0),
            jnp.zeros((2, 5)),
            config=config,
            model=TwoHeads(CLASSES, (8, 6), num_domains=3),
            sizes=Sizes(source=1, target=1, num_sources=3),
        )


def test_m3sda_gives_each_domain_a_set_of_statistics_where_asked():
    """And a source that has nothing to say this step moves neither its own nor anybody's."""
    config = m3sda.get_config().m3sda
    config.update(target_bn=2, num_k=1)
    model = TwoHeads(CLASSES, (8, 6), num_domains=3, stops=False)
    rng = np.random.default_rng(0)
    batch = {
        f"source{i}": part(rng.normal(size=(4, 5)).astype(np.float32), np.arange(4) % CLASSES)
        for i in range(2)
    }
    batch["target"] = part(rng.normal(size=(4, 5)).astype(np.float32))
    batch["source1"]["mask"][:] = False
    sizes = Sizes(source=1, target=1, num_sources=2)
    method = METHODS["m3sda"]
    state = method.init(
        jax.random.key(0), jnp.zeros((2, 5)), config=config, model=model, sizes=sizes
    )
    after, figures = jax.jit(lambda *x: method.train_step(*x, config=config, model=model))(
        state, batch, jax.random.key(0)
    )
    before, now = (x.batch_stats["classifier"]["bn1"]["mean"] for x in (state, after))
    moved = (np.asarray(before) != np.asarray(now)).any(1)
    np.testing.assert_array_equal(moved, [True, False, True])
    assert all(np.isfinite(value) for value in figures.values())
