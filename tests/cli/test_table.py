"""`--config=tables/NAME`: which runs a table makes, what it prints of them, and each table in small
(slow).
"""

import csv
import json
import subprocess
import sys

import in_process
import pytest
import tiny

from dajax.analysis import published_table
from dajax.cli import recipe, sweep, table
from dajax.errors import UserError
from dajax.recipes.tables import plca_ablations, published


def run(*words):
    return in_process.command_line(*recipe.with_paths(words))


ROWS = (("A", True, (40.0, None)), ("B", False, (50.0, 60.0)), ("C", False, (30.0, 35.0)))


def test_published_and_measured_stand_side_by_side():
    measured = {("A", "x"): [41.0, 43.0], ("B", "x"): [51.0, None], ("A", "scenes"): [1.0, 2.0]}
    best = {("A", "x"): [44.0, 45.0], ("B", "x"): [52.0, 53.0]}
    lines = published_table.markdown(("x", "y", "scenes"), ROWS, measured, best).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in lines}) == 1
    assert cells[0] == ["", "x", "y", "scenes"]
    assert cells[2] == ["A", "40.0* / 42.0 ± 1.4 [44.5*]", "- / -", "1.5 ± 0.7"]
    assert cells[3] == ["B", "50.0 / 51.0 (1 of 2)", "60.0 / -", "-"]
    assert cells[4] == ["C", "30.0 / -", "35.0 / -", "-"], "a method that is not here"


def test_a_mean_is_of_every_other_column_or_none():
    measured = {("A", "x"): [40.0, 50.0], ("A", "y"): [60.0, None], ("B", "x"): [1.0, 2.0]}
    found = published_table.with_means(measured, ("x", "y", "mean"))
    assert found["A", "mean"] == [50.0, None] and ("B", "mean") not in found
    assert published_table.with_means(measured, ("x", "y")) == measured


