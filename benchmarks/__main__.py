"""What dajax costs, as ratios within one run.

  python -m benchmarks --list
  python -m benchmarks --out=FILE.md
  python -m benchmarks --only=lovasz,kernels --out=FILE.md
  python -m benchmarks --quick

A case is a race: every contender runs in a process of its own, does the same work on the same
seeded data, and is measured in turn, repeat after repeat. Columns of the table:

  ms        a call, the median of the repeats
  ratio     to the case's first contender: median over repeats (smallest-largest)
  CPU       the same of processor seconds, which other programs on the machine change least
  cores     busy ones: processor seconds over seconds
  MiB       peak beyond the data, of the GPU where one computes; and its ratio
  planned   MiB of working memory that XLA plans for a call
  remark    how far contenders agree; seconds of compilation, which no other figure holds

The file of --out is rewritten after each case, so what a run had measured when it was cut off is
there; a later run, with --only the groups that it lacks, adds to it. Ends with 1 where contenders
disagree or fail.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

from benchmarks import cases, groups, machine
from benchmarks.out_file import OutFile


def listing():
    """One line a group: name, minutes, what it measures."""
    lines = []
    for name in (*groups.DEFAULT, *groups.BY_NAME_ONLY):
        group = groups.module(name)
        only = " (with --only)" if name in groups.BY_NAME_ONLY else ""
        lines.append(f"{name:<12} {group.MINUTES:>4} min  {group.TITLE}{only}")
    return "\n".join(lines)


def run_group(name, out, *, is_quick):
    """Measures a group; prints each case's rows as they come, and gives them to `out`, an OutFile.

    Returns:
      (what is wrong: lines, contenders left out: a set of (package, how to get it)).
    """
    group, rows, wrong, absent = groups.module(name), [], [], set()
    load, begun = machine.load(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dajax-benchmarks-") as folder:
        for case in group.cases(pathlib.Path(folder), is_quick):
            absent |= {lack for lack in map(cases.missing, case.contenders) if lack}
            case = cases.without_missing(case)
            if not case.contenders:
                continue
            found, problems = cases.measure(name, case, is_quick=is_quick)
            rows, wrong = rows + found, wrong + problems
            print(*(" | ".join(row) for row in found), *problems, sep="\n", file=sys.stderr)
            out.add(name, rows, f"{_circumstances(load, begun, is_quick)}, not to its end")
    out.add(name, rows, _circumstances(load, begun, is_quick))
    return wrong, absent


def _circumstances(load, begun, is_quick):
    """The line on when and how a group ran."""
    minutes = (time.monotonic() - begun) / 60
    when = time.strftime("%Y-%m-%d %H:%M")
    said = (
        f"{when}, {minutes:.1f} min, load {load:.1f} at the start, {machine.load():.1f} at the end"
    )
    return f"{said}, --quick: no figure means anything" if is_quick else said


def main(argv=None):
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="the groups, and how long each takes")
    parser.add_argument("--only", metavar="NAME[,NAME]", help="these groups")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, one repeat: does everything run and agree? The figures mean nothing",
    )
    parser.add_argument("--out", metavar="FILE", help="a Markdown file for the table")
    args = parser.parse_args(argv)
    if args.list:
        print(listing())
        return 0
    try:
        names = groups.chosen(args.only)
        out = OutFile(args.out, machine.describe(), (*groups.DEFAULT, *groups.BY_NAME_ONLY))
    except ValueError as error:
        parser.error(str(error))
    if (
        args.quick
    ):  # unoptimised code is enough to see whether it runs, and compiles in half the time
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0"
    wrong, absent = [], set()
    for name in names:
        if lacks := groups.lacking(name):
            print(f"{name}: left out, it needs {', '.join(lacks)}", file=sys.stderr)
            continue
        problems, left_out = run_group(name, out, is_quick=args.quick)
        wrong, absent = wrong + problems, absent | left_out
    print(out.text())
    for package, remedy in sorted(absent):
        print(f"{package} is absent, and so are its rows: {remedy}", file=sys.stderr)
    print(*wrong, sep="\n", file=sys.stderr, end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
