"""Which statistics and which view of an image an evaluation uses, measured on networks whose
statistics disagree.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from dajax.models.classifier import Output
from dajax.models.deeplab import SegOutput
from dajax.models.norm import DomainBatchNorm
from dajax.recipes import can, spcl
from dajax.recipes.base import segmentation as seg_base
from dajax.state import TrainState
from dajax.tasks.classification import setup as classification
from dajax.tasks.classification.feed import Feed
from dajax.tasks.feed import NEVER
from dajax.tasks.segmentation import setup as segmentation
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.transforms import apply_evaluation, from_config
from data_pipeline.segmentation import part_reader

RANDOM_VIEWS = dict(
    size=(8, 8),
    resize=(10, 10),
    crop="random",
    flip=True,
    affine=None,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


@pytest.fixture
def feed():
    """Target images of three classes with random training views, and an evaluation set that is
    another one.
    """
    rng = np.random.default_rng(0)
    sets = [
        ImageSet(
            name,
            tuple("abc"),
            (np.arange(count) % 3).astype(np.int32),
            rng.integers(0, 256, (count, 12, 14, 3), dtype=np.uint8),
        )
        for name, count in (("source", 9), ("target", 7), ("evaluation", 20))
    ]
    view = from_config(RANDOM_VIEWS)
    made = Feed(
        sets[:1],
        *sets[1:],
        transforms={"train": view, "eval": view.for_evaluation()},
        seed=0,
        stage="can",
        devices=jax.devices()[:1],
    )
    return made, sets


def images_of(batches):
    rows = [(batch["image"][batch["mask"]], batch["index"][batch["mask"]]) for batch in batches]
    images, index = (np.concatenate(x) for x in zip(*rows, strict=True))
    np.testing.assert_array_equal(index, np.arange(len(index)), "each once, in order")
    return images


def test_evaluation_sees_the_middle_of_every_image_of_its_own_set(feed):
    feed, (source, target, evaluation) = feed
    view = from_config(RANDOM_VIEWS).for_evaluation()
    for batches, images in (
        (feed.evaluation(6), evaluation),
        (feed.sequence("target", 6, views="eval", name="x"), target),
        (feed.sequence("source", 6, views="eval", name="x"), source),
    ):
        np.testing.assert_allclose(
            images_of(batches), apply_evaluation(images.images, view), rtol=1e-6, atol=1e-6
        )  # float32 rounding
    random = images_of(feed.sequence("target", 6, views="train", name="x"))
    assert (random != apply_evaluation(target.images, view)).any(axis=(1, 2, 3)).mean() > 0.8, (
        "training views are random"
    )


def test_the_task_evaluates_on_the_view_without_random_parts(feed):
    """`open_data` is what makes the views of a run."""
    config = can.get_config()
    config.data.per_class = 1
    opened = classification.open_data(config)
    assert (
        opened.transforms["train"].num_uniforms > 0 and opened.transforms["eval"].num_uniforms == 0
    )


class Averages(nn.Module):
    """Logits are the normalised means of the three colours: which set of statistics normalises
    decides the class.
    """

    num_domains: int
    num_classes: int = 3
    network: ClassVar[str] = "classifier"

    @nn.compact
    def __call__(self, images, mode):
        x = DomainBatchNorm(num_domains=self.num_domains, name="norm")(images.mean((1, 2)), mode)
        return Output(features=x, logits=x)


def favours(domain_means):
    """A state whose domain d has the running means domain_means[d] [3]: the class of the least mean
    wins wherever images are grey.
    """
    means = jnp.asarray(domain_means, jnp.float32)
    stats = {"norm": {"mean": means, "var": jnp.ones_like(means)}}
    params = {"norm": {"scale": jnp.ones_like(means), "bias": jnp.zeros_like(means)}}
    return TrainState.create(
        params={"classifier": params}, batch_stats={"classifier": stats}, opt_state={}
    )


@pytest.mark.parametrize("target_bn", [0, 1])
def test_a_classifier_is_evaluated_with_the_statistics_of_the_target(feed, target_bn):
    feed, (_, _, evaluation) = feed
    # domain 0 says "a" of everything, domain 1 "c"
    state, model = favours([[-9.0, 0.0, 0.0], [0.0, 0.0, -9.0]]), Averages(2)
    run = ConfigDict(
        {
            "runtime": {"eval_batch_size": 8},
            "evaluation": {"reestimate_batches": 60, "reestimate_batch_size": 7},
        }
    )

    def evaluate():
        stage_config = ConfigDict({"target_bn": target_bn})
        return classification.evaluate(
            state, data=feed, model=model, config=run, stage_config=stage_config
        ).report

    report = evaluate()
    expected = np.zeros((3, 3), int)
    expected[:, 2 * target_bn] = evaluation.class_counts()
    np.testing.assert_array_equal(report["confusion"], expected)
    # With statistics of the target no class is favoured; nothing of it stays in the state.
    again = report.pop("reestimated")
    assert {"confusion", *again} == {key for key in report if not key.startswith("label_free_")}
    assert min(again["per_class"].values()) > 0 == min(report["per_class"].values())
    run.evaluation.reestimate_batches = 0
    assert evaluate() == report


@pytest.mark.parametrize(
    "recipe, stage, target_bn", [("can", "can", 1), ("can", "source_only", 0), ("spcl", "spcl", 0)]
)
def test_recipes_evaluate_the_target_with_its_own_set_where_it_has_one(recipe, stage, target_bn):
    assert {"can": can, "spcl": spcl}[recipe].get_config()[stage].target_bn == target_bn


SIZE = (32, 64)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """(config of a segmentation run on tiny scenes whose every view is random, its opened data)."""
    root = tmp_path_factory.mktemp("evaluation")
    config = seg_base.segmentation(
        "test", model=seg_base.small_network("single"), data=spcl.get_config().data
    )
    config.seed = 0
    config.data.scenes.update(root=str(root), size=SIZE, source=2, target=4, evaluation=3)
    for view in ("source", "target", "evaluation"):
        config.data.transforms[view].update(size=SIZE, flip=True)
    config.runtime.eval_batch_size = 2
    config.evaluation.update(num_pictures=0, reestimate_batches=120, reestimate_batch_size=4)
    return config, segmentation.open_data(config)


def make_seg_feed(config, domains, tmp_path):
    config.stage = ConfigDict(dict(method="spcl", target_bn=0))
    return segmentation.make_feed(
        domains,
        config,
        "stage",
        directory=tmp_path,
        devices=jax.devices()[:1],
        stop=NEVER,
    )


def test_a_segmenters_passes_are_without_random_parts_though_every_view_flips(street, tmp_path):
    config, domains = street
    feed = make_seg_feed(config, domains, tmp_path)
    assert domains.transforms["target"].num_uniforms > 0, "training flips"
    assert domains.transforms["evaluation"].num_uniforms == 0
    view = domains.transforms["evaluation"]
    for batches, images in (
        (feed.evaluation(2), domains.evaluation),
        (feed.target_pass(2), domains.target),
        (feed.source_pass(2), domains.source),
    ):
        expected = part_reader.normalise(
            np.stack([np.asarray(Image.open(path)) for path in images.image_paths]), view
        )
        np.testing.assert_allclose(
            images_of(batches), expected, atol=1e-6
        )  # the scenes have the view's size: nothing is resized


class Colours(nn.Module):
    """A pixel's class is its brightest normalised colour: 0 red, 1 green, 2 blue."""

    num_classes: int = 19
    network: ClassVar[str] = "segmenter"

    @nn.compact
    def __call__(self, images, mode):
        x = DomainBatchNorm(name="norm")(images, mode)
        nothing = jnp.full((*x.shape[:3], self.num_classes - 3), -1e6)
        return SegOutput(features=x, logits=jnp.concatenate([x, nothing], -1), aux_logits=None)

    def prediction_logits(self, output):
        return output.logits


