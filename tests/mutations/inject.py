"""Puts one fault at a time into a copy of the tree and runs the tests that must notice it.

  python tests/mutations/inject.py                         every fault, one after the other
  python tests/mutations/inject.py honesty mcd --jobs=2    those whose name begins so, two at a time
  python tests/mutations/inject.py --list                  their names, files and tests

The faults lie in the tables beside this file, one *.json for each kind, a list of
  {"name": "what is wrong", "file": "path", "old": "text", "new": "text",
   "tests": ["tests/x/test_y.py::test_z", ...]}
where "old" occurs exactly once in the file (a default test sees to that) and "tests" are as narrow
as can be: a fault costs what they cost.

First the named tests run on the tree as it is, and must pass. A fault is caught when a test fails:
exit status 1 of pytest and a line that says FAILED. An error while collecting, a missing test or a
timeout is none. Exit status 0 if every fault was caught, else 1.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TIMEOUT = 900  # seconds of one fault's tests; a loop that does not end is no failure of a test
KEYS = {"name", "file", "old", "new", "tests"}


@dataclasses.dataclass(frozen=True)
class Fault:
    """One line of a table; `kind` is the table's name, and begins the fault's."""

    kind: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """verdict: "caught", "SURVIVED", or why it is neither; by: the test that failed, or the end of
    pytest's output.
    """

    verdict: str
    by: str
    seconds: float


def read_faults(folder=HERE):
    """Every fault of the tables in a folder, in order. Raises ValueError for an entry of other
    keys, or a name that is there twice.
    """
    found = {}
    for table in sorted(folder.glob("*.json")):
        for entry in json.loads(table.read_text()):
            if set(entry) != KEYS:
                raise ValueError(
                    f"{table.name}: an entry has the keys {sorted(entry)}; expected {sorted(KEYS)}"
                )
            name = f"{table.stem}: {entry['name']}"
            if name in found:
                raise ValueError(f"{table.name}: two faults are called '{entry['name']}'")
            found[name] = Fault(
                table.stem, name, entry["file"], entry["old"], entry["new"], tuple(entry["tests"])
            )
    return list(found.values())


def what_is_wrong(fault, root=ROOT):
    """Why a fault cannot be tried on a tree, or "": its text must occur exactly once, and its tests
    must be there.
    """
    path = root / fault.file
    if not path.is_file():
        return f"{fault.file}: no such file"
    count = path.read_text().count(fault.old)
    if count != 1:
        return f"{fault.file}: the text {fault.old!r} occurs {count} times; expected once"
    if fault.new == fault.old or not fault.tests:
        return "it changes nothing, or names no test"
    for test in fault.tests:
        file, _, function = test.partition("::")
        if not (root / file).is_file():
            return f"{test}: no such file"
        name = function.partition("[")[0]
        if name and not re.search(rf"^def {name}\(", (root / file).read_text(), re.M):
            return f"{test}: no such test"
    return ""


def copy_tree(destination, root=ROOT):
    """The files that a test may need; no history, no caches, no workdirs."""
    names = ("benchmarks", "configs", "dajax", "data_pipeline", "docs", "notebooks", "tests")
    for name in names:
        if (root / name).is_dir():
            shutil.copytree(
                root / name, destination / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
    for path in root.iterdir():
        if path.is_file() and path.suffix in (".py", ".md", ".txt", ".toml"):
            shutil.copy(path, destination / path.name)


def run_tests(tree, tests, *, stop_at_first, timeout=TIMEOUT):
    """(exit status or None after the timeout, output) of pytest on a copy of the tree."""
    # What a session of pytest hands down is not for its grandchildren: they share no finished run,
    # no worker's name.
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTEST_", "DAJAX_TESTS_"))
    }
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    flags = [
        "-n",
        "0",
        "-q",
        "-m",
        "",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        *(["-x"] if stop_at_first else []),
    ]
    command = [sys.executable, "-m", "pytest", *flags, *tests]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",  # a fault may let a name that is no UTF-8 through
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        return None, str(error.stdout)
    return done.returncode, done.stdout


def judge(status, output):
    """(verdict, by) of pytest's exit status and output."""
    failed = re.search(r"^FAILED (\S+)", output, re.M)
    if status == 1 and failed:
        return "caught", failed[1]
    if status == 0:
        return "SURVIVED", ""
    reason = {None: "timeout", 1: "an error, no failure", 5: "no test ran"}.get(
        status, f"exit status {status}"
    )
    return f"INVALID ({reason})", " / ".join(output.strip().splitlines()[-3:])[-300:]


