"""Target statistics in place of those that training left: of each image, and re-estimated over
many.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dajax.models.apply import forward_train, init_network, predict_scores
from dajax.models.build import build_segmenter
from dajax.models.statistics import predict_scores_by_image, reestimate_statistics
from dajax.recipes.base import segmentation as seg_base


@pytest.fixture(scope="module")
def network():
    settings = ConfigDict(
        seg_base.small_network("single") | {"widths": (4, 4, 8, 8), "aspp_branches": 1}
    )
    stage = seg_base.stage("source_only_seg", steps=1, batch_size=1)
    model = build_segmenter(settings, stage, num_classes=3)
    model = model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)), aspp_rates=(1,))
    images = jax.random.normal(jax.random.key(1), (3, 32, 32, 3)) * jnp.array(
        [0.5, 1.0, 3.0]
    ).reshape(-1, 1, 1, 1)
    params, batch_stats = init_network(jax.random.key(0), images, model=model)
    return model, {"params": params, "batch_stats": batch_stats}, images


def test_each_image_is_normalised_by_its_own_statistics(network):
    model, variables, images = network
    together = jax.jit(lambda v, x: predict_scores_by_image(model, v, x, norm_set=0))(
        variables, images
    )
    part = {"image": images[2:], "mask": np.ones(1, bool)}
    output, _ = jax.jit(
        lambda v, part: forward_train(
            model, v["params"], v["batch_stats"], part, norm_set=0, axis_name=None
        )
    )(variables, part)
    np.testing.assert_allclose(
        together[2:], model.prediction_logits(output), atol=1e-4 * np.abs(together).max()
    )
    running = jax.jit(lambda v, x: predict_scores(model, v, x, norm_set=0))(variables, images)
    assert np.abs(together - running).max() > 0.1 * np.abs(running).max(), (
        "the running statistics are others"
    )


def test_reestimated_statistics_are_those_of_the_images_and_leave_parameters_alone(network):
    model, variables, images = network

    class Feed:
        """Always the same batch."""

        devices = tuple(jax.devices()[:1])

        def shuffled(self, domain, batch_size):
            assert domain == "target" and batch_size == 3
            return None

        def whole_steps(self, parts, start, stop):
            for _ in range(start, stop):
                yield {
                    "target": {
                        "image": np.asarray(images),
                        "mask": np.ones(3, bool),
                        "index": np.arange(3),
                    }
                }

    few, many = (
        reestimate_statistics(
            variables, data=Feed(), model=model, norm_set=0, batch_size=3, num_batches=n
        )
        for n in (1, 80)
    )
    assert few["params"] is variables["params"]
    part = {"image": images, "mask": np.ones(3, bool)}
    trained, _ = forward_train(
        model, variables["params"], variables["batch_stats"], part, norm_set=0, axis_name=None
    )
    expected = model.prediction_logits(trained)
    errors = [
        np.abs(predict_scores(model, v, images, norm_set=0) - expected).max()
        / np.abs(expected).max()
        for v in (few, many)
    ]
    # What training left weighs 0.9 ** 80; the rest is the unbiased variance, n / (n - 1) of 192
    # positions in the deepest layer.
    assert errors[1] < 0.05 < errors[0]
