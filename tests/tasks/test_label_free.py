"""What is said of self-training without a label: pseudo-labels round by round, and two views."""

import types
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.models.deeplab import SegOutput
from dajax.recipes import bicl, spcl
from dajax.tasks.segmentation import setup as segmentation
from dajax.tasks.segmentation.label_free import (
    mirrored_agreement,
    pseudo_label_figures,
    pseudo_label_warnings,
)

NAMES = ("road", "sky", "car")


def feed(*pairs):
    maps = [tuple(None if x is None else np.array(x, np.uint8) for x in pair) for pair in pairs]
    return types.SimpleNamespace(class_names=NAMES, pseudo_labels_of_two_rounds=lambda: iter(maps))


def test_pseudo_labels_are_counted_by_hand():
    """Six pixels in two images: five labelled now; of the four labelled in both rounds one has
    changed.
    """
    data = feed(([[0, 0, 1]], [[0, 1, 1]]), ([[255, 2, 0]], [[0, 2, 255]]))
    assert pseudo_label_figures(data) == {
        "labelled": 5 / 6,
        "labelled_per_class": [3 / 5, 1 / 5, 1 / 5],
        "churn": 1 / 4,
    }
    first = pseudo_label_figures(feed(([[0, 0, 1, 255]], None)))
    assert first == {"labelled": 3 / 4, "labelled_per_class": [2 / 3, 1 / 3, 0.0]}
    assert pseudo_label_figures(feed()) == {}


def test_a_class_that_had_labels_in_any_round_before_and_has_none_is_named():
    now = {"labelled": 0.4, "labelled_per_class": [0.9, 0.1, 0.0], "churn": 0.01}
    with_car, without = [0.8, 0.1, 0.1], [0.9, 0.1, 0.0]
    earlier = [{"labelled_per_class": shares} for shares in (with_car, without)]
    (line,) = pseudo_label_warnings(now, earlier, NAMES)
    assert "have none: car" in line and "road" not in line and "\n" not in line
    assert pseudo_label_warnings(now, earlier[1:], NAMES) == []
    assert pseudo_label_warnings(now, [{"threshold_car": 0.5}], NAMES) == []
    assert pseudo_label_warnings({"threshold_car": 0.5}, earlier, NAMES) == []


def test_much_churn_and_no_labels_at_all_are_told():
    now = {"labelled": 0.4, "labelled_per_class": [0.5, 0.5, 0.0], "churn": 0.3}
    (line,) = pseudo_label_warnings(now, [], NAMES)
    assert "30% of the pixels labelled in both rounds have another class" in line
    (line,) = pseudo_label_warnings(now | {"labelled": 0.0, "churn": 0.0}, [], NAMES)
    assert line.endswith("no pixel has a label")


def test_the_rounds_before_a_stage_are_those_that_its_network_was_trained_on():
    config = bicl.get_config()
    stages = config.stages
    before = {name: segmentation._earlier_rounds(config, name) for name in stages}
    assert before["labels_1"] == ("labels_0",)
    assert not any(before[name] for name in stages if name != "labels_1")
    config.bicl_1.init_from, config.labels_1.init_from = "bicl_0", "bicl_1"
    assert segmentation._earlier_rounds(config, "labels_1") == ("labels_0", "labels_1")
    assert segmentation._earlier_rounds(spcl.get_config(), "spcl_labels") == ("warm_up_labels",)


class Brightness(nn.Module):
    """Class 1 where a pixel, plus `slant` times its column's place from the middle, is above 0."""

    slant: float = 0.0
    num_classes: int = 3
    network: ClassVar[str] = "segmenter"

    @nn.compact
    def __call__(self, images, mode):
        columns = jnp.arange(images.shape[2], dtype=jnp.float32) - (images.shape[2] - 1) / 2
        x = images[..., 0] + self.slant * columns[None, None]
        return SegOutput(
            features=images,
            logits=jnp.stack([-x, x, jnp.full_like(x, -1e6)], -1),
            aux_logits=None,
        )

    def prediction_logits(self, output):
        return output.logits


def agreement(model, images, mask):
    part = {"image": jnp.asarray(images), "mask": jnp.asarray(mask)}
    data = types.SimpleNamespace(
        class_names=NAMES,
        devices=jax.devices()[:1],
        shuffled=lambda domain, size: domain,
        whole_steps=lambda parts, start, stop: iter([parts and {"target": part}] * (stop - start)),
    )
    variables = {"params": {"segmenter": {}}, "batch_stats": {"segmenter": {}}}
    settings = dict(norm_set=0, batch_size=2, num_batches=2)
    return mirrored_agreement(variables, data=data, model=model, **settings)


def test_views_agree_where_the_network_knows_no_left_and_right():
    """Two of three classes are predicted, the third counts 0 in the mean over classes."""
    images = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    found = agreement(Brightness(), images, [True, True])
    assert found["pixel_agreement"] == 100.0 and found["classes_predicted"] == 2
    assert found["mean_class_agreement"] == pytest.approx(200 / 3)


def test_views_that_differ_and_a_network_of_one_class_are_judged_worse():
    """By hand: the right half is class 1, so every pixel has the other class in the mirrored view,
    but for those that are bright or dark enough; padding does not count.
    """
    images = np.zeros((2, 1, 4, 3), np.float32)
    images[0, 0, :, 0] = [9.0, 0.0, 0.0, -9.0]
    images[1] = np.nan
    found = agreement(Brightness(slant=1.0), images, [True, False])
    # [1, 0, 1, 0] against [1, 1, 0, 0]: of class 0 and of class 1 one of three
    assert found["pixel_agreement"] == 50.0
    assert found["mean_class_agreement"] == pytest.approx(2 * 100 / 3 / 3)
    bright = agreement(Brightness(), np.ones((2, 1, 4, 3), np.float32), [True, True])
    assert bright["pixel_agreement"] == 100.0 and bright["classes_predicted"] == 1
    assert bright["mean_class_agreement"] == pytest.approx(100 / 3)
