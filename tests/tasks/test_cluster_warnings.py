"""What the log says of clusters and the classes of the head, found without a label."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from dajax.methods.classification import _clustering_loop as alternation
from dajax.tasks.classification import setup as classification
from dajax.tasks.classification.cluster_warnings import cluster_warnings

NAMES = tuple("abcde")


def figures(agreement=0.9, per_cluster=(0.9,) * 5, images=(20,) * 5):
    return {
        "head_agreement": agreement,
        "head_agreement_per_cluster": list(per_cluster),
        "images_per_cluster": list(images),
        "images_kept_per_cluster": list(images),
    }


def test_figures_of_clusters_are_counted_by_hand():
    """Seven images: of cluster 0 two of three have the head's word, of 1 one of two, 2 is empty, of
    3 none; the filter leaves out one of 0 and both of 3.
    """
    labels = np.array([0, 0, 0, 1, 1, 3, 3], np.int32)
    head = np.array([0, 0, 2, 1, 3, 1, 0], np.int32)
    kept = np.array([0, -1, 0, 1, 1, -1, -1], np.int32)
    assert alternation.cluster_figures(labels, kept, head, 4) == {
        "head_agreement": 3 / 7,
        "head_agreement_per_cluster": [2 / 3, 0.5, None, 0.0],
        "images_per_cluster": [3, 2, 0, 2],
        "images_kept_per_cluster": [2, 2, 0, 0],
    }


def test_the_first_clustering_warns_of_nothing_and_a_sound_one_neither():
    apart = figures(0.3, (0.1,) * 5, (96, 1, 1, 1, 1))
    assert cluster_warnings(apart, [], NAMES) == []
    version_before = {"mean_distance": 0.1}
    assert cluster_warnings(apart, [version_before], NAMES) == []
    assert cluster_warnings(version_before, [figures()], NAMES) == []
    assert cluster_warnings(figures(0.86), [figures(0.9)], NAMES) == []


def test_a_fall_of_the_agreement_is_told():
    (line,) = cluster_warnings(figures(0.81), [figures(0.2), figures(0.93)], NAMES)
    assert "agree on 81% of the target images, after 93%" in line and "\n" not in line
    assert "update_fraction" in line and "max_distance" in line, "what to do"


def test_clusters_that_the_head_calls_otherwise_are_named():
    low = figures(per_cluster=(0.9, 0.31, 0.9, None, 0.5))
    (line,) = cluster_warnings(low, [figures()], NAMES)
    assert "something else: b (31%);" in line
    many = figures(per_cluster=(0.1,) * 7, images=(20,) * 7)
    (line,) = cluster_warnings(many, [many], tuple("abcdefg"))
    assert "e (10%) and 2 more" in line and "f (" not in line


def test_a_cluster_that_leaves_an_even_share_is_told_once():
    """Even are 20: below 2 is few, above 60 many."""
    now = figures(images=(61, 1, 2, 18, 18))
    (line,) = cluster_warnings(now, [figures()], NAMES)
    assert "too few: b (1)" in line and "too many: a (61)" in line and "c (" not in line
    assert cluster_warnings(now, [now], NAMES) == []


def feed(truth):
    names = types.SimpleNamespace(class_names=NAMES)
    return types.SimpleNamespace(evaluation_labels=truth, sets={"source": names})


def test_recall_per_class_is_that_of_the_clusters_and_for_evaluation_only():
    labels = jnp.array([0, 0, 1, 1, 4], jnp.int32)
    extra = {"cluster_labels": labels, "pseudo_labels": jnp.full(5, -1, jnp.int32)}
    state, truth = types.SimpleNamespace(extra=extra), np.array([0, 1, 1, 1, 3], np.int32)
    found = classification.judge_refresh(state, data=feed(truth))
    assert found == {
        "recall_per_class_evaluation_only": [100.0, pytest.approx(100 * 2 / 3), None, 0.0, None]
    }
    assert classification.judge_refresh(state, data=feed(None)) == {}
