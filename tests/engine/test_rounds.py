"""Rounds of self-training: which one goes on, judged by what needs no label; and that the log has
the words.
"""

import json
import types

import in_process
import numpy as np
import pytest
import toy_task

from dajax import tasks
from dajax.engine import log, rounds, stage_checks
from dajax.errors import UserError
from dajax.recipes import bicl

WEIGHTS = "['params']['net']['w']"


@pytest.fixture(autouse=True)
def task(monkeypatch):
    """first -> second -> third, of which the rounds named by `worse` make their network worse."""
    worse = []

    def view_agreement(state, *, data, **_):
        is_worse = bool(state.step) and data.stage in worse
        return {"mean_class_agreement": 40.0 if is_worse else 50.0}

    toy_task.install(monkeypatch)
    monkeypatch.setattr(tasks.TASKS["toy"], "view_agreement", view_agreement, raising=False)
    return worse


def in_rounds(when_worse, **changes):
    config = toy_task.config(**{f"{name}.steps": 1 for name in ("first", "second", "third")})
    config.stages = ("first", "second", "third")
    config.evaluation.agreement_batches = 1
    for name in ("second", "third"):
        config[name].when_worse = when_worse
    config.third.init_from = "second"
    config.update_from_flattened_dict(changes)
    return config


def run(config, workdir):
    """(verdicts, {stage: the vector that it ends with})."""
    toy_task.run(config, workdir)
    content = json.loads((workdir / "results.json").read_text())
    ends = {name: in_process.states(workdir / name) for name in config.stages}
    return content["rounds"], {name: x[max(x)][WEIGHTS] for name, x in ends.items()}


def test_a_worse_round_is_warned_of_and_no_bit_changes(task, tmp_path, capsys):
    """Beside a run whose rounds are good, which keeps each and says the same when repeated."""
    verdicts, good = run(in_rounds("keep_better"), tmp_path / "good")
    assert [verdict["kept"] for verdict in verdicts.values()] == ["second", "third"]
    said = capsys.readouterr().out
    assert (
        "warning" not in said
        and "table of first, second, third*, last step\n* kept: of these" in said
    )
    run(in_rounds("keep_better"), tmp_path / "good")
    assert capsys.readouterr().out.rpartition("table of")[2] == said.rpartition("table of")[2]

    task.append("second")
    verdicts, warned = run(in_rounds("warn"), tmp_path / "warned")
    said = capsys.readouterr().out
    assert verdicts["second"]["is_worse"] and verdicts["second"]["kept"] == "second"
    assert "second: warning: the round may have made it worse" in said and "kept" not in said
    for name, end in good.items():
        np.testing.assert_array_equal(warned[name], end)


def test_the_better_round_is_kept_and_the_next_begins_with_it(task, tmp_path, capsys):
    """The third, which stands still, ends with what the first ended with. It is judged worse too:
    then the first is kept of all three.
    """
    task += ["second", "third"]
    verdicts, ends = run(in_rounds("keep_better", **{"third.rate": 0.0}), tmp_path / "run")
    said = capsys.readouterr().out
    assert verdicts["second"]["kept"] == verdicts["third"]["kept"] == "first"
    np.testing.assert_array_equal(ends["third"], ends["first"])
    assert (ends["second"] != ends["first"]).all()
    assert "second: warning" in said and "first is kept, and later stages begin with it" in said
    assert "table of first*, second, third, last step\n* kept: of these" in said


def test_what_is_not_judged_is_kept(tmp_path):
    """A workdir of the version before, and a run that measures nothing to judge by."""
    config = in_rounds("warn", **{"evaluation.agreement_batches": 0})
    stage = types.SimpleNamespace(
        directory=tmp_path / "second", config=config, stage_config=config.second
    )
    rounds.conclude(stage, None)
    assert rounds.verdicts(tmp_path, config.stages) == {}
    assert rounds.kept_of(tmp_path, "second") == "second"
    assert rounds.marked({"second": 1}, config, {}) == ({"second": 1}, "")


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("bicl_0.when_worse", "stop", "config.bicl_0.when_worse='stop': unknown; known: warn"),
        ("evaluation.agreement_batches", 0, "agreement_batches=0 measures nothing to choose by"),
    ],
)
def test_what_cannot_be_meant_is_one_line_before_the_start(key, value, message):
    config = bicl.get_config()
    config.bicl_0.when_worse = "keep_better"
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message) as error:
        stage_checks.check_before_data(config)
    assert "\n" not in str(error.value)


def test_the_figures_of_the_refreshes_before_are_those_of_earlier_rounds_and_its_own(tmp_path):
    rows = {
        "labels_0": [("refresh", 0, {"labelled": 0.1})],
        "labels_1": [("refresh", 0, {"labelled": 0.2}), ("train", 1, {"loss": 1.0})],
        "other": [("refresh", 0, {"labelled": 0.9})],
    }
    for name, lines in rows.items():
        file = log.MetricsFile(tmp_path / name / "metrics.jsonl", 0)
        for kind, step, figures in lines:
            file.write(step, kind, figures)
        file.close()

    class Feed:
        earlier_rounds = ("labels_0", "gone")

    found = log.earlier_refreshes(tmp_path / "labels_1", Feed())
    assert [row["labelled"] for row in found] == [0.1, 0.2]
    last = log.last_refreshes(tmp_path, ("labels_1", "gone"))
    assert last == {"labels_1": {"step": 0, "labelled": 0.2}}
