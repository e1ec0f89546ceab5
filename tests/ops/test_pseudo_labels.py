"""Thresholds from histograms and the rules of SPCL, DASS and BiCL, against the authors' code
(spcl_pseudo_label, dass_static_plabel) and formulas.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_value
from golden_arrays import channels_last, everywhere, ints

from dajax import parallel
from dajax.ops import confidence as conf
from dajax.ops import pseudo_labels as pl
from dajax.ops.metrics import confusion_matrix
from dajax.ops.prototypes import prototype_similarities
from dajax.ops.resize import resize_bilinear
from dajax.parallel import total
from dajax.recipes import spcl as spcl_config

TOLERANCE = 1e-5  # tests/golden/README.md, of thresholds
FINE = 1 << 21  # bins for this tolerance; conf.NUM_BINS is for the stated bound


def error_bound(threshold, num_bins=conf.NUM_BINS):
    """As the docstring of confidence_histogram states it, with float32's rounding."""
    return 2 * np.sqrt(1 - threshold) / num_bins + 1 / num_bins**2 + 2e-7


def probabilities_at(logits, hw):
    return jax.nn.softmax(resize_bilinear(logits, tuple(hw.tolist())))


@functools.partial(jax.jit, static_argnames=("num_bins", "keep_every"))
def histogram_of(probabilities, num_bins, keep_every=1):
    best, predictions = probabilities.max(-1), jnp.argmax(probabilities, -1)
    return conf.confidence_histogram(
        best,
        predictions,
        everywhere(best),
        num_classes=probabilities.shape[-1],
        num_bins=num_bins,
        keep_every=keep_every,
    )


def random_confidences(rng, n, num_classes=4):
    confidence = np.where(
        rng.random(n) < 0.5, rng.uniform(1 / num_classes, 1, n), 1 - 10.0 ** rng.uniform(-7, -1, n)
    ).astype(np.float32)
    return confidence, rng.integers(0, num_classes, n).astype(np.int32)


def streamed(golden_logits, hw, num_bins):
    """One image at a time, added up on the host as for a whole set."""
    images = (probabilities_at(golden_logits[i : i + 1], hw) for i in range(len(golden_logits)))
    return sum(np.asarray(histogram_of(image, num_bins), np.int64) for image in images)


def spcls_rule(case):
    """SPCL's proportion, which the golden file does not hold, and the file's cap."""
    recipe = spcl_config.get_config("gta5_to_cityscapes,weights=none").spcl
    return dict(proportion=recipe.proportion, cap=float(case["cap"]))


def test_thresholds_are_spcls(golden):
    case = golden("spcl_pseudo_label")[""]
    logits, size, rule = channels_last(case["logits"]), case["size_threshold"], spcls_rule(case)
    fine = conf.quantile_thresholds(streamed(logits, size, FINE), **rule)
    assert_value(fine, case["thresholds"], TOLERANCE)
    coarse = conf.quantile_thresholds(streamed(logits, size, conf.NUM_BINS), **rule)
    error = case["thresholds"] - coarse
    assert (error >= -2e-7).all() and (error <= error_bound(coarse)).all()
    never_wins = case["thresholds"] == 0
    assert never_wins.any() and (coarse[never_wins] == 0).all(), "a class that never wins"


def test_few_samples_follow_spcls_rule_of_rounding(golden):
    case = golden("spcl_pseudo_label")[""]
    confidence = jnp.asarray(case["small_prob"], jnp.float32)[None, None]
    predictions = ints(case["small_label"])[None, None]
    histogram = conf.confidence_histogram(
        confidence,
        predictions,
        everywhere(predictions),
        num_classes=len(case["small_thresholds"]),
        num_bins=FINE,
    )
    rule = functools.partial(conf.quantile_thresholds, **spcls_rule(case))
    on_host = rule(np.asarray(histogram, np.int64))
    assert_value(on_host, case["small_thresholds"], TOLERANCE)
    assert_value(jax.jit(rule)(histogram), case["small_thresholds"], TOLERANCE)


