"""README's table on digits: every row of configs/can.py:ablations over several seeds, mean +- standard deviation.

  python benchmarks/digits_table.py --seeds=3,4,5

Runs `run.py` once per seed (all rows of a seed start from the same source-only stage), skips what is finished, resumes what is not,
and prints Markdown. About ten minutes a seed on two cores.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS = {
    "source_only": "source only",
    "adabn": "AdaBN",
    "can_weight0": "CAN, CDD weight 0",
    "can_intra_only": "CAN, intra-class only",
    "can": "CAN",
}


def run_seed(seed, folder, flags):
    """Trains (or finds finished) one seed; its stages' results."""
    workdir = folder / f"seed{seed}"
    command = [sys.executable, "run.py", "--config=configs/can.py:ablations", f"--config.seed={seed}", f"--workdir={workdir}", *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    return json.loads((workdir / "results.json").read_text())["stages"]


def table(results):
    """Markdown of {seed: stages}: target accuracy at the last step."""
    seeds = list(results)
    lines = [f"| | {' | '.join(f'seed {seed}' for seed in seeds)} | mean ± std |", "|---" * (len(seeds) + 2) + "|"]
    for stage, name in ROWS.items():
        values = [results[seed][stage]["accuracy"] for seed in seeds]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells = " | ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {name} | {cells} | {statistics.mean(values):.1f} ± {spread:.1f} |")
    return "\n".join(lines)


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="3,4,5")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "runs" / "digits_table", help="one workdir a seed")
    args, flags = parser.parse_known_args()
    results = {seed: run_seed(seed, args.folder, flags) for seed in args.seeds.split(",")}
    print("\nAccuracy in % on all 1,797 target images, at the last step (sample standard deviation)\n")
    print(table(results))


if __name__ == "__main__":
    main()
