"""CAN's two own operations, CDD and cosine k-means, against what numpy and scikit-learn users would
write.

    python benchmarks/can_ops.py [--cases cdd,kmeans_visda,kmeans_domainnet] [--repeats 3] [--quick]

Every contender runs in its own process with the same seeded synthetic data. Time is the median of
interleaved repeats, without compilation; memory is the peak beyond the features themselves. The
full run takes 6 GB and a few minutes on two cores.
"""

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.clustering_contenders import KMEANS, labels_agreement
from benchmarks.harness import markdown_table, race, table_row
from benchmarks.loss_contenders import CDD, loss_agreement

# `separation`: of the clusters, against noise of 1 along any direction. More, and scikit-learn
# converges and stops before the last update; less, and so many rows lie on borders that the
# rounding of float32 moves more than 1 - MIN_EQUAL_LABELS of them.
CASES = {
    # The class-aware batch of VisDA-2017 (configs/can.py): pooled ResNet features and class
    # probabilities.
    "cdd": dict(num_classes=12, batch_classes=6, rows=10, widths=(2048, 12)),
    # the target images; ResNet-101
    "kmeans_visda": dict(rows=55_388, width=2048, num_classes=12, separation=5.0, updates=5),
    # all six domains; ResNet-18 or -34
    "kmeans_domainnet": dict(rows=600_000, width=512, num_classes=345, separation=7.0, updates=3),
}
QUICK_CASES = {
    "cdd": dict(num_classes=4, batch_classes=2, rows=3, widths=(16, 4)),
    "kmeans_visda": dict(rows=3000, width=32, num_classes=5, separation=5.0, updates=2),
    "kmeans_domainnet": dict(rows=2500, width=16, num_classes=9, separation=5.0, updates=2),
}


def measure(case, settings, repeats):
    """One case's rows of the table, the device dajax used, and whether dajax and numpy agree."""
    # CDD takes milliseconds
    contenders, agreement, calls = (
        (CDD, loss_agreement, 20) if case == "cdd" else (KMEANS, labels_agreement, 1)
    )
    results = race(contenders, settings, repeats=repeats, calls=calls)
    ours, rows, agrees = results["dajax"], [], True
    for name, result in results.items():
        remark, is_close = agreement(ours.answer, result.answer)
        # another distance: its labels may differ
        agrees &= is_close or name.startswith("scikit-learn")
        rows.append(table_row(case, name, result, ours, remark))
    return rows, ours.device, agrees


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: does everything run and agree? The times mean nothing",
    )
    args = parser.parse_args()
    cases = args.cases.split(",")
    if unknown := set(cases) - set(CASES):
        parser.error(f"unknown case {sorted(unknown)[0]!r}; known: {', '.join(CASES)}")

    table, wrong = [], []
    for case in cases:
        rows, device, agrees = measure(
            case, (QUICK_CASES if args.quick else CASES)[case], args.repeats
        )
        table += rows
        wrong += [] if agrees else [case]
    print(
        f"dajax on {device}; {os.cpu_count()} CPU cores; median of {args.repeats} interleaved"
        " repeats\n"
    )
    print(markdown_table(table))
    sys.exit(f"dajax and numpy disagree: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
