"""CBST and CRST: class-balanced labels, batches of both domains, regularisers, against the authors'
code (tier2_cbst_crst).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import shapes
from compare import assert_close
from golden_arrays import between, channels_last, ints, names_in
from logit_table import gradient, images_of, plain_sgd

from dajax.errors import UserError
from dajax.losses.soft_labels import entropy_regularised_labels, soft_cross_entropy_map
from dajax.methods.pseudo_labels import predicted_pixels
from dajax.methods.segmentation import self_training
from dajax.ops import confidence as conf
from dajax.ops import pseudo_labels as pl
from dajax.parallel import masked_mean
from dajax.recipes import cbst as recipe
from dajax.tasks.segmentation.target_rows import rare_predictions

# tests/golden/README.md, "Second-tier baselines": float32 1e-4; thresholds of a histogram 2e-4; of
# labels one pixel may differ.
TOLERANCE, OF_THRESHOLDS = 1e-4, 2e-4
# {case: portion}, which is in its name: hard_0_2, soft_0_2
PORTIONS = {
    name: float(name.partition("_")[2].replace("_", "."))
    for name in between(names_in("tier2_cbst_crst"), suffix="_threshold")
}
ALPHA, MINE_PORT = 0.25, 0.02  # of the file: its README


@pytest.fixture(scope="module")
def case(golden):
    return golden("tier2_cbst_crst")[""]


def thinned_histogram(probabilities, every):
    """As the stage counts."""
    num_classes = probabilities.shape[-1]

    def of_image(image):
        best, predictions = image.max(-1), image.argmax(-1).astype(jnp.int32)
        kept = conf.every_nth_of_class(predictions, every=every, num_classes=num_classes)
        row = (best[None], predictions[None], kept[None])
        return conf.confidence_histogram(*row, num_classes=num_classes)

    return np.asarray(jax.jit(lambda rows: jax.lax.map(of_image, rows))(probabilities).sum(0))


def test_thresholds_and_labels_are_crsts(case):
    config = recipe.get_config()
    probabilities = jnp.asarray(case["prob"])
    histogram = thinned_histogram(probabilities, config.labels_0.keep_every).astype(np.int64)
    for name, portion in PORTIONS.items():
        thresholds = case[f"{name}_threshold"]
        found = conf.portion_thresholds(histogram, portion=portion)
        np.testing.assert_allclose(found, thresholds, rtol=0, atol=OF_THRESHOLDS)
        sizes = conf.portion_sizes(histogram, portion=portion)
        np.testing.assert_array_equal(sizes, case[f"{name}_sel_size"])
        labels = jax.jit(pl.class_balanced_labels)(probabilities, jnp.asarray(thresholds))
        assert (np.asarray(labels) != case[f"{name}_label"]).sum() <= 1, name
        never = np.setdiff1d(np.arange(len(thresholds)), case["prob"].argmax(-1))
        assert (thresholds[never] == 1).all(), "a class that is never predicted"


def test_rare_classes_are_crsts(case):
    """And, of all classes in this order, the first are its `rare_id`, which nothing reads there."""
    num_classes = case["prob"].shape[-1]
    predictions = jnp.asarray(case["prob"].argmax(-1))

    def of_image(predictions):
        mask = jnp.ones(predictions.shape, bool)
        return predicted_pixels(predictions, mask, num_classes=num_classes)

    pixels = np.asarray(jax.jit(jax.vmap(of_image))(predictions))
    assert pixels.sum() == predictions.size
    for name in PORTIONS:
        found = rare_predictions(pixels, MINE_PORT)
        np.testing.assert_array_equal(found, case[f"{name}_mine_id"])
        first = rare_predictions(pixels, np.inf)[: len(case[f"{name}_rare_id"])]
        np.testing.assert_array_equal(first, case[f"{name}_rare_id"])


def test_rare_classes_are_below_the_share_and_the_rarest_is_first():
    pixels = np.array([[60, 2, 0, 3], [30, 3, 0, 2]])  # 90, 5, 0 and 5 of 100
    assert rare_predictions(pixels, 0.06).tolist() == [2, 1, 3]
    assert rare_predictions(pixels, 0.05).tolist() == [2]


def test_masked_pixels_are_predicted_for_no_class():
    predictions, mask = jnp.array([[0, 2], [2, 2]]), jnp.array([[True, True], [False, True]])
    assert predicted_pixels(predictions, mask, num_classes=4).tolist() == [1, 0, 2, 0]


def test_the_authors_crops_are_asked_for_and_the_scenes_are_not_cropped():
    class Feed:
        def mixed_with_pseudo_labels(self, *_):
            return {"source": "source", "target": "target"}

        def with_crops_of_rare_classes(self, part, labels_from, settings):
            return part, labels_from, settings.to_dict()

    real = recipe.get_config("gta5_to_cityscapes,source_root=a,target_root=b,weights=none")
    found = self_training.plan(None, data=Feed(), config=real.cbst_1)
    expected = ("target", "labels_1", dict(share=0.001, probability=0.8))
    assert found == {"source": "source", "target": expected}
    plain = self_training.plan(None, data=Feed(), config=recipe.get_config().cbst_1)
    assert plain["target"] == "target"


def test_domains_of_two_sizes_are_no_batch():
    """Said before the run begins, with the key that mixes them."""

    class Feed:
        def shapes(self, domain):
            return shapes((4, 6)) if domain == "source" else shapes((4, 6), (6, 6))

    stage = recipe.get_config().cbst_1
    with pytest.raises(UserError, match="source_share .* source image 4x6, target image 6x6"):
        self_training.check_data(None, data=Feed(), config=stage)
    stage.source_share = 0.0
    self_training.check_data(None, data=Feed(), config=stage)


def test_a_label_need_not_be_the_most_probable_class():
    probabilities = jnp.array([[0.6, 0.4], [0.7, 0.3], [0.5, 0.5]])
    labels = pl.class_balanced_labels(probabilities, jnp.array([0.7, 0.4]))
    assert labels.tolist() == [1, 0, 1]  # 0.857 and 1; 1 and 0.75; 0.714 and 1.25
    assert pl.class_balanced_labels(probabilities, jnp.array([0.9, 0.9])).tolist() == [255] * 3


def test_the_portion_counts_from_the_most_confident_pixel():
    confidences = jnp.array([[[0.9, 0.5, 0.7, 0.6, 0.8]]])
    row = (confidences, jnp.zeros((1, 1, 5), jnp.int32), jnp.ones((1, 1, 5), bool))
    histogram = np.asarray(conf.confidence_histogram(*row, num_classes=2), np.int64)
    for portion, threshold in ((0.2, 0.9), (0.4, 0.8), (1.0, 0.5), (0.19, 1.0)):
        found = conf.portion_thresholds(histogram, portion=portion)
        np.testing.assert_allclose(found, [threshold, 1.0], atol=2e-4)


def test_every_nth_pixel_of_a_class_is_counted_in_raster_order():
    predictions = jnp.array([[0, 1, 0], [0, 1, 0], [1, 0, 0]])
    kept = conf.every_nth_of_class(predictions, every=2, num_classes=3)
    assert kept.tolist() == [[True, True, False], [True, False, False], [True, True, False]]


def test_lrents_labels_and_loss_are_crsts(case):
    (name,) = between(case, "soft_", "_soft_label")
    thresholds = jnp.asarray(case[f"soft_{name}_threshold"])
    soft = jax.jit(lambda p, t: entropy_regularised_labels(p, t, alpha=ALPHA))(
        jnp.asarray(case["prob"]), thresholds
    )
    is_labelled = np.asarray(soft.sum(-1) > 0)
    # the code keeps pixels by a difference of losses: at most 2 of 2,240 differ (the specification)
    assert (is_labelled != (case[f"soft_{name}_label"] != 255)).sum() <= 2
    expected = case[f"soft_{name}_soft_label"][is_labelled]
    assert_close(np.asarray(soft)[is_labelled], expected, TOLERANCE)
    labels = channels_last(case["soft_label_target"])

    def loss(logits):
        return masked_mean(soft_cross_entropy_map(logits, labels), labels.sum(-1) > 0)

    value, grad = jax.jit(jax.value_and_grad(loss))(channels_last(case["loss_logits"]))
    assert_close(value, case["loss_lrent"], TOLERANCE)
    assert_close(grad, channels_last(case["grad_lrent"]), TOLERANCE)


def config_of(regulariser):
    config = recipe.get_config(f"regulariser={regulariser}").cbst_0
    config.optimizer, config.norm = plain_sgd(), ""
    return config


@pytest.mark.parametrize("regulariser", recipe.KLD_WEIGHT)
def test_a_step_on_a_mixed_batch_is_crsts(case, regulariser):
    """The source's rows have the weight 0 in the file; each row is padding in one of the parts."""
    name = {"none": "cbst", "mrkld": "mrkld_code", "mrkld_paper": "mrkld_paper"}[regulariser]
    logits, labels = channels_last(case["loss_logits"]), ints(case["loss_label"])
    is_source = case["reg_weights_mrkld_code"] == 0
    images = images_of(np.arange(len(labels)), labels.shape[1:])
    batch = {
        part: {
            "image": np.where(mask[:, None, None, None], images, 0).astype(np.float32),
            "label": jnp.where(mask[:, None, None], labels, 255),
            "mask": jnp.asarray(mask),
        }
        for part, mask in (("source", is_source), ("target", ~is_source))
    }
    grad, metrics = gradient(self_training, logits, batch, config_of(regulariser))
    assert_close(metrics["loss"], case[f"loss_{name}"], TOLERANCE)
    assert_close(grad, channels_last(case[f"grad_{name}"]), TOLERANCE)
    assert ("kld" in metrics) == (regulariser != "none")


def test_source_weight_and_source_share_exclude_each_other():
    config = config_of("none")
    config.source_weight = 1.0
    with pytest.raises(UserError, match="source_weight=1.0: batches mixed by source_share"):
        self_training.init(None, None, config=config, model=None)
