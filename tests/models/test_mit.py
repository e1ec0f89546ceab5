"""MiT against the authors' encoder (sota_mit.npz, weights by recipe), and what a step draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_trees_close
from golden_arrays import between, channels_first, channels_last, names_in
from mit_golden import TOLERANCE, assert_norms_close, norms, segmenter, variables_of
from recipe_weights import recipe_state_dict, relative_error, shapes_of

from dajax.errors import UserError
from dajax.models.mit import MiT, mit
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


NAMES = names_in("sota_mit")
SIZES = between(NAMES, "t", "_loss")  # of images of the tiny network


def pixels(size):
    return np.prod([int(side) for side in size.split("x")])


@pytest.mark.parametrize("size", [min(SIZES, key=pixels)])
def test_outputs_are_the_authors(golden, size):
    """Of the smallest images alone: those of all sizes are in the next test. 33x70 drops rows
    beyond a multiple of every reduction; a wrong epsilon gives 2e-5.
    """
    arrays = golden("sota_mit")[""]
    model, params = load("mit_tiny", str(arrays["salt"]))
    found = jax.jit(lambda images: outputs(model, params, images))(
        channels_last(arrays[f"t{size}_image"])
    )
    for i, x in enumerate(found):
        assert_close(channels_first(x), arrays[f"t{size}_out{i}"], 5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_the_authors(golden, size):
    arrays = golden("sota_mit")[""]
    model, params = load("mit_tiny", str(arrays["salt"]))
    cotangents = [
        channels_last(arrays[f"t{size}_cotangent{i}"])
        for i in between(arrays, f"t{size}_cotangent")
    ]

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
    if size == size_of_gradients(arrays):
        ours = to_torch(grads, {}, norm_set=0)
        for name in between(arrays, "grad_"):
            assert_close(ours[name], arrays[f"grad_{name}"], TOLERANCE, err_msg=name)


def size_of_gradients(arrays):
    """The one of SIZES of which the file has some gradients whole: their norms are its."""
    name = between(arrays, "grad_")[0]
    place = arrays["tiny_param_names"].tolist().index(name)
    norm = np.linalg.norm(arrays[f"grad_{name}"])
    return min(SIZES, key=lambda size: abs(arrays[f"t{size}_gradnorm"][place] - norm))


@pytest.mark.slow
@pytest.mark.parametrize("case", between(NAMES, "b", "_image"))
def test_published_sizes_are_the_authors(golden, case):
    """`case`: b's number and the size of the image."""
    arrays, case = golden("sota_mit")[""], f"b{case}"
    name, _, _ = case.partition("_")
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


@pytest.mark.parametrize("name", between(NAMES, "drop_path_"))
def test_drop_path_rises_from_block_to_block(golden, name):
    expected = golden("sota_mit")[""][f"drop_path_{name}"]
    np.testing.assert_allclose(mit(f"mit_{name}").drop_rates(), expected, atol=1e-7)


@pytest.mark.slow
def test_bfloat16_is_the_encoder_in_short():
    """Parameters and outputs stay float32; 8 bits of mantissa through two blocks."""
    images = jax.random.normal(jax.random.key(1), (1, 32, 64, 3))
    model, params, _ = short()
    exact = jax.jit(lambda: outputs(model, params, images)[-1])()
    found = jax.jit(lambda: outputs(model, params, images.astype(jnp.bfloat16))[-1])()
    assert found.dtype == jnp.bfloat16
    assert 1e-4 < relative_error(found.astype(jnp.float32), np.asarray(exact)) < 0.05


def short():
    """A MiT with a block in two of its stages, its parameters, and images."""
    model = MiT((8, 16, 40, 64), (1, 0, 0, 1), drop_path=0.5)
    params = variables_of(model, (1, 32, 32, 3), method="stage_outputs")["params"]
    return model, params, jax.random.normal(jax.random.key(1), (4, 32, 32, 3))


def test_drop_path_drops_by_row():
    model, params, images = short()

    @jax.jit
    def run(images, rows):
        streams = {"rngs": {"dropout": jax.random.key(2)}}
        return outputs(model, params, images, Mode(train=True, rows=rows), **streams)[-1]

    rows = jnp.array([0, 1, 2, 3])
    whole, moved = run(images, rows), run(images[::-1], rows[::-1])
    np.testing.assert_allclose(whole, moved[::-1], atol=1e-5)
    assert np.abs(run(images, rows + 4) - whole).max() > 0.1


@pytest.mark.slow
def test_blocks_that_are_computed_again_have_the_same_gradient():
    """Drop path included: what is dropped does not change."""
    model, params, images = short()
    cotangent = jax.random.normal(jax.random.key(3), (4, 1, 1, 64))

    def gradient(remat):
        def loss(params):
            mode = Mode(train=True, rows=jnp.arange(4))
            rngs = {"dropout": jax.random.key(2)}
            found = outputs(model.clone(remat=remat), params, images, mode, rngs=rngs)
            return (found[-1] * cotangent).sum()

        return jax.jit(jax.grad(loss))(params)

    exact = gradient(())
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(exact))
    assert_trees_close(gradient(("block1", "block4")), exact, 1e-4, floor=1e-5 * largest)


def test_an_image_too_small_for_the_reduction_is_refused():
    with pytest.raises(UserError, match="images of 28x64: a MiT needs 29 pixels"):
        shapes_of(segmenter(), (1, 28, 64, 3))
    shapes_of(segmenter(), (1, 29, 64, 3))
