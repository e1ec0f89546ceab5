"""IntraDA: ranks, with and without --normalize, and labels against the authors' code
(tier2_intrada).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_value
from golden_arrays import channels_last

from dajax.methods import pseudo_labels
from dajax.ops import confidence as conf
from dajax.ops import pseudo_labels as pl
from dajax.recipes import intrada as recipe
from dajax.tasks.segmentation import target_rows
from data_pipeline.segmentation.labels import CITYSCAPES

TOLERANCE = 1e-4  # tests/golden/README.md, "Second-tier baselines", of float32


@pytest.fixture(scope="module")
def case(golden):
    return golden("tier2_intrada")[""]


def halves_of(ranks):
    return target_rows.easy_and_hard(ranks, recipe.EASY_SHARE, len(ranks), "easy_share")


def test_ranks_and_labels_are_the_authors(case):
    logits = channels_last(case["logits"])
    entropies = np.asarray(jax.jit(pseudo_labels.mean_entropy)(jax.nn.softmax(logits)))
    # the file's is the mean over the classes, too
    assert_value(entropies / logits.shape[-1], case["mean_entropy"], TOLERANCE)
    halves = halves_of(entropies)
    np.testing.assert_array_equal(halves[0], case["plain_easy"])
    np.testing.assert_array_equal(halves[1], case["plain_hard"])
    config = recipe.get_config().advent_labels
    counts = np.ones((logits.shape[-1], 8), np.int64)
    thresholds = conf.quantile_thresholds(counts, proportion=config.proportion, cap=config.cap)
    labels = pl.confident_labels(jax.nn.softmax(logits), jnp.asarray(thresholds, jnp.float32))
    np.testing.assert_array_equal(labels, case["pseudo_label"])


def test_normalised_ranks_are_the_authors(case):
    logits = channels_last(case["logits"])
    assert logits.shape[-1] == CITYSCAPES.num_classes, "whose train ids the code names"
    mask = jnp.ones(logits.shape[1:3], bool)
    pixels = jax.vmap(
        lambda row: pseudo_labels.predicted_pixels(row, mask, num_classes=logits.shape[-1])
    )(logits.argmax(-1))
    rare = [CITYSCAPES.class_names.index(name) for name in recipe.RARE]
    factors = target_rows.rare_factors(np.asarray(pixels), rare)
    np.testing.assert_allclose(factors, case["rare_factor"], rtol=1e-12)
    easy, hard = halves_of(case["mean_entropy"] * factors)
    np.testing.assert_array_equal(easy, case["normalised_easy"])
    np.testing.assert_array_equal(hard, case["normalised_hard"])


def test_normalised_ranking_is_asked_for_and_synthia_has_eight_of_its_classes():
    roots = "source_root=a,target_root=b,weights=none"
    assert recipe.get_config().intrada.favoured == ()
    for variant, count in (("gta5_to_cityscapes", 11), ("synthia_to_cityscapes", 8)):
        plain = recipe.get_config(f"{variant},{roots}").intrada
        assert plain.favoured == ()
        found = recipe.get_config(f"{variant},{roots},ranking=normalised").intrada.favoured
        assert len(found) == count and set(found) <= set(recipe.RARE)
