"""IntraDA: ranks and labels against the authors' code (tier2_intrada), and the halves of the
target.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_value
from golden_arrays import channels_last

from dajax.methods import pseudo_labels
from dajax.ops import pseudo_labels as pl
from dajax.recipes import intrada as recipe

TOLERANCE = 1e-4  # tests/golden/README.md, "Second-tier baselines", of float32


@pytest.fixture(scope="module")
def case(golden):
    return golden("tier2_intrada")[""]


def test_ranks_and_labels_are_the_authors(case):
    logits = channels_last(case["logits"])
    entropies = np.asarray(jax.jit(pseudo_labels.mean_entropy)(jax.nn.softmax(logits)))
    # the file's is the mean over the classes, too
    assert_value(entropies / logits.shape[-1], case["mean_entropy"], TOLERANCE)
    order, count = np.argsort(entropies, kind="stable"), int(recipe.EASY_SHARE * len(logits))
    np.testing.assert_array_equal(order[:count], case["plain_easy"])
    np.testing.assert_array_equal(order[count:], case["plain_hard"])
    config = recipe.get_config().advent_labels
    counts = np.ones((logits.shape[-1], 8), np.int64)
    thresholds = pl.quantile_thresholds(counts, proportion=config.proportion, cap=config.cap)
    labels = pl.confident_labels(jax.nn.softmax(logits), jnp.asarray(thresholds, jnp.float32))
    np.testing.assert_array_equal(labels, case["pseudo_label"])
