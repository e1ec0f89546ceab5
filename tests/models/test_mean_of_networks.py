"""The mean of several networks: FDA's multi-band transfer through the stage that labels with it,
and as one segmenter.
"""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import between, channels_last
from ml_collections import ConfigDict
from tiny_segmenter import tiny_segmenter

from dajax.methods import pseudo_labels
from dajax.models.apply import forward_train, init_network, predict_scores
from dajax.models.aspp import SegOutput
from dajax.models.mean_of_networks import MeanOfNetworks, of_stage
from dajax.ops.resize import resize_bilinear
from dajax.recipes import fda
from dajax.state import TrainState


class Given:
    """A network whose parameters are its logits."""

    align_corners, stride = True, 4

    def __init__(self, num_classes):
        self.num_classes = num_classes

    def apply(self, variables, images, mode):
        del mode
        logits = variables["params"]
        return SegOutput(jnp.zeros((len(images), *logits.shape[1:3], 1)), logits, None)

    def prediction_logits(self, output):
        return output.logits


class Feed:
    """One batch, of all images."""

    devices, window = jax.devices()[:1], None

    def __init__(self, count, size_hw, num_classes):
        self.count, self.size_hw = count, size_hw
        self.class_names, self.labels = [str(k) for k in range(num_classes)], {}

    def target_pass(self, batch_size):
        del batch_size
        yield {
            "image": np.zeros((self.count, *self.size_hw, 3), np.float32),
            "mask": np.ones(self.count, bool),
            "index": np.arange(self.count, dtype=np.int32),
            "size_hw": np.tile(np.int32(self.size_hw), (self.count, 1)),
            "room_hw": np.tile(np.int32(self.size_hw), (self.count, 1)),
        }

    def write_pseudo_labels(self, labels, origin):
        del origin
        self.labels = dict(labels)


def test_pseudo_labels_of_three_networks_are_fdas(golden):
    """Through the stage of the recipe, from logits to labels."""
    case = golden("tier2_fda")[""]
    logits = [channels_last(case[f"mbt_logits_{i}"]) for i in between(case, "mbt_logits_")]
    count, num_classes = len(case["mbt_label"]), len(case["mbt_thresholds"])
    model = MeanOfNetworks(Given(num_classes), len(logits))
    params = dict(zip(model.names, logits, strict=True))
    size_hw = case["mbt_label"].shape[1:]
    scores = predict_scores(
        model,
        {"params": {"segmenter": params}, "batch_stats": {"segmenter": {}}},
        jnp.zeros((count, *size_hw, 3)),
        norm_set=0,
    )
    mean = resize_bilinear(jax.nn.softmax(scores), size_hw)
    # tests/golden/README.md, 1e-4 in float32
    assert_close(mean.max(-1), case["mbt_mean_prob_max"], 1e-4)
    np.testing.assert_array_equal(mean.argmax(-1), case["mbt_prediction"])

    feed = Feed(count, size_hw, num_classes)
    state = TrainState.create(
        params={"segmenter": params}, batch_stats={"segmenter": {}}, opt_state={}
    )
    config = fda.get_config("gta5_to_cityscapes,weights=none").mbt_0
    state, _, _ = pseudo_labels.refresh(state, data=feed, config=config, model=model)
    # 2e-4 absolute of thresholds from a histogram, which never exceed the exact ones
    np.testing.assert_allclose(state.extra["thresholds"], case["mbt_thresholds"], atol=2e-4)
    found, expected = np.stack([feed.labels[i] for i in range(count)]), case["mbt_label"]
    kept = expected != 255
    np.testing.assert_array_equal(found[kept], expected[kept])
    assert (found != expected).mean() < 5e-3, "a superset, by the bins of the histogram"


@pytest.fixture(scope="module")
def two():
    """(mean of two, its variables, a member)."""
    config = ConfigDict(dict(target_bn=0, norm="", norm_affine=""))
    member = tiny_segmenter(config, heads="single", num_classes=4)
    model, images = MeanOfNetworks(member, 2), jnp.zeros((1, 16, 16, 3))
    params, batch_stats = init_network(jax.random.key(0), images, model=model)
    # the members begin alike
    params["segmenter"]["member1"] = jax.tree.map(
        lambda leaf: leaf * 2.0 + 0.1, params["segmenter"]["member1"]
    )
    return model, {"params": params, "batch_stats": batch_stats}, member


def test_the_mean_is_of_probabilities(two):
    model, variables, member = two
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))

    def of_member(name):
        own = {kind: {"segmenter": tree["segmenter"][name]} for kind, tree in variables.items()}
        return jax.nn.softmax(predict_scores(member, own, images, norm_set=0))

    found = jax.nn.softmax(predict_scores(model, variables, images, norm_set=0))
    expected = 0.5 * (of_member("member0") + of_member("member1"))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(of_member("member0") - of_member("member1")).max() > 1e-2


def test_each_member_has_its_own_statistics(two):
    """Re-estimation moves those of all members."""
    model, variables, _ = two
    part = {"image": jax.random.normal(jax.random.key(1), (2, 16, 16, 3)), "mask": np.ones(2, bool)}
    output, moved = forward_train(
        model, variables["params"], variables["batch_stats"], part, norm_set=0, axis_name=None
    )
    assert output.logits.shape[-1] == model.num_classes == 4
    before = variables["batch_stats"]["segmenter"]
    assert moved["segmenter"].keys() == before.keys() == {"member0", "member1"}
    for name in model.names:
        pairs = zip(
            jax.tree.leaves(moved["segmenter"][name]), jax.tree.leaves(before[name]), strict=True
        )
        assert all(np.abs(after - old).max() > 0 for after, old in pairs)


def test_a_stage_with_one_start_has_the_network_itself():
    member = types.SimpleNamespace()
    assert of_stage(member, ()) is member and of_stage(member, ("a",)) is member
    assert of_stage(member, ("a", "b")) == MeanOfNetworks(member, 2)
