"""A network's weights under torch's names and in its layouts."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recipe_weights import GOLDEN

from dajax.models.classifier import Classifier
from dajax.models.deeplab import DeepLab
from dajax.models.norm import Mode
from dajax.models.resnet import ResNet, resnet50
from dajax.models.to_torch import from_own, to_torch
from dajax.models.vgg import VGG


def trees_of(model):
    """(params, batch_stats), every entry its own number."""
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), Mode())
    )
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return jax.tree.map(
        lambda leaf: np.arange(leaf.size, dtype=np.float32).reshape(leaf.shape),
        (params, batch_stats),
    )


@pytest.mark.parametrize("network", ["resnet50", "asn_vgg"])
def test_names_and_shapes_are_torchs(network):
    """Those of a state_dict that torch itself has written, but for its counters of batches."""
    expected = {
        name: tuple(shape)
        for name, shape in json.loads((GOLDEN / "deeplab_names.json").read_text())[network].items()
        if not name.endswith("num_batches_tracked")
    }
    if network == "resnet50":
        model = Classifier(resnet50(num_domains=2), expected["fc.weight"][0])
    else:
        model = DeepLab(VGG(), expected["classifier.conv2d_list.0.weight"][0])
        expected = {name.replace("classifier.", "layer5."): expected[name] for name in expected}
    entries = to_torch(*trees_of(model), norm_set=0)
    assert {name: array.shape for name, array in entries.items()} == expected


def test_a_classifier_with_deeper_layers_comes_back():
    """Every set of normalisation is then the one that was written; dense kernels are [out, in]."""
    model = Classifier(
        ResNet((1,), "basic", (4,), num_domains=2), 3, bottleneck=5, head_widths=(6,)
    )
    params, batch_stats = trees_of(model)
    entries = to_torch(params, batch_stats, norm_set=1)
    np.testing.assert_array_equal(
        entries["bottleneck.dense.weight"], params["bottleneck"]["dense"]["kernel"].T
    )
    assert entries["bottleneck.norm.running_var"].tolist() == [5, 6, 7, 8, 9]
    assert entries["head.linear.weight"].shape == (3, 6) and "fc.weight" not in entries
    again = from_own(entries, params, batch_stats)

    def check(path, found, wanted):
        is_of_sets = found.ndim == 2 and path[-1].key != "kernel"
        np.testing.assert_array_equal(found, wanted[[1, 1]] if is_of_sets else wanted)

    jax.tree_util.tree_map_with_path(check, again, (params, batch_stats))
    del entries["head.linear.bias"]
    with pytest.raises(KeyError, match="head.linear.bias"):
        from_own(entries, params, batch_stats)


def test_a_weight_normalised_head_comes_back_under_its_own_names():
    """Also where there is no bottleneck, and a plain head is torchvision's fc."""
    for bottleneck in (0, 5):
        backbone = ResNet((1,), "basic", (4,))
        model = Classifier(backbone, 3, bottleneck=bottleneck, head_weight_norm=True)
        params, batch_stats = trees_of(model)
        entries = to_torch(params, batch_stats, norm_set=0)
        assert entries["head.direction"].shape == (3, bottleneck or 4)
        assert entries["head.length"].shape == entries["head.bias"].shape == (3,)
        again, _ = from_own(entries, params, batch_stats)
        jax.tree.map(np.testing.assert_array_equal, again, params)
