"""README's tables: every row of a recipe over several seeds, mean +- standard deviation.

  python benchmarks/seeds_table.py digits --seeds=3,4,5           about seven minutes a seed on two cores
  python benchmarks/seeds_table.py scenes --seeds=3,4,5           about fifteen
  python benchmarks/seeds_table.py clan --seeds=3,4,5             about ten
  python benchmarks/seeds_table.py plca_ablations --seeds=3       about twenty-five
  python benchmarks/seeds_table.py spcl --seeds=3                 about twenty
  python benchmarks/seeds_table.py bicl --seeds=3                 about twenty

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
MIOU = {
    ("miou",): "mIoU in % on 100 target images, BN statistics as trained",
    ("reestimated", "miou"): "the same, BN statistics re-estimated on unlabelled target images",
}
AGGREGATED = {("reestimated_aggregated", "miou"): "the same, and spatial aggregation at test time"}
FLOOR = {"source_only": "source only", "adabn": "AdaBN"}
# Recipe, the figures of a stage's result with their titles, and the stages with theirs.
TABLES = {
    "digits": (
        "configs/can.py:ablations",
        {("accuracy",): "accuracy in % on all 1,797 target images"},
        FLOOR | {"can_weight0": "CAN, CDD weight 0", "can_intra_only": "CAN, intra-class only", "can": "**CAN**"},
    ),
    "scenes": (
        "configs/compare_seg.py",
        MIOU | AGGREGATED,
        FLOOR | {
            "control": "AdaptSegNet's control", "adaptsegnet": "**AdaptSegNet**", "plca_control": "PLCA's control", "plca": "**PLCA**",
            "oracle": "oracle",
        },
    ),
    "clan": ("configs/clan.py", MIOU, FLOOR | {"control": "CLAN's control", "clan": "**CLAN**", "oracle": "oracle"}),
    "plca_ablations": (
        "configs/plca.py:ablations",
        MIOU | AGGREGATED,
        FLOOR | {
            "cross_entropy": "cross-entropy", "control": "+ Lovász", "feature_level": "+ feature level", "both_levels": "+ prediction level",
            "plca": "+ LSR: **PLCA**", "similarity": "Sim-PLCA", "no_aggregation": "PLCA without aggregation", "oracle": "oracle",
        },
    ),
    "spcl": (
        "configs/spcl.py:ablations",
        MIOU,
        FLOOR | {
            "control": "control", "warm_up": "warm-up (AdaptSegNet)", "no_contrast": "then without contrast", "contrast_source": "+ contrast, source",
            "spcl": "+ contrast, target: **SPCL**", "self_training": "then **self-training**", "oracle": "oracle",
        },
    ),
    "bicl": (
        "configs/bicl.py:ablations",
        MIOU,
        FLOOR | {
            "control": "control", "base": "L_base, one round", "forward": "+ forward contrast", "forward_backward": "+ backward contrast",
            "uncalibrated": "+ dynamic labels, not calibrated", "bicl_0": "+ calibrated: **BiCL**, one round", "bicl_1": "**BiCL**, two rounds",
            "oracle": "oracle",
        },
    ),
}


def run_seed(recipe, seed, workdir, flags):
    """Trains (or finds finished) one seed; its stages' results."""
    command = [sys.executable, "run.py", f"--config={recipe}", f"--config.seed={seed}", f"--workdir={workdir}", *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    return json.loads((workdir / "results.json").read_text())["stages"]


def _figure(result, keys):
    """The number that keys lead to; None for a stage that was not run (--config.stages)."""
    for key in keys:
        result = result.get(key, {})
    return result if result != {} else None


def table(results, figure, rows):
    """Markdown of {seed: stages}.

    Args:
      figure: keys that lead to a number in a stage's result.
      rows: {stage: title}.
    """
    lines = [f"| | {' | '.join(f'seed {seed}' for seed in results)} | mean ± std |", "|---" * (len(results) + 2) + "|"]
    for stage, title in rows.items():
        values = [_figure(stages.get(stage, {}), figure) for stages in results.values()]
        found = [value for value in values if value is not None]
        cells = ["-" if value is None else f"{value:.1f}" for value in values]
        spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
        lines.append(f"| {title} | {' | '.join(cells)} | {f'{statistics.mean(found):.1f}{spread}' if found else '-'} |")
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
