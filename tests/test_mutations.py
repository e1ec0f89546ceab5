"""The faults of tests/mutations: all of them caught (slow), none of them stale, and the script that
tries them tells the outcomes apart.
"""

import dataclasses
import json
import shutil

import pytest
import tiny

from tests.mutations import inject

FAULTS = inject.read_faults()


def test_every_fault_still_fits_its_file_and_names_tests_that_exist():
    assert len(FAULTS) >= 100
    stale = {fault.name: problem for fault in FAULTS if (problem := inject.what_is_wrong(fault))}
    assert not stale, "mend the tables in tests/mutations: " + json.dumps(stale, indent=1)


def test_every_kind_of_fault_has_its_table():
    kinds = {
        kind: sum(fault.kind == kind for fault in FAULTS)
        for kind in dict.fromkeys(fault.kind for fault in FAULTS)
    }
    least = {
        "analysis": 24,
        "data": 8,
        "devices": 5,
        "honesty": 4,
        "losses": 5,
        "methods": 14,
        "operations": 7,
        "resume": 3,
    }
    assert all(kinds.get(kind, 0) >= count for kind, count in least.items()), kinds


@pytest.mark.slow
def test_every_fault_is_caught(capfd):
    status = inject.main(["--jobs=2"])
    assert status == 0, capfd.readouterr().out


@pytest.fixture
def project(tmp_path):
    """A project of one function and its tests, and a fault in it."""
    root = tmp_path / "project"
    for folder in ("dajax", "tests"):
        (root / folder).mkdir(parents=True)
    (root / "dajax" / "half.py").write_text("def half(x):\n    return x / 2\n")
    shutil.copy(tiny.ROOT / "pyproject.toml", root / "pyproject.toml")
    (root / "tests" / "test_half.py").write_text(
        "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parents[1]))\n"
        "from dajax.half import half\n\n"
        "def test_four():\n    assert half(4) == 2\n\ndef test_zero():\n    assert half(0) == 0\n"
    )
    fault = inject.Fault(
        "toy", "toy: doubles", "dajax/half.py", "x / 2", "x * 2", ("tests/test_half.py::test_four",)
    )
    return root, fault


def test_a_fault_is_caught_by_a_test_that_fails_and_by_nothing_else(project):
    root, fault = project
    assert inject.passes_as_it_is([fault], root) == ""
    outcome = inject.try_fault(fault, root)
    assert outcome.verdict == "caught" and outcome.by == "tests/test_half.py::test_four"
    assert (root / fault.file).read_text().count("x / 2") == 1, "the tree itself stays as it is"
    blind = dataclasses.replace(fault, tests=("tests/test_half.py::test_zero",))
    assert inject.try_fault(blind, root).verdict == "SURVIVED"
    no_python = dataclasses.replace(fault, new="x /")
    assert inject.try_fault(no_python, root).verdict.startswith("INVALID (exit status"), (
        "it does not import: no test has judged it"
    )


def test_a_stale_fault_says_why(project):
    root, fault = project
    assert inject.what_is_wrong(fault, root) == ""
    for changes, says in (
        ({"old": "x / 3"}, "occurs 0 times"),
        ({"old": "x"}, "occurs 2 times"),
        ({"file": "dajax/third.py"}, "no such file"),
        ({"tests": ("tests/test_half.py::test_five",)}, "no such test"),
        ({"tests": ("tests/test_third.py",)}, "no such file"),
        ({"new": "x / 2"}, "changes nothing"),
        ({"tests": ()}, "names no test"),
    ):
        stale = dataclasses.replace(fault, **changes)
        assert says in inject.what_is_wrong(stale, root)
        assert inject.try_fault(stale, root).verdict == "INVALID (stale)"


def test_tests_that_fail_without_a_fault_are_no_judges(project):
    root, fault = project
    (root / "tests" / "test_half.py").write_text("def test_four():\n    assert False\n")
    assert "test_four" in inject.passes_as_it_is([fault], root)


def test_faults_are_chosen_by_the_begin_of_their_names_or_kinds():
    names = {fault.name for fault in inject.chosen(FAULTS, ["honesty", "devices"])}
    assert {name.partition(":")[0] for name in names} == {"honesty", "devices"}
    assert inject.chosen(FAULTS, []) == FAULTS
    with pytest.raises(ValueError, match="no fault begins with 'honestly'"):
        inject.chosen(FAULTS, ["honestly"])


def test_two_faults_of_one_name_and_unknown_keys_are_refused(tmp_path):
    entry = {"name": "a", "file": "f", "old": "x", "new": "y", "tests": ["t"]}
    (tmp_path / "k.json").write_text(json.dumps([entry, entry]))
    with pytest.raises(ValueError, match="two faults are called 'a'"):
        inject.read_faults(tmp_path)
    (tmp_path / "k.json").write_text(json.dumps([entry | {"test": "t"}]))
    with pytest.raises(ValueError, match="an entry has the keys"):
        inject.read_faults(tmp_path)
