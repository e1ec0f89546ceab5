"""The tables of docs/results: every row of a recipe over several seeds, mean +- standard deviation.

  python docs/scripts/seeds_table.py digits --seeds=3,4,5    about seven minutes a seed on two cores
  python docs/scripts/seeds_table.py compare --seeds=3,4,5          about twenty
  python docs/scripts/seeds_table.py mscan --seeds=3,4,5            about ten
  python docs/scripts/seeds_table.py scenes --seeds=3,4,5           about sixty
  python docs/scripts/seeds_table.py clan --seeds=3,4,5             about ten
  python docs/scripts/seeds_table.py plca_ablations --seeds=3       about twenty-five
  python docs/scripts/seeds_table.py spcl --seeds=3                 about twenty
  python docs/scripts/seeds_table.py bicl --seeds=3                 about twenty
  python docs/scripts/seeds_table.py dacs --seeds=3                 about twenty
  python docs/scripts/seeds_table.py mic --seeds=3                  about forty

A sweep (`run.py --seeds`, dajax/cli/sweep.py) with rows titled as there: once per seed, all
rows of which start from the same source-only stage; skips what is finished, resumes what is not,
prints Markdown. Figures are of the last step.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dajax.analysis import sweep_tables
from dajax.cli import sweep, sweep_plan
from dajax.errors import StopRequested, UserError

MIOU = {
    figure: sweep_tables.SEGMENTATION[figure] for figure in (("miou",), ("reestimated", "miou"))
}
AGGREGATED = {
    figure: sweep_tables.SEGMENTATION[figure] for figure in (("reestimated_aggregated", "miou"),)
}
ACCURACY = {("accuracy",): "accuracy in % on all 1,797 target images"}
FLOOR = {"source_only": "source only", "adabn": "AdaBN"}
MIXING = {
    "no_teacher": "without teacher",
    "no_mixing": "without mixing",
    "no_jitter": "without jitter and blur",
    "statistics_of_passes": "statistics as published",
    "teacher_predicts": "the teacher evaluated",
}
# Recipe, the figures of a stage's result with their titles, and the stages with theirs.
TABLES = {
    "digits": (
        "configs/can.py:ablations",
        ACCURACY,
        FLOOR
        | {
            "can_weight0": "CAN, CDD weight 0",
            "can_intra_only": "CAN, intra-class only",
            "can": "**CAN**",
        },
    ),
    "compare": (
        "configs/compare_cls.py",
        ACCURACY,
        FLOOR
        | {
            "dann": "DANN",
            "cdan": "CDAN",
            "dan": "DAN",
            "jan": "JAN",
            "mcd": "MCD",
            "coral": "Deep CORAL",
            "mcc": "MCC",
            "bnm": "BNM",
            "fbnm": "FBNM",
            "afn": "AFN",
            "mdd": "MDD",
            "self_ensemble": "SE",
            "shot_source": "SHOT's source stage",
            "shot": "SHOT",
            "control": "control: no loss on the target",
            "can_weight0": "CAN, CDD weight 0",
            "can_intra_only": "CAN, intra-class only",
            "can": "**CAN**",
        },
    ),
    "mscan": (
        "configs/mscan.py",
        ACCURACY,
        {
            "source_only": "source only, sources merged",
            "adabn": "AdaBN, sources merged",
            "can_merged": "CAN, sources merged",
            "mscan_without_bsa": "MSCAN without BSA",
            "mscan": "**MSCAN**",
            "m3sda": "M3SDA",
        },
    ),
    "scenes": (
        "configs/compare_seg.py",
        MIOU | AGGREGATED,
        FLOOR
        | {
            "control": "control of the next six",
            "adaptsegnet": "**AdaptSegNet**",
            "advent": "**AdvEnt**",
            "minent": "**MinEnt**",
            "max_square": "**MaxSquare**",
            "max_square_iw": "**MaxSquare+IW**",
            "fda_01": "**FDA**, one network, beta 0.01",
            "plca_control": "PLCA's control",
            "plca": "**PLCA**",
            "cbst_control": "CBST's control",
            "cbst_0": "**CBST**, one round",
            "cbst_2": "**CBST**, three rounds",
            "fada_control": "FADA's control",
            "fada": "**FADA**",
            "self_distillation": "then self-distillation",
            "intrada_control": "IntraDA's control",
            "intrada": "AdvEnt, then **IntraDA**",
            "pixmatch_control": "PixMatch's control",
            "pixmatch": "**PixMatch**",
            "proda_control": "ProDA's control",
            "warm_up": "ProDA's warm-up",
            "proda": "then **ProDA**, stage 1",
            "oracle": "oracle",
        },
    ),
    "fda": (
        "configs/fda.py",
        MIOU,
        FLOOR
        | {"control": "control"}
        | {f"fda_{name}": f"FDA, beta 0.{name}" for name in ("01", "05", "09")}
        | {"mbt_0": "mean of the three: **FDA-MBT**"}
        | {f"sst1_{name}": f"self-training, beta 0.{name}" for name in ("01", "05", "09")}
        | {"mbt_1": "mean of the three: **FDA-MBT**, one round", "oracle": "oracle"},
    ),
    "maxsquare_multi": (
        "configs/maxsquare.py:scenes,levels=multi",
        MIOU,
        FLOOR
        | {
            "control": "control, two heads",
            "max_square_iw_multi": "**MaxSquare+IW+Multi**",
            "oracle": "oracle",
        },
    ),
    "clan": (
        "configs/clan.py",
        MIOU,
        FLOOR | {"control": "CLAN's control", "clan": "**CLAN**", "oracle": "oracle"},
    ),
    "plca_ablations": (
        "configs/plca.py:ablations",
        MIOU | AGGREGATED,
        FLOOR
        | {
            "cross_entropy": "cross-entropy",
            "control": "+ Lovász",
            "feature_level": "+ feature level",
            "both_levels": "+ prediction level",
            "plca": "+ LSR: **PLCA**",
            "similarity": "Sim-PLCA",
            "no_aggregation": "PLCA without aggregation",
            "oracle": "oracle",
        },
    ),
    "spcl": (
        "configs/spcl.py:ablations",
        MIOU,
        FLOOR
        | {
            "control": "control",
            "warm_up": "warm-up (AdaptSegNet)",
            "no_contrast": "then without contrast",
            "contrast_source": "+ contrast, source",
            "spcl": "+ contrast, target: **SPCL**",
            "self_training": "then **self-training**",
            "oracle": "oracle",
        },
    ),
    "bicl": (
        "configs/bicl.py:ablations",
        MIOU,
        FLOOR
        | {
            "control": "control",
            "base": "L_base, one round",
            "forward": "+ forward contrast",
            "forward_backward": "+ backward contrast",
            "uncalibrated": "+ dynamic labels, not calibrated",
            "bicl_0": "+ calibrated: **BiCL**, one round",
            "bicl_1": "**BiCL**, two rounds",
            "oracle": "oracle",
        },
    ),
    "dacs": (
        "configs/dacs.py:ablations",
        MIOU,
        FLOOR | {"control": "control", "dacs": "**DACS**"} | MIXING | {"oracle": "oracle"},
    ),
    "mic": (
        "configs/mic.py:ablations",
        MIOU,
        FLOOR
        | {"control": "control", "mic": "**MIC** with DAFormer's switches"}
        | MIXING
        | {
            "no_rare_classes": "without rare class sampling",
            "no_feature_distance": "without feature distance",
            "no_masks": "without masks: **DAFormer**'s switches",
            "oracle": "oracle",
        },
    ),
}


def main():
    """Command line; flags that it does not know go to run.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", default="3,4,5")
    parser.add_argument(
        "--folder",
        type=pathlib.Path,
        default=ROOT / "runs" / "seeds_table",
        help="one workdir a seed",
    )
    args, flags = parser.parse_known_args()
    recipe, figures, rows = TABLES[args.table]
    try:
        seeds = sweep_plan.parse_seeds(args.seeds)
        runs = [
            sweep_plan.make_run(
                "", seed, str(ROOT / recipe), flags, args.folder / f"{args.table}-seed{seed}"
            )
            for seed in seeds
        ]
        failures = sweep.execute(runs, args.folder)
        results = sweep.results_of(runs)
        for figure, title in figures.items():
            print(f"\n{title}, at the last step (sample standard deviation)\n")
            print(sweep_tables.markdown(results, figure, rows))
        sweep.report_failures(failures, runs)
    except StopRequested as stop:
        print("stopped; to continue, run the same command again")
        sys.exit(128 + stop.signal)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
