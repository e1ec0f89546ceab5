"""README's tables: every row of a recipe over several seeds, mean +- standard deviation.

  python benchmarks/seeds_table.py digits --seeds=3,4,5           about seven minutes a seed on two cores
  python benchmarks/seeds_table.py adaptsegnet --seeds=3,4,5      on the scenes; about ten minutes a seed
  python benchmarks/seeds_table.py clan --seeds=3,4,5

Runs `run.py` once per seed (all rows of a seed start from the same source-only stage), skips what is finished, resumes what is not,
and prints Markdown. Figures are of the last step.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCENES_ROWS = {"source_only": "source only", "adabn": "AdaBN", "control": "step-matched control (target loss 0)"}
# Recipe, the figures of a stage's result with their titles, and the stages with theirs.
MIOU = {("miou",): "mIoU in % on 100 target images", ("reestimated", "miou"): "the same, BN statistics re-estimated on unlabelled target images"}
TABLES = {
    "digits": (
        "configs/can.py:ablations",
        {("accuracy",): "accuracy in % on all 1,797 target images"},
        {
            "source_only": "source only", "adabn": "AdaBN", "can_weight0": "CAN, CDD weight 0", "can_intra_only": "CAN, intra-class only",
            "can": "**CAN**",
        },
    ),
    "adaptsegnet": ("configs/adaptsegnet.py", MIOU, SCENES_ROWS | {"adaptsegnet": "**AdaptSegNet**", "oracle": "oracle"}),
    "clan": ("configs/clan.py", MIOU, SCENES_ROWS | {"clan": "**CLAN**", "oracle": "oracle"}),
}


def run_seed(recipe, seed, workdir, flags):
    """Trains (or finds finished) one seed; its stages' results."""
    command = [sys.executable, "run.py", f"--config={recipe}", f"--config.seed={seed}", f"--workdir={workdir}", *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    return json.loads((workdir / "results.json").read_text())["stages"]


def table(results, figure, rows):
    """Markdown of {seed: stages}.

    Args:
      figure: keys that lead to a number in a stage's result.
      rows: {stage: title}.
    """
    lines = [f"| | {' | '.join(f'seed {seed}' for seed in results)} | mean ± std |", "|---" * (len(results) + 2) + "|"]
    for stage, title in rows.items():
        values = []
        for stages in results.values():
            value = stages[stage]
            for key in figure:
                value = value[key]
            values.append(value)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        lines.append(f"| {title} | {' | '.join(f'{value:.1f}' for value in values)} | {statistics.mean(values):.1f} ± {spread:.1f} |")
    return "\n".join(lines)


def main():
    """Command line; flags that it does not know go to run.py."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", default="3,4,5")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "runs" / "seeds_table", help="one workdir a seed")
    args, flags = parser.parse_known_args()
    recipe, figures, rows = TABLES[args.table]
    results = {seed: run_seed(recipe, seed, args.folder / f"{args.table}-seed{seed}", flags) for seed in args.seeds.split(",")}
    for figure, title in figures.items():
        print(f"\n{title}, at the last step (sample standard deviation)\n")
        print(table(results, figure, rows))


if __name__ == "__main__":
    main()
