"""`python -m benchmarks`: its groups, its table, and that every row still runs. Its figures are
nobody's test.
"""

import subprocess
import sys

import pytest
import tiny

from benchmarks import __main__ as command
from benchmarks import cases, groups, kernel_losses
from benchmarks.out_file import OutFile

ALL = (*groups.DEFAULT, *groups.BY_NAME_ONLY)


def rows_of(text):
    """Cells of a Markdown table's lines."""
    return [
        line.removeprefix("| ").removesuffix(" |").split(" | ")
        for line in text.splitlines()
        if line.startswith("| ")
    ]


def test_the_list_has_a_line_for_every_group(capsys):
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(ALL)
    assert sum(groups.module(name).MINUTES for name in groups.DEFAULT) <= 30


def test_an_unknown_group_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        command.main(["--only=kernels,lovas"])
    assert "unknown group 'lovas'; known: methods, " in capsys.readouterr().err


def test_groups_come_in_the_order_of_the_table():
    assert groups.chosen("gpu,kernels,methods") == ("methods", "kernels", "gpu")
    assert groups.chosen(None) == groups.DEFAULT


def test_a_quick_row_of_dajax_agrees_with_numpys():
    case = kernel_losses.cases(None, is_quick=True)[0]
    rows, wrong = cases.measure("kernels", case, is_quick=True)
    assert not wrong and [row[1] for row in rows] == ["numpy", "dajax"]
    assert all(len(row) == len(cases.HEADER) and float(row[2]) > 0 for row in rows)


def test_a_later_run_replaces_the_rows_of_its_groups_and_keeps_the_others(tmp_path):
    path, empty = tmp_path / "table.md", [""] * (len(cases.HEADER) - 2)
    first = OutFile(path, "a machine", ALL)
    first.add("lovasz", [["lovasz: case", "dajax", *empty]], "then")
    first.add("methods", [["methods: case", "can", *empty]], "then")
    later = OutFile(path, "a machine", ALL)
    later.add("lovasz", [["lovasz: case", "torch", *empty]], "now")
    assert [row[1] for row in rows_of(path.read_text())[2:]] == ["can", "torch"]
    assert path.read_text().endswith("- measured methods: then\n- measured lovasz: now\n")


def test_what_was_measured_before_a_run_is_cut_off_stays(tmp_path, monkeypatch):
    class Group:
        @staticmethod
        def cases(folder, is_quick):
            del folder, is_quick
            return [cases.Case("first", {"dajax": None}), cases.Case("second", {"dajax": None})]

    def measure(name, case, *, is_quick):
        del is_quick
        if case.title == "second":
            raise KeyboardInterrupt
        return [[f"{name}: {case.title}", *[""] * (len(cases.HEADER) - 1)]], []

    monkeypatch.setattr(groups, "module", lambda name: Group)
    monkeypatch.setattr(cases, "measure", measure)
    out = OutFile(tmp_path / "table.md", "a machine", ALL)
    with pytest.raises(KeyboardInterrupt):
        command.run_group("lovasz", out, is_quick=False)
    found = (tmp_path / "table.md").read_text()
    assert rows_of(found)[-1][0] == "lovasz: first" and "not to its end" in found


def test_a_table_of_another_machine_is_not_added_to(tmp_path):
    path = tmp_path / "table.md"
    OutFile(path, "a machine", ALL).add("lovasz", [], "then")
    with pytest.raises(ValueError, match="is of another machine, 'a machine', and this is"):
        OutFile(path, "another", ALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_group_runs_and_its_contenders_agree(name, tmp_path):
    """Ends with another status where contenders disagree or fail."""
    out = tmp_path / "table.md"
    words = [sys.executable, "-m", "benchmarks", "--quick", f"--only={name}", f"--out={out}"]
    done = subprocess.run(
        words, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    header, _, *rows = rows_of(out.read_text())
    assert rows and all(row[0].startswith(f"{name}: ") for row in rows)
    assert all(len(row) == len(header) and float(row[2]) > 0 for row in rows)
    assert "no figure means anything" in out.read_text()
