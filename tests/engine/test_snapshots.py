"""Which snapshots of a stage are kept, which one a rule picks without labels, and what is said
where there is nothing to pick.
"""

import json
import re
import shutil
import types

import in_process
import pytest
import tiny
import toy_task

import dajax
from dajax import label_free, open_workdir, tasks
from dajax.engine import checkpoint, snapshots, stages
from dajax.errors import UserError
from dajax.tasks.common import Evaluation
from dajax.trained import Trained

# Of the first stage, evaluated every second step; 10 steps of which 4, 8 and the last are kept.
FIGURES = {
    "entropy": {2: 0.1, 4: 0.9, 6: 0.1, 8: 0.3, 10: 0.5},
    "im": {2: 9.0, 4: 3.0, 6: 9.0, 8: 1.0, 10: 2.0},
    "snd": {2: 9.0, 4: 2.0, 6: 9.0, 8: 2.0, 10: 1.0},
}
PICKED = {"entropy": 8, "im": 4, "snd": 8, "last": 10}  # of equals the latest
ACCURACY = {2: 10.0, 4: 20.0, 6: 60.0, 8: 30.0, 10: 50.0}


def evaluate(state, *, data, **_):
    step = int(state.step)
    if data.stage != "first":
        return Evaluation({"accuracy": 1.0, "mean_class_accuracy": 1.0, "label_free_snd": 1.0})
    figures = {label_free.key_of(rule): by_step[step] for rule, by_step in FIGURES.items()}
    return Evaluation({"accuracy": ACCURACY[step], "mean_class_accuracy": 0.0} | figures)


def install(patch):
    toy_task.install(patch)
    patch.setitem(
        tasks.TASKS, "toy", types.SimpleNamespace(**toy_task._TASK | {"evaluate": evaluate})
    )
    patch.setattr(open_workdir, "_built", lambda *_: (Trained, None, None))


@pytest.fixture(autouse=True)
def task(monkeypatch):
    install(monkeypatch)