def test_pseudo_labels_are_spcls(golden):
    case = golden("spcl_pseudo_label")[""]
    logits = channels_last(case["logits"])
    probabilities = probabilities_at(logits, case["size_label"])
    run = jax.jit(pl.confident_labels)
    labels = run(probabilities, jnp.asarray(case["thresholds"], jnp.float32))
    np.testing.assert_array_equal(labels, case["pseudo_label"])
    # Thresholds of the default histogram lie below the exact ones, so they keep all of these, and
    # nothing whose confidence is further below than their error.
    histogram = streamed(logits, case["size_threshold"], conf.NUM_BINS)
    own = conf.quantile_thresholds(histogram, **spcls_rule(case))
    found = np.asarray(run(probabilities, jnp.asarray(own, jnp.float32)))
    kept = case["pseudo_label"] != 255
    np.testing.assert_array_equal(found[kept], case["pseudo_label"][kept])
    best, predictions = np.asarray(probabilities.max(-1)), np.asarray(probabilities.argmax(-1))
    below = case["thresholds"][predictions] - best
    assert (below[(found != 255) & ~kept] <= error_bound(own).max()).all()


def test_spcls_counts_of_intersection_and_union_follow_from_a_confusion_matrix(golden):
    case = golden("spcl_pseudo_label")[""]
    logits, gt = channels_last(case["logits"]), ints(case["gt_label"])
    predictions = jnp.argmax(resize_bilinear(logits, gt.shape[1:]), -1)
    num_classes = logits.shape[-1]
    for i in range(len(gt)):
        valid = everywhere(gt[i])
        confusion = np.asarray(confusion_matrix(gt[i], predictions[i], valid, num_classes))
        np.testing.assert_array_equal(np.diag(confusion), case["intersection"][i])
        np.testing.assert_array_equal(
            confusion.sum(0) + confusion.sum(1) - np.diag(confusion), case["union"][i]
        )


