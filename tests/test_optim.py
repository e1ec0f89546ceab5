import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import between
from ml_collections import ConfigDict
from recipe_weights import relative_error

from dajax import optim
from dajax.errors import UserError
from dajax.recipes import adaptsegnet, clan, spcl
from dajax.recipes.base import common as base


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
            settings = dict(schedule="inv", alpha=float(case["alpha"]), beta=float(case["beta"]))
        elif name.startswith("paper_p_"):  # of the share p of the iterations that are done
            alpha = float(case["a"]) / (int(case["max_iter"]) - 1)
            settings = dict(schedule="inv", alpha=alpha, beta=float(case["b"]))
        elif name.startswith("exp_"):
            gamma, every_steps = float(case["decay_rate"]), int(case["decay_step"])
            settings = dict(schedule="exp", gamma=gamma, every_steps=every_steps)
        else:
            continue
        seen += 1
        schedule = optim.make_schedule(config(lr=float(case["base_lr"]), **settings), 0)
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
    """The recipes' own, with the file's numbers: CLAN, and AdaptSegNet without a warm-up, segmenter
    and discriminator.
    """
    case = golden("clan_lr")[""]
    rates = {
        "optimizer": float(case["base_lr"]),
        "discriminator_optimizer": float(case["base_lr_D"]),
    }
    cases = (
        ("clan_lr_1x", clan, "optimizer", 1.0),
        ("clan_lr_10x", clan, "optimizer", 10.0),
        ("clan_lr_D", clan, "discriminator_optimizer", 1.0),
        ("asn_lr_1x", adaptsegnet, "optimizer", 1.0),
        ("asn_lr_10x", adaptsegnet, "optimizer", 10.0),
        ("asn_lr_D", adaptsegnet, "discriminator_optimizer", 1.0),
    )
    for name, module, optimizer, multiplier in cases:
        recipe = module.get_config("gta5_to_cityscapes,weights=none")
        settings = recipe[recipe.stages[0]][optimizer]
        prefix, _, _ = name.partition("_")
        settings.update(lr=rates[optimizer], power=float(case["power"]))
        settings.horizon_steps = int(case[f"{prefix}_num_steps"])
        if settings.warmup_steps:
            settings.warmup_steps = int(case[f"{prefix}_preheat"])
        schedule = optim.make_schedule(settings, settings.horizon_steps, multiplier)
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
    """m and v with bias correction, epsilon outside of the square root, decay in the gradient."""
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
    with pytest.raises(UserError, match="kind='sdg': unknown; known: sgd, adam, adamw"):
        optim.make_optimizer(config(kind="sdg"), {"net": {"w": jnp.ones(2)}}, steps=1)


def warming_up(schedule, **settings):
    """AdamW with DAFormer's numbers, unless others are given."""
    of_schedule = dict(power=1.0, horizon_steps=0, warmup_steps=1500, warmup_ratio=1e-6)
    if schedule == "poly_times_warmup":
        of_schedule["min_lr"] = 0.0
    return ConfigDict(base.adamw(lr=6e-5, schedule=schedule, **of_schedule) | settings)


DAFORMERS_GROUPS = base.custom_keys({"head": (10.0, 1.0), "norm": (1.0, 0.0)})


def updates_of(settings, params, grads, *, steps):
    """What the first update adds to the parameters."""
    optimizer = optim.make_optimizer(settings, params, steps=steps)
    return optimizer.update(grads, optimizer.init(params), params)[0]