def test_figures_of_a_result():
    result = {"miou": 1.0, "miou_13": 2.0, "aggregated": {"miou": 3.0}}
    assert table.figure(result, "", "miou") == table.figure(result, "", "miou_16") == 1.0
    assert table.figure(result | {"miou_16": 4.0}, "", "miou_16") == 4.0
    assert table.figure(result, "aggregated", "miou") == 3.0
    assert table.figure(result, "reestimated", "miou") is None
    assert table.figure(result, "", "miou_14") is None


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Runs are "trained" to 30 plus the number of the stage plus the seed; returns those run."""
    called = []

    def execute(runs, folder, after_each, flags, parallel):
        for one in runs:
            called.append(one)
            for number, stage in enumerate(one.config.stages):
                figures = {"miou": 30.0 + number + one.seed}
                result = figures | {"aggregated": {"miou": figures["miou"] + 10}, "step": 2}
                (one.workdir / stage).mkdir(parents=True, exist_ok=True)
                (one.workdir / stage / "result.json").write_text(json.dumps(result))
                lines = [{"step": step, "kind": "evaluation"} | figures for step in (1, 2)]
                lines[0]["miou"] += 5
                text = "".join(json.dumps(line) + "\n" for line in lines)
                (one.workdir / stage / "metrics.jsonl").write_text(text)
        after_each()
        return {}

    monkeypatch.setattr(sweep, "execute", execute)
    return called


def test_a_table_makes_each_run_once_and_writes_what_it_finds(finished, tmp_path, capsys):
    words = [f"--workdir={tmp_path}", "--seeds=0,2"]
    assert run("--config=tables/plca_ablations:steps=3", *words) == 0
    assert [one.workdir.name for one in finished] == [
        "plca-ablations-steps3-seed0",
        "plca-ablations-steps3-seed2",
    ]
    assert all(one.config[stage].steps <= 3 for one in finished for stage in one.config.stages), (
        "no stage is longer"
    )
    said = capsys.readouterr().out
    text = (tmp_path / "tables-plca_ablations.md").read_text()
    assert text.strip() in said and "PLCA's table 1; seeds 0, 2; at most 3 steps a stage" in text
    stages = finished[0].config.stages
    plain, aggregated = (31 + stages.index(x) for x in ("cross_entropy", "plca"))
    cells = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    rows = {row[1]: row[2:-1] for row in cells if len(row) == 6}
    assert rows["Cross-entropy"] == ["31.5 / -", "35.4 / -", f"{plain}.0 ± 1.4"]
    assert rows["+ LSR: PLCA"] == ["47.7 / -", "46.8 / -", f"{aggregated + 10}.0 ± 1.4"]
    assert "± 1.4 [" not in text, "PLCA's own figures are no best snapshots"
    lines = (tmp_path / "tables-plca_ablations.csv").read_text().splitlines()
    assert lines[0].startswith("row,column,published,published is best snapshot,seed 0,seed 2,")
    assert f"Cross-entropy,scenes,,,{plain - 1}.0,{plain + 1}.0,{plain}.0," in "\n".join(lines)


def test_an_oracles_figure_has_ours_beside_it(finished, tmp_path):
    assert run("--config=tables/spcl_decay", f"--workdir={tmp_path}") == 0
    stage = finished[0].config.stages.index("decay_0_5_trained")
    text = (tmp_path / "tables-spcl_decay.md").read_text()
    assert "52.0* / -" in text and f"{30 + stage}.0 [{35 + stage}.0*]" in text


def test_tables_in_one_folder_share_runs_under_the_names_of_runs_alone(tmp_path):
    names = []
    for name in ("clan_gta5", "clan_synthia"):
        config = recipe.read(f"tables/{name}", ())
        names.append({one.workdir.name for one in table.plan(config, (0,), (), tmp_path).values()})
    assert (
        names[0]
        == names[1]
        == {
            "adaptsegnet-scenes-single-seed0",
            "clan-scenes-seed0",
            "source_only_seg-scenes-seed0",
        }
    )


def test_what_every_run_has_may_be_overridden(tmp_path):
    words = ("--config.runtime.checkpoint_every=7",)
    config = recipe.read("tables/bicl_ablations", words)
    (one,) = table.plan(config, (0,), words, tmp_path).values()
    assert one.config.runtime.checkpoint_every == 7
    with pytest.raises(UserError, match="bicl"):
        recipe.read("tables/bicl_ablations", ("--config.bicl_0.steps=3",))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--mode=eval"], "a table is no run"),
        (["--tasks=digits"], "a table has tasks of its own"),
        (["--seeds=0", "--config.seed=1"], "leave one of them out"),
        (["--seeds=x"], "expected whole numbers"),
    ],
)
def test_a_mistake_is_one_line(words, message, tmp_path, monkeypatch):
    words = ["--config=tables/clan_gta5", f"--workdir={tmp_path}", *words]
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    try:
        line = run(*words)
    except UserError as error:
        line = str(error)
    assert message in str(line) and "\n" not in str(line)


def test_a_table_is_shown_without_being_run(capsys):
    assert run("--config=tables/clan_gta5", "--mode=show") == 0
    said = capsys.readouterr().out
    assert "config.table.cells" in said and "\n--config=clan:scenes\n" in said
    assert plca_ablations.get_config().table.source == published.TABLES["plca_ablations"].source


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Tables have runs in common."""
    return tmp_path_factory.mktemp("tables")


@pytest.mark.slow
@pytest.mark.parametrize("name", published.TABLES)
def test_every_table_runs_in_small(name, shared):
    command = [sys.executable, "run.py", f"--config=tables/{name}:steps=2"]
    done = subprocess.run(
        [*command, f"--workdir={shared}", "--config.runtime.compilation_cache=" + tiny.CACHE],
        cwd=tiny.ROOT,
        env=tiny.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    with open(shared / f"tables-{name}.csv") as file:
        means = {(line["row"], line["column"]): line["mean"] for line in csv.DictReader(file)}
    for row, column, *_ in recipe.read(f"tables/{name}", ()).table.cells:
        assert means[row, column], row
