"""kill -9 at any moment: the same command again ends with the same bits, and with neither doubles
nor holes in metrics.jsonl and in the events.

    DAJAX_FAULT_KILLS=100 DAJAX_FAULT_SEED=0 python -m pytest -n 0 tests/faults -m slow -k kill

The moments are drawn from the seed; a failure prints them.
"""

import collections
import os

import pytest
import tiny
import tiny_seg
from kills import MIC, SPCL, Subject

SEED = int(os.environ.get("DAJAX_FAULT_SEED", "0"))
CHAIN = 5  # kills of one run
CAN = ("--config.can.max_loops=2",)


def test_killed_at_a_handful_of_moments_it_ends_with_the_same_bits(toy):
    assert len(toy.chain("killed", SEED, kills=6)) >= 2


def kill_often(subject, kills):
    """Chains of kills until so many have met the run; {kind of work: kills}."""
    met, seed = collections.Counter(), SEED
    while met.total() < kills:
        found = subject.chain(f"chain{seed}", seed, min(CHAIN, kills - met.total()))
        met.update(found)
        seed += 1
        print(f"seeds {SEED} to {seed - 1}: {met.total()} kills, {dict(met)}", flush=True)
    return met


@pytest.mark.slow
def test_killed_over_and_over_training_and_refreshes_lose_nothing(toy, number_of_kills):
    met = kill_often(toy, number_of_kills)
    if number_of_kills >= 100:
        assert {"training", "refresh", "checkpoint", "evaluation", "final table"} <= met.keys()


@pytest.mark.slow
def test_killed_over_and_over_clustering_loses_nothing(flat_server, tmp_path, number_of_kills):
    words = lambda workdir: tiny.words(workdir, *CAN)
    subject = Subject(flat_server, tmp_path, words, {"can": "clustering"})
    met = kill_often(subject, number_of_kills // 2)
    if number_of_kills >= 100:
        assert {"training", "clustering", "checkpoint", "evaluation", "final table"} <= met.keys()


@pytest.mark.slow
def test_killed_over_and_over_prototypes_and_pseudo_labels_lose_nothing(
    flat_server, tmp_path, number_of_kills
):
    words = lambda workdir: tiny_seg.words(workdir, tmp_path / "scenes", *SPCL, recipe="spcl")
    refreshes = {"warm_up_labels": "pseudo-labels", "spcl": "prototypes"}
    met = kill_often(Subject(flat_server, tmp_path, words, refreshes), number_of_kills // 2)
    if number_of_kills >= 100:
        assert {"training", "prototypes", "pseudo-labels", "checkpoint"} <= met.keys()


@pytest.mark.slow
def test_killed_over_and_over_the_teachers_ramp_loses_nothing(
    flat_server, tmp_path, number_of_kills
):
    words = lambda workdir: tiny_seg.words(workdir, tmp_path / "scenes", *MIC, recipe="mic")
    met = kill_often(Subject(flat_server, tmp_path, words, {}), number_of_kills // 4)
    if number_of_kills >= 100:
        assert {"training", "checkpoint", "evaluation", "final table"} <= met.keys()
