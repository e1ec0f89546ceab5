"""SIGTERM and Ctrl-C while a run compiles, steps, evaluates, refreshes and saves: one line, the
exit status of the signal, and the same command again ends with the same bits.
"""

import signal

import pytest
import same_outcome

# (stage, work): where the signals come, in the order of the run.
PLACES = (
    ("first", "step"),
    ("first", "save"),
    ("loop", "refresh"),
    ("loop", "compile"),
    ("loop", "evaluation"),
)
NUMBERS = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("turn", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_stopped_in_the_middle_of_each_kind_of_work_it_ends_with_the_same_bits(toy, turn):
    workdir = toy.folder / f"stopped{turn}"
    for i, (stage, work) in enumerate(PLACES):
        number = NUMBERS[(i + turn) % 2]
        outcome = toy.run(workdir, signal=(number, stage, work, work, 1, 0.0))
        assert outcome.status == 128 + number, f"{work}: {outcome.output}"
        said = outcome.output
        assert "to continue, run the same command again" in said and "Traceback" not in said, said
        assert any(moment[1:] == (stage, work, work) for moment in outcome.moments)
    toy.run(workdir)
    same_outcome.assert_same(toy.straight, workdir, are_steps_kept=False)


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("stage, work", PLACES)
def test_each_signal_comes_a_little_after_each_kind_of_work_has_begun(toy, stage, work, number):
    """Perhaps within it, perhaps within what follows."""
    workdir = toy.folder / f"{work}{number}"
    outcome = toy.run(workdir, signal=(number, stage, work, work, 1, 0.05))
    assert outcome.status in (0, 128 + number), outcome.output
    toy.run(workdir)
    same_outcome.assert_same(toy.straight, workdir, are_steps_kept=False)