def test_daformers_warm_up_multiplies_the_rate_that_already_decays(golden):
    """The rates of the encoder and of the head, [steps, 2]. The first rate is 1e-6 of lr."""
    case = golden("sota_optimizer")[""]
    (total,) = (int(key) for key in between(case, "lr_") if key.isdigit())
    for column, multiplier in enumerate((1.0, 10.0)):
        schedule = optim.make_schedule(warming_up("poly_times_warmup"), total, multiplier)
        np.testing.assert_allclose(
            jax.vmap(schedule)(jnp.asarray(case["lr_iters"])),
            case[f"lr_{total}"][:, column],
            rtol=1e-5,
            atol=1e-18,
        )
    steps, warmup, expected = short_run(case)
    short = warming_up("poly_times_warmup", lr=expected[0] / 1e-6, warmup_steps=warmup)
    found = jax.vmap(optim.make_schedule(short, steps))(jnp.arange(len(expected)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def short_run(case):
    """(steps, warm-up, rates) of the file's lr_STEPS_warmWARMUP, whose AdamW it has, too."""
    (name,) = (key for key in between(case, "lr_") if "_warm" in key and "no_warm" not in key)
    steps, warmup = map(int, name.split("_warm"))
    return steps, warmup, case[f"lr_{name}"]


def test_a_floor_above_lr_lets_the_rate_rise(golden):
    """poly10 of DAFormer's Table 4: from 6e-5 to 1e-4 over 8 steps, and a head's from 6e-4 down."""
    expected = golden("sota_optimizer")[""]["lr_poly10_no_warmup"]
    steps, floor = len(expected), 1e-4
    settings = warming_up("poly_times_warmup", warmup_steps=0, min_lr=floor)
    schedule = optim.make_schedule(settings, steps)
    np.testing.assert_allclose(jax.vmap(schedule)(jnp.arange(steps)), expected, rtol=1e-5)
    head = optim.make_schedule(settings, steps, 10.0)
    np.testing.assert_allclose([head(0), head(steps)], [6e-4, floor], rtol=1e-5)


def test_vfm_udas_rate_rises_to_lr_and_steps_down():
    """numpy.linspace as its WarmupAndLinearScheduler joins two of them."""
    warmup, steps, lr = 15, 400, 1.41e-4
    factors = [*np.linspace(1e-3, 1, warmup), *np.linspace(1, 0, steps + 1)[warmup:]]
    settings = warming_up("poly_after_warmup", lr=lr, warmup_steps=warmup, warmup_ratio=1e-3)
    schedule = optim.make_schedule(settings, steps)
    np.testing.assert_allclose(
        jax.vmap(schedule)(jnp.arange(steps + 1)), lr * np.array(factors), rtol=1e-5, atol=1e-12
    )


def test_every_tensor_of_daformer_is_in_the_authors_group(golden):
    """The first update of AdamW is -lr_g sign(gradient) without decay; gradients of 0 leave -lr_g
    wd_g p. DAFormer's and MIC's names: the head's norms keep their decay.
    """
    case = golden("sota_optimizer")[""]
    params = {"segmenter": {str(name): jnp.ones(1) for name in case["group_names"]}}
    settings = ConfigDict(base.adamw(lr=1e-3, schedule="constant", **DAFORMERS_GROUPS))
    ones, zeros = (jax.tree.map(make, params) for make in (jnp.ones_like, jnp.zeros_like))
    decayed = updates_of(settings, params, zeros, steps=1)["segmenter"]
    settings.weight_decay = 0.0
    moved = updates_of(settings, params, ones, steps=1)["segmenter"]
    for name, rate, decay in zip(
        case["group_names"], case["group_lr_mult"], case["group_weight_decay"], strict=True
    ):
        np.testing.assert_allclose(moved[name], -1e-3 * rate, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(decayed[name], -1e-3 * rate * decay, rtol=1e-5, err_msg=name)


def test_adamw_ends_where_torchs_does(golden):
    """Six steps within the warm-up, of one tensor of every kind; Adam's first steps turn a gradient
    near 0 into a sign, so the tolerance is of the tensor's largest value.
    """
    case = golden("sota_optimizer")[""]
    names = [str(name) for name in case["adamw_picked"]]
    steps, warmup, _ = short_run(case)
    settings = warming_up("poly_times_warmup", warmup_steps=warmup, **DAFORMERS_GROUPS)
    expected = case["adamw_lr_factor"]
    rates = jax.vmap(optim.make_schedule(settings, steps))(jnp.arange(len(expected)))
    np.testing.assert_allclose(rates / settings.lr, expected, rtol=1e-5)

    def at(kind, step):
        arrays = (case[f"adamw_{i}_{kind}"][step] for i in range(len(names)))
        return {
            "net": {
                name: jnp.asarray(x, jnp.float32) for name, x in zip(names, arrays, strict=True)
            }
        }

    params = at("values", 0)
    optimizer = optim.make_optimizer(settings, params, steps=steps)
    state = optimizer.init(params)
    for step in range(len(case["adamw_lr_factor"])):
        params, state = optim.update(optimizer, at("grads", step), state, params)
        for name, expected in at("values", step + 1)["net"].items():
            assert relative_error(params["net"][name], np.asarray(expected)) < 1e-6, (step, name)


def vit_params():
    """One number each of a ViT with two blocks, and of its head."""
    names = ("cls_token", "patch_embed", "blocks_0", "blocks_1", "norm")
    encoder = {name: {"kernel": jnp.ones(1)} for name in names}
    return {"segmenter": {"backbone": encoder, "head": {"kernel": jnp.ones(1)}}}


def test_a_deeper_layer_of_a_vit_learns_more_slowly():
    """VFM-UDA: the last block at the encoder's rate, the block below at decay times it, tokens,
    patches and the last norm at decay squared; the head is outside.
    """
    params = vit_params()
    settings = ConfigDict(
        base.adamw(
            lr=1e-3,
            schedule="constant",
            weight_decay=0.0,
            layer_decay=0.9,
            lr_multipliers=(("/backbone/", 0.1),),
        )
    )
    moved = updates_of(settings, params, jax.tree.map(jnp.ones_like, params), steps=1)["segmenter"]
    factors = dict(blocks_1=0.1, blocks_0=0.09, cls_token=0.081, patch_embed=0.081, norm=0.081)
    for name, factor in factors.items():
        np.testing.assert_allclose(
            moved["backbone"][name]["kernel"], -1e-3 * factor, rtol=1e-5, err_msg=name
        )
    np.testing.assert_allclose(moved["head"]["kernel"], -1e-3, rtol=1e-5)


def test_frozen_parameters_of_adamw_do_not_decay():
    params = vit_params()
    optimizer = optim.make_optimizer(
        ConfigDict(base.adamw(lr=1e-3, schedule="constant")), params, steps=1, frozen=("/norm/",)
    )
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert updates["segmenter"]["backbone"]["norm"]["kernel"] == 0
    assert updates["segmenter"]["head"]["kernel"] < 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(decay_multipliers=(("/w", 0.0),)), r"decay_multipliers=.*: kind='sgd' does not read"),
        (dict(kind="adam", betas=(0.9, 0.99), layer_decay=0.9), "layer_decay=0.9: kind='adam' do"),
        (base.adamw(momentum=0.9), "momentum=0.9: kind='adamw' does not read it, 'sgd' does"),
        (base.adamw(layer_decay=0.9), "layer_decay=0.9: there is no ViT"),
        (base.adamw(decay_multipliers=(("/v", 0.0),)), "decay_multipliers='/v': matches no"),
        (dict(min_lr=1e-4), "min_lr=0.0001: schedule='constant' does not read it, 'poly_times_wa"),
        (
            dict(schedule="poly", power=1.0, horizon_steps=9, warmup_steps=3, warmup_ratio=0.1),
            "warmup_ratio=0.1: schedule='poly' does not read it, 'poly_times_warmup' and 'poly_af",
        ),
    ],
)
def test_what_another_kind_or_schedule_reads_is_an_error(settings, message):
    of_sgd = dict(momentum=0.9, nesterov=False, repeats=())
    given = dict(kind="sgd", lr=0.1, schedule="constant", weight_decay=0.0, lr_multipliers=())
    if settings.get("kind", "sgd") == "sgd":
        given |= of_sgd
    with pytest.raises(UserError, match=message):
        optim.make_optimizer(ConfigDict(given | settings), {"net": {"w": jnp.ones(2)}}, steps=1)


def test_adamw_may_be_chosen_where_sgd_was_once_its_keys_do_nothing():
    """So that --config.STAGE.optimizer.kind can change a recipe that has the keys of both."""
    settings = ConfigDict(
        base.adamw(lr=0.1, schedule="constant", momentum=0.0, nesterov=False, repeats=())
    )
    optim.make_optimizer(settings, {"net": {"w": jnp.ones(2)}}, steps=1)
