import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dajax import optim
from dajax.errors import UserError
from dajax.recipes import adaptsegnet, clan, spcl


def config(**settings):
    defaults = dict(
        kind="sgd",
        lr=0.1,
        schedule="constant",
        momentum=0.9,
        weight_decay=0.01,
        nesterov=False,
        lr_multipliers=(),
        repeats=(),
    )
    return ConfigDict(defaults | settings)


def test_inv_and_exp_schedules_are_the_authors(golden):
    cases = golden("can_schedule")
    seen = 0
    for name, case in cases.items():
        if name.startswith("inv_"):
            schedule = optim.make_schedule(
                config(
                    schedule="inv",
                    lr=float(case["base_lr"]),
                    alpha=float(case["alpha"]),
                    beta=float(case["beta"]),
                ),
                0,
            )
        elif name == "exp_default":
            schedule = optim.make_schedule(
                config(schedule="exp", lr=float(case["base_lr"]), gamma=0.1, every_steps=30), 0
            )
        else:
            continue
        seen += 1
        lr = np.asarray(jax.vmap(schedule)(jnp.asarray(case["iters"])))
        multipliers = case["lr_mult"] if "lr_mult" in case else np.array([1.0, 10.0])
        # float32: no 1e-159
        np.testing.assert_allclose(
            lr[:, None] * multipliers[None], case["lr"], rtol=1e-5, atol=1e-30
        )
    assert seen >= 2