def config(keep_every=4, **changes):
    made = toy_task.config(**{"first.steps": 10, "first.evaluate_every": 2, **changes})
    runtime = dict(devices=1, keep_checkpoints=1, keep_every=keep_every, checkpoint_every=1000)
    made.runtime.update(runtime | dict(compilation_cache=tiny.CACHE, report_seconds=1000.0))
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, what was said) of a run; tests change copies of it."""
    workdir = tmp_path_factory.mktemp("snapshots") / "run"
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        said = []
        patch.setattr(stages.console, "say", lambda text="": said.append(text))
        stages.run(config(), workdir, "train")
    return workdir, "\n".join(said)


def steps_of(workdir, stage="first"):
    return checkpoint.steps(workdir / stage / "checkpoints")


def test_those_of_every_so_many_steps_are_kept_beside_the_last(finished, tmp_path):
    assert steps_of(finished[0]) == [4, 8, 10] and steps_of(finished[0], "second") == [3]
    stages.run(config(0), tmp_path / "off", "train")
    assert steps_of(tmp_path / "off") == [10]
    # also where nothing else would save at that step
    stages.run(config(3, **{"first.evaluate_every": 0}), tmp_path / "odd", "train")
    assert steps_of(tmp_path / "odd") == [3, 6, 9, 10]


def test_keeping_and_evaluating_more_changes_no_bit_and_may_be_changed_on_the_way(
    finished, tmp_path
):
    """A run that was stopped goes on with another evaluate_every, as a workdir of before does."""
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    for name in ("results.json", "first/result.json"):
        (workdir / name).unlink()
    for path in (workdir / "second", *(workdir / f"first/checkpoints/{k}" for k in (8, 10))):
        shutil.rmtree(path)
    stages.run(config(0, **{"first.evaluate_every": 6}), workdir, "train")
    assert steps_of(workdir) == [10]
    last, again = (in_process.states(path / "first")[10] for path in (finished[0], workdir))
    assert all((last[name] == again[name]).all() for name in last)
    evaluated = [row["step"] for row in in_process.metrics(workdir, "first") if "accuracy" in row]
    assert evaluated == [2, 4, 6, 10]


@pytest.mark.parametrize("rule", PICKED)
def test_a_rule_picks_its_best_of_the_kept_snapshots(finished, rule):
    """The best figures of all are those of steps 2 and 6, which are not kept."""
    one = dajax.load(finished[0], "first", select=rule)
    assert one.step == PICKED[rule]
    state = in_process.states(finished[0] / "first")[PICKED[rule]]
    assert (one.params["net"]["w"] == state["['params']['net']['w']"]).all()
    assert (one.results is None) == (rule != "last")


@pytest.mark.parametrize("rule, step", [("entropy", 4), ("im", 3), ("snd", 3), ("dev", 4)])
def test_every_rule_picks_by_its_direction_and_of_equals_the_latest(rule, step):
    assert label_free.pick({1: 0.3, 2: 0.1, 3: 0.3, 4: 0.1, 5: 0.2}, rule) == step


def test_no_figure_that_labels_gave_is_looked_at(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    path = workdir / "first" / "metrics.jsonl"
    rows = [
        {key: value for key, value in row.items() if "accuracy" not in key}
        for row in in_process.metrics(workdir, "first")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for rule, step in PICKED.items():
        assert dajax.load(workdir, "first", select=rule).step == step


def test_evaluating_takes_the_picked_snapshot_and_the_table_says_so(finished, tmp_path, capsys):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    stages.run(config(), workdir, "eval", "im")
    said = capsys.readouterr().out
    assert "table of first, second, snapshots chosen without labels by im, largest mutual" in said
    assert "(of second, evaluated once at most: last step)" in said
    written = json.loads((workdir / "eval.json").read_text())
    found = written["stages"]
    assert (found["first"]["step"], found["second"]["step"]) == (4, 3)
    assert found["first"]["accuracy"] == ACCURACY[4] and written["select"] == "im"
    stages.run(config(), workdir, "eval")
    assert "table of first, second, last step" in capsys.readouterr().out


def test_a_run_ends_with_what_each_rule_picks_and_with_the_oracle_marked_as_such(finished):
    said = finished[1]
    assert "table of first, second, last step" in said
    found = json.loads((finished[0] / "results.json").read_text())["snapshots"]
    assert found == {
        "first": {"evaluations": 5}
        | {
            who: {"step": step, "accuracy": ACCURACY[step]}
            for who, step in dict(last=10, entropy=6, im=6, snd=6, oracle=6).items()
        }
    }
    lines = said[said.index("accuracy in % (step)") :].splitlines()
    assert lines[1].split() == ["stage", "evaluations", "last", "entropy", "im", "snd", "oracle*"]
    assert lines[2].split() == ["first", "5", "50.0", "(10)", *["60.0", "(6)"] * 4]
    assert lines[3].startswith("chosen without labels: entropy, im, snd; * the best by the target")


def test_without_labels_there_is_no_oracle(tmp_path):
    (tmp_path / "a").mkdir()
    rows = [{"step": k, "kind": "evaluation", "label_free_snd": float(k % 3)} for k in (1, 2, 3)]
    (tmp_path / "a" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = snapshots.picks(tmp_path, ["a"], "accuracy")
    assert found["a"] == {
        "evaluations": 3,
        "last": {"step": 3, "accuracy": None},
        "snd": {"step": 2, "accuracy": None},
    }
    text = snapshots.table(found, "accuracy", "accuracy")
    assert "oracle" not in text and "accuracy" not in text and "(2)" in text
    assert snapshots.table({}, "accuracy", "accuracy") == ""


def test_a_rule_that_some_evaluations_lack_is_not_in_the_table(tmp_path):
    """An earlier dajax, which knew no such rule, has begun the run."""
    (tmp_path / "a").mkdir()
    rows = [{"step": k, "kind": "evaluation", "accuracy": 10.0 * k} for k in (1, 2, 3)]
    for row in rows[1:]:
        row["label_free_snd"] = 1.0 / row["step"]
    (tmp_path / "a" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = snapshots.picks(tmp_path, ["a"], "accuracy")
    best = {"step": 3, "accuracy": 30.0}
    assert found == {"a": {"evaluations": 3, "last": best, "oracle": best}}


@pytest.mark.parametrize(
    "stage, rule, says",
    [
        ("first", "mood", "select='mood': no such rule; known: last, entropy, im, snd, dev"),
        ("first", "dev", "'dev' was not measured in this stage; .*source_held_out=0.1"),
        ("second", "entropy", "'entropy' was not measured in this stage"),
        (
            "second",
            "snd",
            "nothing to choose from: it was evaluated at step 3, and",
        ),
    ],
)
def test_opening_says_why_there_is_nothing_to_choose(finished, stage, rule, says):
    with pytest.raises(UserError, match=says) as error:
        dajax.load(finished[0], stage, select=rule)
    assert "\n" not in str(error.value)


def test_a_mean_of_networks_has_no_snapshots_to_choose_from(tmp_path):
    """It is evaluated once, at step 0, and no key adds to that."""
    row = {"step": 0, "kind": "evaluation", "miou": 30.0, "label_free_entropy": 0.1}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match="the stage takes no steps; take select=last$"):
        snapshots.choose(tmp_path, "entropy")


def test_a_run_that_kept_none_names_the_key(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    for step in (4, 8):
        shutil.rmtree(workdir / "first" / "checkpoints" / str(step))
    with pytest.raises(UserError, match=r"evaluated at step 2, 4, 6, 8, 10, .*keep_every=N"):
        dajax.load(workdir, "first", select="snd")
    with pytest.raises(UserError, match="no stage was evaluated more than once"):
        snapshots.choose_each(workdir, ["second"], "snd")
    with pytest.raises(UserError, match="no such rule"):
        stages.run(config(), workdir, "eval", "mood")


def test_an_exported_file_is_one_snapshot(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="is a file of one snapshot; leave select='snd' out"):
        dajax.load(tmp_path / "file", select="snd")


@pytest.mark.parametrize(
    "words, says",
    [
        (["--select=snd", "--config=configs/can.py"], "--select is for"),
        (
            ["--select=mood", "--mode=eval", "--config=configs/can.py"],
            "mood.*last.*snd",
        ),
        (["--mode=eval", "--workdir=DIR", "--select=snd"], "--config is missing"),
    ],
)
def test_the_flag_is_for_modes_that_open_a_snapshot(words, says, capsys):
    end = in_process.command_line(*words)
    assert isinstance(end, str) and "\n" not in end.strip()
    assert re.search(says, end)