def test_equality_is_confident_in_the_code_and_not_in_the_paper():
    probabilities = jnp.asarray([[[[0.75, 0.25], [0.25, 0.75]]]])
    thresholds = jnp.asarray([0.75, 0.5])
    np.testing.assert_array_equal(pl.confident_labels(probabilities, thresholds), [[[0, 1]]])
    np.testing.assert_array_equal(
        pl.confident_labels(probabilities, thresholds, strict=True), [[[255, 1]]]
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("proportion", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_the_error_of_a_threshold_is_within_the_stated_bound(seed, proportion):
    confidence, predictions = random_confidences(np.random.default_rng(seed), 4000)
    histogram = conf.confidence_histogram(
        jnp.asarray(confidence)[None, None],
        jnp.asarray(predictions)[None, None],
        jnp.ones((1, 1, 4000), bool),
        num_classes=5,
    )
    assert conf.NUM_BINS >= 10_000 and histogram.sum() == 4000
    found = conf.quantile_thresholds(
        np.asarray(histogram, np.int64), proportion=proportion, cap=2.0
    )
    for k in range(4):
        ascending = np.sort(confidence[predictions == k])
        exact = ascending[min(int(np.round(proportion * len(ascending))), len(ascending) - 1)]
        assert -2e-7 <= exact - found[k] <= error_bound(found[k]), (k, exact, found[k])
    assert found[4] == 0


KEEP_EVERY = 5  # utils/func.py of DASS; its golden files do not hold it
SYNTHIA_LACKS = (9, 14, 16)  # the same: train ids of the classes that SYNTHIA lacks


def test_static_labels_are_dasss(golden):
    case = golden("dass_static_plabel")[""]
    size = tuple(case["size_model_out"].tolist())
    logits = resize_bilinear(channels_last(case["logits"]), size)
    histogram = np.asarray(
        histogram_of(jax.nn.softmax(logits), FINE, keep_every=KEEP_EVERY), np.int64
    )
    fraction = float(case["cb_prop"])
    never = SYNTHIA_LACKS if case["source_is_synthia"] else ()
    thresholds = conf.top_thresholds(histogram, fraction=fraction, never=never)
    assert_value(thresholds, case["thresholds"], TOLERANCE)
    probabilities = probabilities_at(logits, case["size_label"])
    labels, by_threshold, by_rank = jax.jit(
        lambda p, t: pl.static_labels(p, t, image_fraction=fraction)
    )(probabilities, jnp.asarray(case["thresholds"], jnp.float32))
    np.testing.assert_array_equal(by_threshold, case["mask_global"])
    np.testing.assert_array_equal(by_rank, case["mask_local"])
    np.testing.assert_array_equal(labels, case["pseudo_label"])


@pytest.mark.parametrize(
    "keep_every",
    [2, *(pytest.param(every, marks=pytest.mark.slow) for every in (1, 5))],
)
def test_thinning_keeps_the_first_of_every_so_many_of_each_image(keep_every):
    rng = np.random.default_rng(0)
    confidence, predictions = random_confidences(rng, 3 * 101)
    images = jnp.asarray(confidence).reshape(3, 1, 101), jnp.asarray(predictions).reshape(3, 1, 101)
    found = conf.confidence_histogram(
        *images, everywhere(images[0]), num_classes=4, keep_every=keep_every
    )
    expected = [[], [], [], []]
    for c, p in zip(*(np.asarray(x)[:, 0] for x in images), strict=True):
        for k in range(4):
            expected[k].append(np.sort(c[p == k])[::keep_every])
    for k in range(4):
        kept = jnp.asarray(np.concatenate(expected[k]))[None, None]
        alone = conf.confidence_histogram(
            kept, jnp.zeros(kept.shape, jnp.int32), everywhere(kept), num_classes=1
        )
        np.testing.assert_array_equal(found[k], alone[0])


def test_rare_absent_and_excluded_classes_have_dasss_thresholds():
    values = np.concatenate([np.linspace(0.5, 0.95, 9), np.linspace(0.6, 0.9, 31)]).astype(
        np.float32
    )
    labels = jnp.asarray([0] * 9 + [1] * 31)[None, None]
    histogram = np.asarray(
        conf.confidence_histogram(
            jnp.asarray(values)[None, None],
            labels,
            everywhere(labels),
            num_classes=3,
            num_bins=FINE,
        )
    )
    found = conf.top_thresholds(histogram.astype(np.int64), fraction=0.1)
    # nine pixels: the least of them; 31: the third from the top; none
    np.testing.assert_allclose(found, [0.5, 0.88, 1.0], rtol=1e-5)
    np.testing.assert_allclose(
        conf.top_thresholds(histogram.astype(np.int64), fraction=0.1, never=(1,)),
        [0.5, 1.0, 1.0],
        rtol=1e-5,
    )


def test_dynamic_and_hybrid_labels_are_the_slides(golden):
    case = golden("dass_formula")[""]
    features, threshold = channels_last(case["f_T"]), float(case["T"])
    for prototypes, name in (("rho_S2T", "y_D"), ("rho_S", "y_D_nocal")):
        scores = prototype_similarities(
            features,
            jnp.asarray(case[prototypes], jnp.float32),
            present=jnp.asarray(case["ok_S"]),
            normalize_prototypes=True,
        )
        dynamic = jax.jit(lambda s: pl.dynamic_labels(s, threshold=threshold))(scores)
        np.testing.assert_array_equal(dynamic, case[name])
    hybrid = pl.hybrid_labels(ints(case["y_D"]), ints(case["y_F"]))
    np.testing.assert_array_equal(hybrid, case["y_T"])


@pytest.mark.parametrize("lowest", [-1, 0])
@pytest.mark.parametrize("wanted", [0.05, 0.343, 0.9])
def test_the_threshold_of_a_share_is_exceeded_by_that_share(lowest, wanted):
    """To within one bin: 2e-4 of the range, 4 pixels in 20,000 where all are spread evenly."""
    scores = np.random.default_rng(0).uniform(lowest, 1, (2, 100, 100)).astype(np.float32)
    counts = conf.score_histogram(jnp.asarray(scores), jnp.ones(scores.shape, bool), lowest=lowest)
    found = jax.jit(
        lambda h: conf.fraction_threshold(
            conf.move_histogram(jnp.zeros(conf.NUM_BINS), h, decay=0.9),
            fraction=wanted,
            lowest=lowest,
        )
    )(counts)
    exact = np.sort(scores.ravel())[-round(wanted * scores.size)]
    assert -1e-6 < exact - found < 2e-4 * (1 - lowest), "float32; the widest bin"
    assert -1e-9 < (scores > float(found)).mean() - wanted < 4e-4


def test_a_histogram_of_scores_moves_from_batch_to_batch_and_stays_without_a_pixel():
    def counts(scores, mask):
        return conf.score_histogram(jnp.asarray(scores, jnp.float32), jnp.asarray(mask), lowest=-1)

    first = conf.move_histogram(
        jnp.zeros(conf.NUM_BINS),
        counts([[-1.0, 1.0, 1.0, 0.5]], [[True, True, True, False]]),
        decay=0.75,
    )
    # the first batch counts in full
    np.testing.assert_allclose([first[0], first[-1], first.sum()], [1 / 3, 2 / 3, 1], rtol=1e-6)
    second = conf.move_histogram(first, counts([[-1.0] * 4], [[True] * 4]), decay=0.75)
    # shares, whatever the batch's size
    np.testing.assert_allclose([second[0], second[-1]], [0.75 / 3 + 0.25, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(
        conf.move_histogram(second, counts([[0.3]], [[False]]), decay=0.75), second
    )


def test_hybrid_labels_by_hand_in_both_priorities():
    dynamic, static = jnp.asarray([1, 255, 1, 255]), jnp.asarray([2, 2, 255, 255])
    np.testing.assert_array_equal(pl.hybrid_labels(dynamic, static), [1, 2, 1, 255])
    np.testing.assert_array_equal(
        pl.hybrid_labels(dynamic, static, priority="static"), [2, 2, 1, 255]
    )
    with pytest.raises(ValueError, match="unknown priority 'both'; known: dynamic, static"):
        pl.hybrid_labels(dynamic, static, priority="both")


def test_nothing_confident_and_nothing_counted_leave_no_label():
    probabilities = jnp.full((1, 2, 2, 4), 0.25)
    nothing = conf.confidence_histogram(
        probabilities.max(-1),
        jnp.zeros((1, 2, 2), jnp.int32),
        jnp.zeros((1, 2, 2), bool),
        num_classes=4,
    )
    assert not np.asarray(nothing).any()
    np.testing.assert_array_equal(
        conf.quantile_thresholds(nothing, proportion=0.5, cap=0.9), np.zeros(4)
    )
    thresholds = conf.top_thresholds(np.asarray(nothing, np.int64), fraction=0.1)
    static, *_ = pl.static_labels(probabilities, jnp.asarray(thresholds), image_fraction=0.0)
    assert (static == 255).all()
    dynamic = pl.dynamic_labels(jnp.full((1, 2, 2, 4), -1.0), threshold=0.5)
    assert (dynamic == 255).all(), "no class has a prototype"


def test_histograms_of_four_devices_add_up_to_that_of_one():
    confidence, predictions = random_confidences(np.random.default_rng(2), 4 * 50)
    parts = tuple(jnp.asarray(x).reshape(4, 1, 5, 10) for x in (confidence, predictions))

    def online(confidence, predictions, axis_name=None):
        histogram = conf.confidence_histogram(
            confidence, predictions, everywhere(confidence), num_classes=4
        )
        return conf.quantile_thresholds(total(histogram, axis_name), proportion=0.5, cap=0.9)

    alone = online(*(x[:, 0] for x in parts))
    split = jax.pmap(lambda *args: online(*args, parallel.AXIS), axis_name=parallel.AXIS)(*parts)
    for thresholds in split:
        np.testing.assert_array_equal(thresholds, alone)