def test_sgd_is_torch_sgd_by_hand():
    """Two steps on one number: buffer = 0.9 buffer + (g + wd p), p -= lr buffer."""
    params = {"net": {"w": jnp.asarray(2.0)}}
    optimizer = optim.make_optimizer(config(), params, steps=1)
    state = optimizer.init(params)
    p, buffer = 2.0, 0.0
    for gradient in (1.0, -3.0):
        buffer = 0.9 * buffer + gradient + 0.01 * p
        p -= 0.1 * buffer
        updates, state = optimizer.update({"net": {"w": jnp.asarray(gradient)}}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    np.testing.assert_allclose(params["net"]["w"], p, rtol=1e-6)


def test_nesterov_is_torchs_by_hand():
    """Three steps on one number: buffer = 0.9 buffer + (g + wd p), p -= lr (g + wd p + 0.9 buffer).
    tllib's optimiser.
    """
    params = {"net": {"w": jnp.asarray(2.0)}}
    optimizer = optim.make_optimizer(config(nesterov=True), params, steps=1)
    state, p, buffer = optimizer.init(params), 2.0, 0.0
    for gradient in (1.0, -3.0, 0.5):
        decayed = gradient + 0.01 * p
        buffer = 0.9 * buffer + decayed
        p -= 0.1 * (decayed + 0.9 * buffer)
        updates, state = optimizer.update({"net": {"w": jnp.asarray(gradient)}}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        np.testing.assert_allclose(params["net"]["w"], p, rtol=1e-6)


def test_groups_have_their_own_rate_and_frozen_parameters_do_not_decay():
    params = {"net": {"conv1": jnp.ones(2), "body": jnp.ones(2), "head": jnp.ones(2)}}
    optimizer = optim.make_optimizer(
        config(lr_multipliers=(("/head$", 10.0),)), params, steps=1, frozen=("/conv1$",)
    )
    updates, _ = optimizer.update(
        jax.tree.map(jnp.ones_like, params), optimizer.init(params), params
    )
    np.testing.assert_array_equal(updates["net"]["conv1"], 0)
    np.testing.assert_allclose(updates["net"]["head"], 10 * updates["net"]["body"], rtol=1e-6)


def test_a_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(UserError, match="lr_multipliers='/haed/': matches no parameter"):
        optim.make_optimizer(
            config(lr_multipliers=(("/haed/", 10.0),)), {"net": {"head": jnp.ones(2)}}, steps=1
        )


def test_an_unknown_schedule_is_an_error():
    with pytest.raises(UserError, match="schedule='invv': unknown; known: constant"):
        optim.make_schedule(config(schedule="invv"), 0)


def test_poly_and_cosine_end_at_zero_and_begin_at_lr():
    for settings in (
        dict(schedule="poly", power=0.9, horizon_steps=0, warmup_steps=0),
        dict(schedule="cosine"),
    ):
        schedule = optim.make_schedule(config(**settings), 100)
        np.testing.assert_allclose([schedule(0), schedule(100)], [0.1, 0.0], atol=1e-8)


def test_poly_with_a_horizon_and_a_warm_up_is_the_authors(golden):
    """The recipes' own; clan_lr: CLAN (100k, warm-up 5000), AdaptSegNet (250k, none), segmenter and
    discriminator.
    """
    case = golden("clan_lr")[""]
    cases = (
        ("clan_lr_1x", clan, "optimizer"),
        ("clan_lr_D", clan, "discriminator_optimizer"),
        ("asn_lr_1x", adaptsegnet, "optimizer"),
        ("asn_lr_D", adaptsegnet, "discriminator_optimizer"),
    )
    for name, module, optimizer in cases:
        recipe = module.get_config("gta5_to_cityscapes,weights=none")
        stage = recipe[recipe.stages[0]]
        schedule = optim.make_schedule(stage[optimizer], stage.steps)
        # float32 powers
        np.testing.assert_allclose(
            jax.vmap(schedule)(jnp.asarray(case["iters"])),
            case[name],
            rtol=1e-5,
            atol=1e-12,
            err_msg=name,
        )


def test_spcls_stages_have_the_authors_rates(golden):
    """spcl_ccd: the warm-up and the contrast end at 40,000 of 62,500, self-training at 20,000 of
    31,250.
    """
    case = golden("spcl_ccd")[""]
    recipe = spcl.get_config("gta5_to_cityscapes,weights=none")
    for stages, name in ((("warm_up", "spcl"), "lr_warmup_and_cl"), (("self_training",), "lr_ssl")):
        for stage in stages:
            steps = case["lr_iters"][: len(case[name])]
            schedule = optim.make_schedule(recipe[stage].optimizer, recipe[stage].steps)
            np.testing.assert_allclose(
                jax.vmap(schedule)(jnp.asarray(steps)), case[name], rtol=1e-5, err_msg=stage
            )
            assert steps.max() < recipe[stage].steps


def test_a_tensor_listed_three_times_is_stepped_three_times():
    """By hand: fresh buffers within the first update (torch 2), chained ones afterwards; weight
    decay sees the moving parameter.
    """
    params = {"net": {"w": jnp.asarray(2.0), "head": jnp.asarray(2.0)}}
    optimizer = optim.make_optimizer(
        config(repeats=(("/w$", 3),), lr_multipliers=(("/head$", 10.0),)), params, steps=1
    )
    state, p, buffer = optimizer.init(params), 2.0, 0.0
    for step, gradient in enumerate((1.0, -3.0)):
        for _ in range(3):
            buffer = (0.0 if step == 0 else 0.9 * buffer) + gradient + 0.01 * p
            p -= 0.1 * buffer
        updates, state = optimizer.update(
            {"net": {"w": jnp.asarray(gradient), "head": jnp.asarray(0.0)}}, state, params
        )
        params = jax.tree.map(jnp.add, params, updates)
    np.testing.assert_allclose(params["net"]["w"], p, rtol=1e-6)


def test_adam_is_torch_adam_by_hand():
    """m, v with bias correction, epsilon outside of the square root, weight decay in the gradient."""
    settings = config(kind="adam", betas=(0.9, 0.99), lr=0.1, weight_decay=0.01)
    params, p, m, v = {"net": {"w": jnp.asarray(2.0)}}, 2.0, 0.0, 0.0
    optimizer = optim.make_optimizer(settings, params, steps=1)
    state = optimizer.init(params)
    for step, gradient in enumerate((1e-7, -3.0, 0.5), 1):
        g = gradient + 0.01 * p
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        p -= 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.99**step)) + 1e-8)
        updates, state = optimizer.update({"net": {"w": jnp.asarray(gradient)}}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    np.testing.assert_allclose(params["net"]["w"], p, rtol=1e-5)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(UserError, match="kind='sdg': unknown; known: sgd, adam"):
        optim.make_optimizer(config(kind="sdg"), {"net": {"w": jnp.ones(2)}}, steps=1)
