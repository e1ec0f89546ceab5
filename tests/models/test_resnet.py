"""ResNet against the golden networks (deeplab_cls_*.npz, weights by recipe), its gradient stop and
its sizes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import between
from recipe_weights import recipe_state_dict, relative_error, shapes_of, tap_errors

from dajax.models.norm import Mode
from dajax.models.resnet import ResNet, resnet50, resnet101, resnet_small
from dajax.models.weights import from_torch_resnet

# tests/golden/README.md: float32, max |a - b| / max |b|; a wrong stride place or pooling mode gives
# 1e-2 or more
TOLERANCE = 1e-4


def worst_error(name, model, arrays):
    """Largest relative error over features, logits and taps of both stored sizes."""
    state_dict = recipe_state_dict(name, str(arrays["salt"]))
    params, stats, report = from_torch_resnet(state_dict, *shapes_of(model, (1, 64, 64, 3)))
    assert len(report.loaded) + len(report.ignored) == len(state_dict) and not report.unexpected
    variables = {"params": params, "batch_stats": stats}

    def is_tap(module, method):
        return module.name in ("conv1", "bn1") and method == "__call__" and len(module.path) == 1

    @jax.jit
    def run(images):
        stages, taken = model.apply(
            variables,
            images,
            Mode(),
            method=ResNet.stage_outputs,
            capture_intermediates=is_tap,
            mutable="intermediates",
        )
        taken = taken["intermediates"]
        taps = {"maxpool" if stage == "stem" else stage: x for stage, x in stages.items()}
        return taps | {key: taken[key]["__call__"][0] for key in ("conv1", "bn1")}

    errors = {}
    for size in between(arrays, suffix="_image"):
        images = jnp.asarray(arrays[f"{size}_image"].transpose(0, 2, 3, 1))
        taps = run(images)
        errors |= tap_errors(arrays, size, taps)
        features = np.asarray(taps["layer4"].mean((1, 2)))
        errors[size, "feature2048"] = relative_error(features, arrays[f"{size}_feature2048"])
        errors[size, "fc_logits"] = relative_error(
            features @ state_dict["fc.weight"].T + state_dict["fc.bias"],
            arrays[f"{size}_fc_logits"],
        )
    print(
        f"{name}: worst relative error {max(errors.values()):.1e} at {max(errors, key=errors.get)}"
    )
    return max(errors.values())


def test_resnet50_is_torchvisions(golden):
    assert worst_error("resnet50", resnet50(), golden("deeplab_cls_resnet50")[""]) < TOLERANCE


@pytest.mark.slow  # DeepLab-v2's golden files have caffe's strides and pooling, too
def test_caffe_strides_and_ceil_pooling_are_caffes(golden):
    model = resnet50(stride_in_1x1=True, ceil_pool=True)
    assert (
        worst_error("resnet50_caffestride", model, golden("deeplab_cls_resnet50_caffestride")[""])
        < TOLERANCE
    )


@pytest.mark.slow  # the blocks are ResNet-50's
def test_resnet101_is_torchvisions(golden):
    assert worst_error("resnet101", resnet101(), golden("deeplab_cls_resnet101")[""]) < TOLERANCE


def test_parameter_counts_are_torchvisions():
    """25,557,032 and 44,549,160 less the 2,049,000 of the 1000-class layer."""
    for model, expected in ((resnet50(), 23_508_032), (resnet101(), 42_500_160)):
        params, _ = shapes_of(model, (1, 64, 64, 3))
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_small_network_halves_three_times(channels):
    """32x32 -> 16, 16, 8, 4; ResNet-14 is 13 convolutions, two of the shortcuts besides, and the
    head.
    """
    model = resnet_small()
    params, stats = shapes_of(model, (2, 32, 32, channels))
    outputs = jax.eval_shape(
        lambda: model.apply(
            {"params": params, "batch_stats": stats},
            jnp.zeros((2, 32, 32, channels)),
            Mode(),
            method=ResNet.stage_outputs,
        )
    )
    assert {name: x.shape for name, x in outputs.items()} == {
        "stem": (2, 16, 16, 16),
        "layer1": (2, 16, 16, 16),
        "layer2": (2, 8, 8, 32),
        "layer3": (2, 4, 4, 64),
    }
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 4]
    assert len(kernels) == 13 + 2


@pytest.fixture(scope="module")
def tiny():
    """Images and variables of ResNet((1, 1), "basic", (4, 8), stem="small"), whatever its gradient
    stop.
    """
    model = ResNet((1, 1), "basic", (4, 8), stem="small")
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    return images, jax.jit(lambda: model.init(jax.random.key(1), images, Mode()))()


@pytest.mark.parametrize(
    "stop, trained",
    [(None, {"conv1", "bn1", "layer1_0", "layer2_0"}), ("layer1", {"layer2_0"}), ("layer2", set())],
)
def test_gradient_stops_and_statistics_do_not(tiny, stop, trained):
    images, variables = tiny
    model = ResNet((1, 1), "basic", (4, 8), stem="small", stop_gradient_after=stop)

    def loss(params):
        features, updated = model.apply(
            {**variables, "params": params}, images, Mode(train=True), mutable=["batch_stats"]
        )
        return jnp.square(features).sum(), updated["batch_stats"]

    grads, stats = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert {
        name for name, tree in grads.items() if any(leaf.any() for leaf in jax.tree.leaves(tree))
    } == trained
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), stats, variables["batch_stats"])
    assert all(jax.tree.leaves(moved))


def test_stops_and_stems_that_do_not_exist_are_errors():
    with pytest.raises(
        ValueError, match="unknown stop_gradient_after 'layer4'; known: layer1, layer2, layer3"
    ):
        resnet_small(stop_gradient_after="layer4")
    with pytest.raises(ValueError, match="unknown stem 'cifar'; known: imagenet, small"):
        resnet50(stem="cifar")
    with pytest.raises(ValueError, match="unknown block 'wide'; known: basic, bottleneck"):
        ResNet((1,), "wide", (4,))
    with pytest.raises(ValueError, match="3 stages"):
        resnet_small(widths=(16, 32))


def test_without_epsilon_a_small_variance_counts_in_full():
    """SPCL's FrozenBatchNorm2d: with variance 1e-6, torch's epsilon of 1e-5 makes sqrt(11) of a
    difference.
    """
    images, stems = jax.random.normal(jax.random.key(0), (1, 8, 8, 3)), {}
    for norm in ("frozen", "frozen_no_eps"):
        model = ResNet((1,), "basic", (4,), stem="small", norm=norm)
        params, stats = shapes_of(model, images.shape)
        params = jax.tree.map(lambda leaf: leaf + 1.0, params)
        stats = jax.tree.map(lambda leaf: leaf + 1e-6, stats)
        outputs = model.apply(
            {"params": params, "batch_stats": stats}, images, Mode(), method=ResNet.stage_outputs
        )
        stems[norm] = outputs["stem"] - 1.0  # less the bias
    positive = stems["frozen"] > 0.5
    assert positive.any()
    np.testing.assert_allclose(
        stems["frozen_no_eps"][positive] / stems["frozen"][positive], 11**0.5, rtol=1e-4
    )