def count(predictions, domains):
    """The confusion matrix of predictions [N, H, W] of the evaluation images."""
    total = np.zeros((19, 19), int)
    for i, prediction in enumerate(predictions):
        label = domains.evaluation.read_label(i)
        np.add.at(total, (label[label < 19], prediction[label < 19]), 1)
    return total


def test_a_segmenter_is_measured_with_its_statistics_as_trained_and_again_with_the_targets(
    street, tmp_path
):
    config, domains = street
    means = np.float32([[9.0, -9.0, 9.0]])  # as trained: green is above its mean everywhere
    ones, zeros = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)
    stats, params = {"mean": means, "var": ones}, {"scale": ones, "bias": zeros}
    state = TrainState.create(
        params={"segmenter": {"norm": params}},
        batch_stats={"segmenter": {"norm": stats}},
        opt_state={},
    )
    feed = make_seg_feed(config, domains, tmp_path)
    report = segmentation.evaluate(
        state, data=feed, model=Colours(), config=config, stage_config=config.stage
    ).report
    pixels = {
        name: np.stack([np.asarray(Image.open(path)) for path in images.image_paths]) / 255.0
        for name, images in (("target", domains.target), ("evaluation", domains.evaluation))
    }
    np.testing.assert_array_equal(
        report["confusion"], count(np.ones_like(pixels["evaluation"][..., 0], int), domains)
    )
    # The statistics of the target's training images, which a mirror does not change; of the
    # evaluation's or the source's they would be others.
    mean, std = (getattr(pixels["target"], name)((0, 1, 2)) for name in ("mean", "std"))
    expected = count(((pixels["evaluation"] - mean) / std).argmax(-1), domains)
    accuracy = 100.0 * np.trace(expected) / expected.sum()
    # 120 batches of all four images leave what training left a weight of 0.9 ** 120 = 3e-6; a few
    # grey pixels are on the edge between colours.
    np.testing.assert_allclose(report["reestimated"]["pixel_accuracy"], accuracy, atol=0.2)
    assert abs(report["pixel_accuracy"] - accuracy) > 2.0, "a mix-up of the two would show"
    jax.tree.map(np.testing.assert_array_equal, state.batch_stats["segmenter"]["norm"], stats)
