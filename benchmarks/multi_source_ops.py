"""What adaptation from several sources adds, at DomainNet's size (600,000 images, 345 classes, 2048
features), against numpy and scikit-learn.

    python benchmarks/multi_source_ops.py [--cases NAME,...] [--repeats 1] [--quick]

cdd_domainnet   CDD of a class-aware batch, value and gradient
mmd             the mean discrepancies of DAN, JAN and CAN's repository, value and gradient
kmeans          cosine k-means of all target features
ensemble        the target's classes from five clusterings, by both rules
refresh         the whole refresh of configs/mscan.py:domainnet, from images made on the way to the
                next loop's pseudo-labels

Every contender runs in a process of its own with the same seeded data. Small cases are interleaved;
of the others, whose features alone take 5 GB, each contender ends before the next begins. Memory is
the peak beyond the features. Fails where dajax disagrees with numpy or, at full size, takes more
than 2 GB beyond the features. 8 GB of memory; half an hour on two cores.
"""

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import refresh
from benchmarks.clustering_contenders import ENSEMBLE, KMEANS, labels_agreement
from benchmarks.harness import markdown_table, race, table_row
from benchmarks.loss_contenders import CDD, MMD, loss_agreement

MMD_KINDS = ("DAN, quadratic", "DAN, linear", "JAN, quadratic", "CAN's MMD", "CAN's JMMD")
LARGE = dict(rows=600_000, width=2048, num_classes=345)
CLUSTERED = dict(separation=7.0)  # as in can_ops.py
# configs/can.py:domainnet: ten classes of six images; its rows of the k-means at a time, which the
# ensemble shares.
CASES = {
    "cdd_domainnet": [dict(num_classes=345, batch_classes=10, rows=6, widths=(2048, 345))],
    # 32: configs/dan.py, configs/jan.py
    "mmd": [
        dict(kind=kind, rows=rows, widths=(2048, 345)) for rows in (32, 512) for kind in MMD_KINDS
    ],
    "kmeans": [LARGE | CLUSTERED | dict(updates=3)],
    "ensemble": [
        LARGE | CLUSTERED | dict(rule=rule, clusterings=5, chunk_size=4096)
        for rule in ("mean", "vote")
    ],
    # twenty images a class and source
    "refresh": [LARGE | dict(sources=5, per_source=6900, rule="mean")],
}
TINY = dict(rows=3000, width=32, num_classes=9)
QUICK_CASES = {
    "cdd_domainnet": [dict(num_classes=9, batch_classes=3, rows=3, widths=(16, 9))],
    "mmd": [dict(kind=kind, rows=8, widths=(16, 9)) for kind in MMD_KINDS],
    "kmeans": [TINY | CLUSTERED | dict(updates=2)],
    "ensemble": [
        TINY | CLUSTERED | dict(rule=rule, clusterings=3, chunk_size=512)
        for rule in ("mean", "vote")
    ],
    "refresh": [TINY | dict(sources=3, per_source=90, rule="mean")],
}
CONTENDERS = {
    "cdd_domainnet": (CDD, loss_agreement),
    "mmd": (MMD, loss_agreement),
    "kmeans": (KMEANS, labels_agreement),
    "ensemble": (ENSEMBLE, labels_agreement),
    "refresh": ({"dajax": refresh.prepare}, refresh.agreement),
}
MAX_MIB = 2e9 / 2**20  # issue 6: 2 GB beyond the features


def title(case, settings):
    """What tells the rows of one case apart."""
    told = [settings[key] for key in ("kind", "rule") if key in settings]
    return ", ".join([case, *told, *([f"2 x {settings['rows']}"] if case == "mmd" else [])])


def measure(case, settings, *, repeats, is_quick):
    """One comparison's rows of the table, dajax's Result, and what is wrong with it: strings."""
    contenders, agreement = CONTENDERS[case]
    is_large, calls = (
        "width" in settings,
        {
            "cdd_domainnet": 20,
            "mmd": 640 // settings["rows"],
        }.get(case, 1),
    )
    results = race(contenders, settings, repeats=repeats, calls=calls, together=not is_large)
    if case == "refresh":  # the only one that makes its features while it is measured
        results["dajax"] = refresh.beyond_features(results["dajax"], settings)
    ours, rows, wrong, name_of_case = results["dajax"], [], [], title(case, settings)
    for name, result in results.items():
        remark, is_close = agreement(ours.answer, result.answer)
        # another distance: its labels may differ
        if not is_close and not name.startswith("scikit-learn"):
            wrong.append(f"{name_of_case}: {remark}")
        rows.append(table_row(name_of_case, name, result, ours, remark))
    if ours.host_mib > MAX_MIB and not is_quick:
        wrong.append(f"{name_of_case}: {ours.host_mib:.0f} MiB beyond the features")
    return rows, ours, wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: does everything run and agree? The figures mean nothing",
    )
    args = parser.parse_args()
    cases = args.cases.split(",")
    if unknown := set(cases) - set(CASES):
        parser.error(f"unknown case {sorted(unknown)[0]!r}; known: {', '.join(CASES)}")

    table, wrong, parts = [], [], ""
    for case in cases:
        for settings in (QUICK_CASES if args.quick else CASES)[case]:
            rows, ours, found = measure(case, settings, repeats=args.repeats, is_quick=args.quick)
            table, wrong = table + rows, wrong + found
            # the table comes last, and this may take half an hour
            print(*(" | ".join(row) for row in rows), sep="\n", file=sys.stderr)
            parts += refresh.parts_table(ours, settings) if case == "refresh" else ""
    print(
        f"dajax on {ours.device}; {os.cpu_count()} CPU cores; median of {args.repeats}"
        f" repeat(s)\n\n{markdown_table(table)}\n{parts}"
    )
    sys.exit("; ".join(wrong) or 0)


if __name__ == "__main__":
    main()
