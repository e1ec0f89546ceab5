"""DeepLab against the golden networks (deeplab_*.npz, weights by recipe), its heads, its norms, its
precisions and its small backbone.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_trees_close
from deeplab_settings import RESNET101, SMALL
from ml_collections import ConfigDict
from recipe_weights import (
    recipe_state_dict,
    relative_error,
    shapes_of,
    sizes_in,
    slow_but,
    tap_errors,
)

from dajax.errors import UserError
from dajax.models.deeplab import build_segmenter
from dajax.models.norm import Mode
from dajax.models.seg_weights import from_torch_segmenter

# tests/golden/README.md: float32, max |a - b| / max |b|; a wrong dilation, stride place, pooling or
# branch gives 1e-2 or more
TOLERANCE = 1e-4
# By pixels: today even, where ceil pooling shows; odd, whose taps are compared; room for every tap.
SIZES = {name: sizes_in(f"deeplab_{name}") for name in ("clan", "asn_multi", "tvstyle")}


def make(base, num_classes=19, num_domains=1, **settings):
    return build_segmenter(ConfigDict(base | settings), num_classes, num_domains)


def make_short(**settings):
    """The small network with one block a stage: every kind of layer, and quick to compile."""
    model = make(
        SMALL, 5, **{"heads": "multi", "aspp_rates": (1, 2, 4), "aspp_branches": 2} | settings
    )
    return model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))


def load(model, name, salt):
    state_dict = recipe_state_dict(name, salt)
    params, stats, report = from_torch_segmenter(state_dict, *shapes_of(model, (1, 64, 64, 3)))
    assert (
        len(report.loaded) + len(report.ignored) == len(state_dict)
        and not report.missing
        and not report.unexpected
    )
    return {"params": params, "batch_stats": stats}


def run_with_taps(model, variables, images):
    """(SegOutput, {layer: feature map}) in evaluation mode."""

    def is_tap(module, method):
        return (
            module.name in ("conv1", "bn1") and len(module.path) == 2
        ) or method == "stage_outputs"

    output, taken = model.apply(
        variables, images, Mode(), capture_intermediates=is_tap, mutable="intermediates"
    )
    taken = taken["intermediates"]["backbone"]
    taps = {
        "maxpool" if stage == "stem" else stage: x for stage, x in taken["stage_outputs"][0].items()
    }
    return output, taps | {key: taken[key]["__call__"][0] for key in ("conv1", "bn1")}


def assert_all_below(errors):
    assert len(errors) > 1
    worst = max(errors, key=errors.get)
    assert errors[worst] < TOLERANCE, (worst, errors[worst])


def image_of(arrays, size):
    return jnp.asarray(arrays[f"{size}_image"].transpose(0, 2, 3, 1))


def nchw(x):
    return np.asarray(x).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("size", slow_but(SIZES["clan"][:1], SIZES["clan"]))
def test_clans_twin_heads_are_the_authors(golden, size):
    arrays = golden("deeplab_clan")[""]
    model = make(RESNET101, heads="twin")
    output, taps = jax.jit(lambda variables, images: run_with_taps(model, variables, images))(
        load(model, "clan", str(arrays["salt"])), image_of(arrays, size)
    )
    errors = {
        "aux_logits": relative_error(nchw(output.aux_logits), arrays[f"{size}_logits1"]),
        "logits": relative_error(nchw(output.logits), arrays[f"{size}_logits2"]),
        "sum": relative_error(
            nchw(model.prediction_logits(output)),
            arrays[f"{size}_logits1"] + arrays[f"{size}_logits2"],
        ),
    }
    assert_all_below(
        errors | (tap_errors(arrays, size, taps) if size in SIZES["clan"][1:2] else {})
    )


@pytest.mark.parametrize("size", slow_but(SIZES["asn_multi"][1:2], SIZES["asn_multi"]))
def test_adaptsegnets_heads_are_the_authors_with_two_branches_and_with_four(golden, size):
    """Multi and single heads in one program over both images: the backbones' weights are equal, and
    are compiled once.
    """
    multi, single = golden("deeplab_asn_multi")[""], golden("deeplab_asn_single")[""]
    models = {
        (heads, n): make(RESNET101, heads=heads, aspp_branches=n)
        for heads in ("multi", "single")
        for n in (2, 4)
    }
    variables = {
        heads: load(models[heads, 2], f"asn_{heads}", str(arrays["salt"]))
        for heads, arrays in (("multi", multi), ("single", single))
    }
    heads_only = {
        heads: {name: leaf for name, leaf in tree["params"].items() if name != "backbone"}
        for heads, tree in variables.items()
    }
    for key in ("layer3_7", "layer4_0"):
        jax.tree.map(
            np.testing.assert_array_equal,
            *(tree["params"]["backbone"][key] for tree in variables.values()),
        )
    images = jnp.concatenate([image_of(multi, size), image_of(single, size)])

    @jax.jit
    def run(backbone, heads_only, stats, images):
        return {
            (heads, n): model.apply(
                {"params": {"backbone": backbone, **heads_only[heads]}, "batch_stats": stats},
                images,
                Mode(),
            )
            for (heads, n), model in models.items()
        }

    outputs = run(
        variables["multi"]["params"]["backbone"],
        heads_only,
        variables["multi"]["batch_stats"],
        images,
    )
    errors = {}
    for n, suffix in ((2, ""), (4, "_all4")):
        main, aux = outputs["multi", n].logits, outputs["multi", n].aux_logits
        errors["aux", n] = relative_error(nchw(aux[:1]), multi[f"{size}_logits1{suffix}"])
        errors["main", n] = relative_error(nchw(main[:1]), multi[f"{size}_logits2{suffix}"])
        errors["single", n] = relative_error(
            nchw(outputs["single", n].logits[1:]), single[f"{size}_logits{suffix}"]
        )
    assert outputs["single", 2].aux_logits is None
    np.testing.assert_array_equal(
        models["multi", 2].prediction_logits(outputs["multi", 2]), outputs["multi", 2].logits
    )
    assert_all_below(errors)


NORMS = ("train", "frozen_no_eps")
QUICK = [*zip(SIZES["tvstyle"][:2], NORMS, strict=False)]


@pytest.mark.parametrize(
    "size_norm", slow_but(QUICK, [(size, norm) for size in SIZES["tvstyle"] for norm in NORMS])
)
def test_torchvisions_topology_is_spcls(golden, size_norm):
    arrays, (size, norm) = golden("deeplab_tvstyle")[""], size_norm
    model = make(RESNET101, topology="torchvision", norm=norm)
    output, taps = jax.jit(lambda variables, images: run_with_taps(model, variables, images))(
        load(model, "tvstyle", str(arrays["salt"])), image_of(arrays, size)
    )
    expected = arrays[f"{size}_logits" + ("_frozenbn_noeps" if norm == "frozen_no_eps" else "")]
    errors = {
        "logits": relative_error(nchw(output.logits), expected),
        "features": relative_error(output.features, np.asarray(taps["layer4"])),
    }
    # The stored taps are with epsilon, which by itself makes 1e-5.
    assert_all_below(
        errors | (tap_errors(arrays, size, taps) if size in SIZES["tvstyle"][1:2] else {})
    )


def test_parameter_counts_are_the_authors():
    """CLAN's, AdaptSegNet's with two heads and with one, and PLCA's: counted in the authors'
    modules with 19 classes.
    """
    for settings, expected in (
        ({"heads": "twin"}, 45_301_976),
        ({"heads": "multi", "aspp_branches": 2}, 44_601_560),
        ({}, 43_901_068),
        ({"head_bias": False}, 43_900_992),
    ):
        params, _ = shapes_of(make(RESNET101, **settings), (1, 64, 64, 3))
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.fixture(scope="module")
def small():
    """Images and variables of `make_short`, drawn with numpy: the initialisers of forty arrays take
    longer to compile than the network.
    """
    rng = np.random.default_rng(0)
    params, stats = shapes_of(make_short(), (1, 32, 48, 3))

    def draw(path, leaf):
        around = {"kernel": 0.0, "bias": 0.0, "scale": 1.0, "mean": 0.0, "var": 1.0}[path[-1].key]
        std = np.sqrt(2.0 / np.prod(leaf.shape[:-1])) if path[-1].key == "kernel" else 0.1
        return jnp.asarray(around + std * rng.standard_normal(leaf.shape), jnp.float32)

    images = jnp.asarray(rng.standard_normal((2, 32, 48, 3)), jnp.float32)
    return images, jax.tree_util.tree_map_with_path(draw, {"params": params, "batch_stats": stats})


def train(model, variables, images):
    """(SegOutput, gradients of a loss over all of it, batch_stats)."""

    def loss(params):
        output, updated = model.apply(
            {**variables, "params": params}, images, Mode(train=True), mutable=["batch_stats"]
        )
        heads = [x for x in output[1:] if x is not None]
        return sum(jnp.square(x - 1.0).mean() for x in heads), (output, updated["batch_stats"])

    grads, (output, stats) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    return output, grads, stats


@pytest.fixture(scope="module")
def trained(small):
    """`train` of `make_short`, as the others are compared with."""
    images, variables = small
    return train(make_short(), variables, images)


def names_and_leaves(tree):
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def test_frozen_parameters_are_exactly_those_without_gradient(small, trained):
    """The branch that the authors' loop would leave out; and scale and bias where they are not
    trained.
    """
    images, variables = small
    untrained = make_short(aspp_branches=3, train_norm_affine=False)
    for model, grads in (
        (make_short(), trained[1]),
        (untrained, train(untrained, variables, images)[1]),
    ):
        found = names_and_leaves({model.network: grads})
        for name, leaf in found:
            assert any(re.search(pattern, name) for pattern in model.frozen_parameters()) != bool(
                leaf.any()
            ), name
        assert model.frozen_parameters()
        for pattern in model.frozen_parameters():
            assert any(re.search(pattern, name) for name, _ in found), (
                "the optimiser refuses patterns that match nothing"
            )


def test_frozen_normalisation_is_the_running_one_and_does_not_move(small, trained):
    images, variables = small
    model = make_short(norm="frozen")
    output, _, stats = train(model, variables, images)
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])
    inferred = jax.jit(lambda: make_short().apply(variables, images, Mode()))()
    assert_trees_close(output, inferred, 1e-5)
    _, _, moved = trained
    both = zip(*map(jax.tree.leaves, (moved, variables["batch_stats"])), strict=True)
    assert not any(np.array_equal(a, b) for a, b in both)


def test_bfloat16_computes_convolutions_only(small, trained):
    """8 bits of mantissa over 9 layers: a few per cent of the largest logit. Everything handed out
    is float32.
    """
    images, variables = small
    model = make_short(dtype="bfloat16")
    output, grads, stats = train(model, variables, images)
    fresh = jax.eval_shape(lambda: model.init(jax.random.key(0), images, Mode()))
    assert {leaf.dtype for leaf in jax.tree.leaves((output, grads, stats, fresh))} == {
        jnp.dtype("float32")
    }
    assert 1e-4 < relative_error(output.logits, np.asarray(trained[0].logits)) < 5e-2, (
        "above: it is bfloat16 indeed"
    )
    assert_trees_close(stats, trained[2], 0.02)


def test_small_backbone_has_stride_four_and_seventeen_convolutions():
    model = make(SMALL, 5, num_domains=2)
    params, stats = shapes_of(model, (1, 64, 128, 3))
    assert sum(leaf.ndim == 4 for leaf in jax.tree.leaves(params["backbone"])) == 17 + 2, (
        "two shortcuts besides"
    )
    output = jax.eval_shape(
        lambda: model.apply(
            {"params": params, "batch_stats": stats}, jnp.zeros((1, 64, 128, 3)), Mode(norm_set=1)
        )
    )
    assert (
        output.logits.shape == (1, 16, 32, 5)
        and output.features.shape == (1, 16, 32, 8)
        and output.aux_logits is None
    )


def test_equal_configs_are_equal_models():
    """Compiled functions are cached by model: an equal config must not compile again."""
    assert (
        make(SMALL) == make(SMALL)
        and hash(make(RESNET101)) == hash(make(RESNET101))
        and make(SMALL) != make(SMALL, heads="twin")
    )


@pytest.mark.parametrize(
    "key, value, known",
    [
        ("backbone", "vgg", "resnet101, resnet50, vgg16, vgg16_fcn8s, resnet_small"),
        ("topology", "pytorch", "caffe, torchvision"),
        ("heads", "double", "single, multi, twin"),
        ("norm", "eval", "train, frozen, frozen_no_eps"),
        ("dtype", "float16", "float32, bfloat16"),
    ],
)
def test_unknown_settings_are_errors_that_name_the_known(key, value, known):
    with pytest.raises(UserError, match=f"{key}='{value}': unknown; known: {known}$"):
        make(RESNET101, **{key: value})


def test_impossible_settings_are_errors():
    with pytest.raises(ValueError, match="aspp_branches=5 of 4 aspp_rates"):
        make(RESNET101, aspp_branches=5)
    with pytest.raises(ValueError, match="heads='multi' on vgg16_fcn8s"):
        make(RESNET101, backbone="vgg16_fcn8s", heads="multi")
    with pytest.raises(ValueError, match="widths .* has 4 stages"):
        make(SMALL, widths=(4, 8))
