"""MiT against the authors' encoder (sota_mit.npz, weights by recipe), and what a step draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_trees_close
from golden_arrays import channels_first, channels_last
from mit_golden import TOLERANCE, assert_norms_close, norms, segmenter
from recipe_weights import recipe_state_dict, relative_error, shapes_of

from dajax.errors import UserError
from dajax.models.mit import VARIANTS, MiT, mit
from dajax.models.norm import Mode
from dajax.models.seg_weights import from_torch_segmenter
from dajax.models.to_torch import to_torch


def load(name, salt):
    """(MiT, its parameters)."""
    model = segmenter(backbone=name)
    entries = recipe_state_dict(name, salt, names="sota_names_part2")
    params, _, report = from_torch_segmenter(entries, *shapes_of(model, (1, 64, 64, 3)))
    assert len(report.loaded) == len(entries) and not report.unexpected
    return model.backbone, params["backbone"]


INFERENCE = Mode()


def outputs(model, params, images, mode=INFERENCE, **streams):
    maps = model.apply({"params": params}, images, mode, method="stage_outputs", **streams)
    return list(maps.values())


@pytest.mark.parametrize("size", [pytest.param("64x96", marks=pytest.mark.slow), "65x97", "33x70"])
def test_outputs_and_gradients_are_the_authors(golden, size):
    """33x70 drops rows beyond a multiple of every reduction; a wrong epsilon gives 2e-5."""
    arrays = golden("sota_mit")[""]
    model, params = load("mit_tiny", str(arrays["salt"]))
    cotangents = [channels_last(arrays[f"t{size}_cotangent{i}"]) for i in range(4)]

    def loss(params, images):
        found = outputs(model, params, images)
        return sum((a * b).sum() for a, b in zip(found, cotangents, strict=True)), found

    (value, found), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        params, channels_last(arrays[f"t{size}_image"])
    )
    for i, x in enumerate(found):
        assert_close(channels_first(x), arrays[f"t{size}_out{i}"], 5e-6)
    np.testing.assert_allclose(value, arrays[f"t{size}_loss"], rtol=TOLERANCE)
    names = arrays["tiny_param_names"].tolist()
    assert_norms_close(norms(grads, names), arrays[f"t{size}_gradnorm"])
    if size == "65x97":
        ours = to_torch(grads, {}, norm_set=0)
        stored = [key.removeprefix("grad_") for key in arrays if key.startswith("grad_")]
        assert len(stored) == 5
        for name in stored:
            assert_close(ours[name], arrays[f"grad_{name}"], TOLERANCE, err_msg=name)


@pytest.mark.parametrize(
    "name, size",
    [
        ("b0", "65x97"),
        pytest.param("b0", "64x96", marks=pytest.mark.slow),
        pytest.param("b5", "64x96", marks=pytest.mark.slow),
    ],
)
def test_published_sizes_are_the_authors(golden, name, size):
    arrays, case = golden("sota_mit")[""], f"{name}_{size}"
    model, params = load(f"mit_{name}", str(arrays["salt"]))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == arrays[f"{name}_num_params"]
    found = jax.jit(lambda params, images: outputs(model, params, images))(
        params, channels_last(arrays[f"{case}_image"])
    )
    for i, x in enumerate(found):
        x = channels_first(x).astype(np.float64)
        assert x.shape == tuple(arrays[f"{case}_out{i}_shape"])
        statistics = [x.mean(), x.std(), np.abs(x).max(), x.min(), x.max(), np.linalg.norm(x)]
        for found_there, key in (
            (np.array(statistics), "stats"),
            (x[0, :4, :3, :3], "corner"),
            (x[0, -4:, -3:, -3:], "tail"),
        ):
            expected = arrays[f"{case}_out{i}_{key}"]
            assert relative_error(found_there, expected) < TOLERANCE, (i, key)


@pytest.mark.parametrize("name", ["tiny", "b0", "b5"])
def test_drop_path_rises_from_block_to_block(golden, name):
    expected = golden("sota_mit")[""][f"drop_path_{name}"]
    np.testing.assert_allclose(mit(f"mit_{name}").drop_rates(), expected, atol=1e-7)


def test_every_variant_has_its_published_size():
    """Table 6 of the paper, in millions."""
    sizes = {
        name: sum(
            leaf.size for leaf in jax.tree.leaves(shapes_of(_Whole(mit(name)), (1, 32, 32, 3))[0])
        )
        for name in VARIANTS
    }
    assert sizes["mit_b0"] == 3_319_392 and sizes["mit_b5"] == 81_443_008  # measured in torch
    millions = [round(sizes[f"mit_b{i}"] / 1e6, 1) for i in range(6)]
    assert millions == [3.3, 13.2, 24.2, 44.1, 60.8, 81.4]


class _Whole:
    """stage_outputs as a module's call, for shapes_of."""

    def __init__(self, model):
        self._model = model

    def init(self, rng, images, mode):
        return self._model.init(rng, images, mode, method="stage_outputs")


def short():
    """A MiT of two blocks a stage and its parameters."""
    model = MiT((8, 16, 40, 64), (2, 1, 1, 1), drop_path=0.5)
    params = model.init(
        jax.random.key(0), jnp.zeros((1, 32, 32, 3)), Mode(), method="stage_outputs"
    )["params"]
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    return model, params, images


def test_drop_path_drops_by_row_and_a_teacher_drops_nothing():
    model, params, images = short()
    streams = {"rngs": {"dropout": jax.random.key(2)}}

    @jax.jit
    def run(images, rows):
        return outputs(model, params, images, Mode(train=True, rows=rows), **streams)

    whole, last_two = run(images, jnp.arange(4)), run(images[2:], jnp.arange(2, 4))
    assert_trees_close([x[2:] for x in whole], last_two, 1e-5)
    teacher = outputs(model, params, images, Mode(train=True, deterministic=True))
    assert_trees_close(teacher, outputs(model, params, images), 1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(whole, teacher, strict=True)) > 0.1


def test_blocks_that_are_computed_again_have_the_same_gradient():
    """Drop path included: what is dropped does not change."""
    model, params, images = short()

    def gradient(remat):
        def loss(params):
            again = model.clone(remat=remat)
            mode = Mode(train=True, rows=jnp.arange(4))
            rngs = {"dropout": jax.random.key(2)}
            return jnp.square(outputs(again, params, images, mode, rngs=rngs)[-1]).mean()

        return jax.jit(jax.grad(loss))(params)

    assert_trees_close(gradient(("block1", "block4")), gradient(()), 1e-5, floor=1e-9)


def test_an_image_too_small_for_the_reduction_is_refused():
    with pytest.raises(UserError, match="images of 28x64: a MiT needs 29 pixels"):
        shapes_of(segmenter(), (1, 28, 64, 3))
    shapes_of(segmenter(), (1, 29, 64, 3))


def test_bfloat16_is_the_encoder_in_short():
    """Parameters and outputs stay float32; 8 bits of mantissa through eight blocks."""
    model, images = segmenter(dtype="bfloat16"), jnp.ones((1, 32, 64, 3)) * 0.5
    variables = model.init(jax.random.key(0), images, Mode())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    found, exact = model.apply(variables, images, Mode()), None
    exact = segmenter().apply(variables, images, Mode())
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    assert 1e-6 < relative_error(found.last_stage, np.asarray(exact.last_stage)) < 0.05