def try_fault(fault, root=ROOT):
    """Copies the tree, puts the fault in, runs its tests: Outcome."""
    begin = time.monotonic()
    problem = what_is_wrong(fault, root)
    if problem:
        return Outcome("INVALID (stale)", problem, 0.0)
    with tempfile.TemporaryDirectory(prefix="dajax-fault-") as folder:
        tree = pathlib.Path(folder)
        copy_tree(tree, root)
        path = tree / fault.file
        path.write_text(path.read_text().replace(fault.old, fault.new))
        verdict, by = judge(*run_tests(tree, fault.tests, stop_at_first=True))
    return Outcome(verdict, by, time.monotonic() - begin)


def passes_as_it_is(faults, root=ROOT):
    """ "" if all named tests pass on the tree without a fault, else what pytest said."""
    tests = sorted({test for fault in faults for test in fault.tests})
    with tempfile.TemporaryDirectory(prefix="dajax-fault-") as folder:
        copy_tree(pathlib.Path(folder), root)
        status, output = run_tests(folder, tests, stop_at_first=False, timeout=4 * TIMEOUT)
    return "" if status == 0 else "\n".join(output.strip().splitlines()[-15:])


def chosen(faults, words):
    """Those whose name begins with one of the words or has it after its kind; all without words.
    Raises ValueError for a word that fits none.
    """

    def fits(fault, word):
        return fault.name.startswith(word) or fault.name.removeprefix(f"{fault.kind}: ").startswith(
            word
        )

    for word in words:
        if not any(fits(fault, word) for fault in faults):
            raise ValueError(f"no fault begins with '{word}'; --list names them")
    return [fault for fault in faults if not words or any(fits(fault, word) for word in words)]


def main(arguments=None):
    """Exit status: 0 if every fault was caught."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="begin of a fault's name, or of its kind")
    parser.add_argument("--jobs", type=int, default=1, help="faults at a time")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    parser.add_argument(
        "--trust", action="store_true", help="do not run the tests on the tree as it is first"
    )
    options = parser.parse_args(arguments)
    faults = chosen(read_faults(), options.words)
    if options.list:
        for fault in faults:
            print(f"{fault.name}\n    {fault.file}\n    " + "\n    ".join(fault.tests))
        return 0
    problem = "" if options.trust else passes_as_it_is(faults)
    if problem:
        print(f"the named tests do not pass on the tree as it is:\n{problem}")
        return 1
    verdicts = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for fault, outcome in zip(faults, pool.map(try_fault, faults), strict=True):
            verdicts.append((fault.kind, outcome.verdict == "caught"))
            took = f"{outcome.seconds:5.0f} s"
            row = f"{outcome.verdict:9} {took}  {fault.name}  [{fault.file}]  {outcome.by}"
            print(row, flush=True)
    print()
    for kind in dict.fromkeys(kind for kind, _ in verdicts):
        of_kind = [is_caught for name, is_caught in verdicts if name == kind]
        print(f"{kind}: {sum(of_kind)} of {len(of_kind)} caught")
    caught = sum(is_caught for _, is_caught in verdicts)
    print(f"in all: {caught} of {len(verdicts)} caught")
    return 0 if caught == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
