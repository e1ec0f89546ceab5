"""The lines of metrics.jsonl as series."""

import numpy as np

from dajax.analysis import curves

ROWS = [
    {"step": 0, "kind": "refresh", "labelled": 0.5, "per_class": [1, None], "odd": ["a"]},
    {"step": 10, "kind": "train", "loss": 2.0},
    {"step": 20, "kind": "train", "loss": 1.0, "ce": float("nan"), "is_on": True},
    {"step": 20, "kind": "refresh", "labelled": None, "per_class": [3, 4]},
    {"step": 20, "kind": "evaluation", "miou": 30.0, "iou": {"road": 30.0}},
]


def test_a_series_holds_the_numbers_of_one_kind():
    assert curves.series(ROWS, "train", "loss") == ([10, 20], [2.0, 1.0])
    assert curves.series(ROWS, "refresh", "labelled") == ([0], [0.5])
    assert curves.series(ROWS, "train", "ce") == ([], []), "what is no number is not drawn"


def test_names_are_those_of_numbers():
    assert curves.names(ROWS, "train") == ["loss"]
    assert curves.names(ROWS, "evaluation") == ["miou"]


def test_figures_of_each_class_are_tables():
    assert curves.tables(ROWS, "refresh") == {"per_class": ([0, 20], [[1, None], [3, 4]])}


def test_the_running_mean_is_shorter_at_the_beginning():
    np.testing.assert_allclose(curves.smoothed([2, 4, 6, 0], 2), [2, 3, 5, 3])
