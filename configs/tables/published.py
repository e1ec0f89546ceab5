"""Figures that others have published, in the order of their tables.

TABLES: {file: Table}. A row is {name: figures in the order of the columns}; None where the table
has none, and so where only a mean is known here. Rows of VGG-16 end in V; all others are ResNets.

BEST: whose figures are those of the best snapshot on the evaluation set, an oracle's, as their
code, log or authors say. Of those not named it is the last step (PLCA), or they do not say.
"""

from typing import NamedTuple


class Table(NamedTuple):
    """title: what is measured, of what; source: whose table; note: what is odd about it."""

    title: str
    source: str
    columns: tuple[str, ...]
    rows: dict
    note: str = ""


# CLAN's (its Demo.csv), AdvEnt's and MaxSquare's code evaluates every 2,000 steps or each epoch and
# tells the best, AdaptSegNet's users one of its snapshots, 5,000 steps apart; FDA's is one of 60;
# PixMatch's and DASS' (BiCL) code keeps the best of the validation set, and so does SPCL's, warm-up
# and ablations included. MCC's keeps the best of the tests on the target every 500 steps
# (best_acc). MDD's prints one every 1,000 steps and keeps none, AFN's measures several epochs:
# neither says which it tells.
BEST = ("AdaptSegNet", "TAN", "TAN V", "CLAN", "CLAN V", "AdvEnt", "AdvEnt V", "FDA")
BEST += ("AdvEnt + MinEnt", "MaxSquare", "PixMatch", "SPCL", "SPCL V", "BiCL", "MCC")
_SPCL_ROWS = ("Warm-up", "+ self-training", "+ contrast, source", "+ contrast, both")
BEST += (*_SPCL_ROWS, "L_base", "+ forward", "+ backward", "+ dynamic, not calibrated")
BEST += tuple(f"alpha {x}" for x in ("0.0", "0.1", "0.2", "0.5", "0.8", "1.0"))
BEST += tuple(f"lambda {x}" for x in ("0.01", "0.1", "0.5", "1", "2", "10"))

_CAN = "the slides of CAN's authors"
_MIOU = "mIoU in % on Cityscapes' validation set"
_16_13 = ("SYNTHIA, 16", "SYNTHIA, 13")


def _mean(*names_and_means, columns):
    """Rows of which the mean alone is known here."""
    return {name: (*(None,) * (columns - 1), mean) for name, mean in names_and_means}


TABLES = {
    "can_office31": Table(
        "Office-31, accuracy in %, ResNet-50",
        _CAN,
        ("A-W", "D-W", "W-D", "A-D", "D-A", "W-A", "mean"),
        {
            "Source": (68.4, 96.7, 99.3, 68.9, 62.5, 60.7, 76.1),
            "RevGrad": (82.0, 96.9, 99.1, 79.7, 68.2, 67.4, 82.2),
            "DAN": (80.5, 97.1, 99.6, 78.6, 63.6, 62.8, 80.4),
            "JAN": (85.4, 97.4, 99.8, 84.7, 68.6, 70.0, 84.3),
            "MADA": (90.0, 97.4, 99.6, 87.8, 70.3, 66.4, 85.2),
            "CDAN": (94.1, 98.6, 100.0, 92.9, 71.0, 69.3, 87.7),
            "GSDA": (95.7, 99.1, 100.0, 94.8, 73.5, 74.9, 89.7),
            "CAN, intra-class only": (93.2, 98.4, 99.8, 92.9, 76.5, 76.0, 89.5),
            "CAN": (94.5, 99.1, 99.8, 95.0, 78.0, 77.0, 90.6),
            # not in the slides, the same protocol
            "AFN": (88.8, 98.4, 99.8, 87.7, 69.8, 69.7, 85.7),
            "SHOT": (90.1, 98.4, 99.9, 94.0, 74.7, 74.3, 88.6),
            **_mean(("MDD", 88.9), ("MCC", 89.4), columns=7),
        },
        "AFN, SHOT, MDD and MCC are not on the slides; AFN's and SHOT's are their authors' means of"
        " three seeds (vanilla/README.md, results.md), MDD's and MCC's the papers' by tllib's"
        " README",
    ),
    "can_visda2017": Table(
        "VisDA-2017, mean-class accuracy in %, ResNet-101",
        _CAN,
        ("mean",),
        {
            "Source": (49.4,),
            "RevGrad": (57.4,),
            "DAN": (62.8,),
            "JAN": (65.7,),
            "MCD": (71.9,),
            "ADR": (74.8,),
            "SE": (84.3,),
            "DTA": (81.5,),
            "CAN, intra-class only": (83.9,),
            "CAN": (87.2,),
            **_mean(("AFN", 76.1), ("MCC", 78.8), ("SHOT", 82.9), columns=1),
        },
        "SE's network is a ResNet-152; AFN, MCC and SHOT are not on the slides, see can_office31;"
        " SHOT's is that of its results.md, the mean of three seeds",
    ),
    "can_domainnet": Table(
        "DomainNet, accuracy in % by target, ResNet-101",
        _CAN,
        ("clipart", "infograph", "painting", "quickdraw", "real", "sketch", "mean"),
        {
            **_mean(
                ("Single best: Source", 26.4),
                ("Single best: RevGrad", 27.8),
                ("Single best: DAN", 28.6),
                ("Single best: JAN", 26.7),
                ("Single best: MCD", 32.2),
                ("Single best: SE", 22.0),
                columns=7,
            ),
            "Single best: CAN": (63.8, 24.0, 55.7, 27.1, 67.7, 51.9, 48.4),
            **_mean(("DCTN", 38.2), ("M3SDA", 42.6), columns=7),
            "CAN, sources merged": (67.4, 25.3, 56.2, 26.3, 72.5, 56.2, 50.7),
            "MSCAN without BSA": (68.5, 27.3, 57.4, 28.1, 72.5, 58.1, 51.9),
            "MSCAN": (69.3, 28.0, 58.6, 30.3, 73.3, 59.5, 53.2),
            **_mean(("Oracle", 63.0), columns=7),
        },
        "single best: of five sources the one that is best for the target's labels, an oracle's"
        " choice",
    ),
    "clan_gta5": Table(
        f"GTA5, {_MIOU}",
        "CLAN's table 1",
        ("GTA5",),
        {
            "Source": (36.6,),
            "TAN": (41.4,),
            "CLAN": (43.2,),
            "Source V": (17.9,),
            "FCNs in the wild V": (27.1,),
            "MCD V": (28.8,),
            "CDA V": (28.9,),
            "CyCADA, features V": (29.2,),
            "TAN V": (35.0,),
            "CLAN V": (36.6,),
        },
        "the other works' source-only rows of VGG-16 reach 24.9; TAN is single-level AdaptSegNet",
    ),
    "clan_synthia": Table(
        f"SYNTHIA, {_MIOU}",
        "CLAN's table 2",
        ("SYNTHIA, 13",),
        {
            "Source": (38.6,),
            "TAN": (45.9,),
            "CLAN": (47.8,),
            "Source V": (20.2,),
            "FCNs in the wild V": (22.9,),
            "Cross-city V": (35.7,),
            "CBST V": (36.1,),
            "TAN V": (37.6,),
            "CLAN V": (39.3,),
        },
        "the other works' source-only rows of VGG-16 reach 26.2",
    ),
    "plca_ablations": Table(
        _MIOU,
        "PLCA's table 1",
        ("GTA5", "SYNTHIA, 16"),
        {
            "Cross-entropy": (31.5, 35.4),
            "+ Lovasz": (34.3, 36.4),
            "+ association of features": (39.7, 40.9),
            "+ association of predictions": (47.4, 46.3),
            "+ LSR: PLCA": (47.7, 46.8),
            "Sim-PLCA": (41.8, 42.5),
            "PLCA without aggregation": (45.6, 44.6),
        },
    ),
    "plca_gta5": Table(
        f"GTA5, {_MIOU}",
        "PLCA's comparison, tables 2 and 3",
        ("GTA5",),
        {
            "Source": (34.3,),
            "AdaptSegNet": (42.4,),
            "CLAN": (43.2,),
            "AdvEnt + MinEnt": (45.5,),
            "SSF-DAN": (45.4,),
            "DISE": (45.4,),
            "MaxSquare": (46.4,),
            "PatchAlign": (46.5,),
            "CRST": (47.1,),
            "PLCA": (47.7,),
        },
        "the table says ADVENT of 45.5, which is two networks' mean: AdvEnt's and MinEnt's",
    ),
    "plca_synthia": Table(
        f"SYNTHIA, {_MIOU}",
        "PLCA's comparison, tables 2 and 3",
        _16_13,
        {
            "Source": (36.4, 42.2),
            "AdaptSegNet": (None, 46.7),
            "CLAN": (None, 47.8),
            "AdvEnt": (41.2, 48.0),
            "SSF-DAN": (None, 50.0),
            "DISE": (41.5, 48.7),
            "MaxSquare": (41.4, 48.2),
            "PatchAlign": (40.0, 46.5),
            "CRST": (43.8, 50.1),
            "PLCA": (46.8, 54.0),
        },
    ),
    "spcl_gta5": Table(
        f"GTA5, {_MIOU}; tail: of eleven rare classes",
        "SPCL's table 1",
        ("GTA5", "GTA5, tail"),
        {
            "Source": (36.8, 21.7),
            "AdaptSegNet": (42.4, None),
            "CLAN": (43.2, None),
            "AdvEnt": (43.8, None),
            "SSF-DAN": (45.4, None),
            "CBST": (45.9, None),
            "APODA": (45.9, None),
            "IntraDA": (46.3, None),
            "CRST": (47.1, None),
            "PLCA": (47.7, None),
            "WeakSegDA": (48.2, None),
            "BDL": (48.5, None),
            "CrCDA": (48.6, None),
            "SIM": (49.2, None),
            "FADA": (49.2, None),
            "LDR": (49.5, None),
            "CCM": (49.9, None),
            "CAG-UDA": (50.2, None),
            "PixMatch": (50.3, None),
            "FDA": (50.5, None),
            "SPCL": (52.1, 36.7),
            "AdvEnt V": (36.1, None),
            "CBST V": (36.1, None),
            "APODA V": (38.0, None),
            "CrCDA V": (39.1, None),
            "FADA V": (43.8, None),
            "SPCL V": (44.8, 26.0),
        },
        "CAG-UDA's network is DeepLab-v3+",
    ),
    "spcl_synthia": Table(
        f"SYNTHIA, {_MIOU}",
        "SPCL's table 2",
        _16_13,
        {
            "Source": (35.3, 41.0),
            "AdaptSegNet": (39.5, 45.9),
            "CLAN": (None, 47.8),
            "AdvEnt": (40.8, 47.6),
            "SSF-DAN": (None, 50.0),
            "CBST": (42.6, 48.9),
            "APODA": (None, 53.1),
            "IntraDA": (41.7, 48.9),
            "CRST": (43.8, 50.1),
            "CrCDA": (42.9, 50.0),
            "BDL": (None, 51.4),
            "WeakSegDA": (44.3, 51.9),
            "SIM": (None, 52.1),
            "FADA": (45.2, 52.5),
            "FDA": (None, 52.5),
            "CAG-UDA": (None, 52.6),
            "CCM": (45.2, 52.9),
            "LDR": (None, 53.1),
            "PLCA": (46.8, 54.0),
            "PixMatch": (46.1, 54.5),
            "SPCL": (47.2, 54.4),
            "AdvEnt V": (31.4, 36.6),
            "CBST V": (35.4, 36.1),
            "CrCDA V": (35.2, 41.1),
            "APODA V": (None, 41.1),
            "FADA V": (39.5, 46.0),
            "SPCL V": (40.5, 48.3),
        },
        "SPCL V: its 13 classes average to 47.5",
    ),
    "spcl_synscapes": Table(
        f"Synscapes, {_MIOU}; tail: of eleven rare classes",
        "SPCL's table 3",
        ("Synscapes", "Synscapes, tail"),
        {
            "Source": (45.3, 28.9),
            "AdaptSegNet": (52.7, 36.3),
            "IntraDA": (54.2, 38.8),
            "SPCL": (57.1, 44.1),
        },
    ),
    "spcl_ablations": Table(
        _MIOU,
        "SPCL's table 4",
        ("GTA5", *_16_13),
        {
            "Warm-up": (41.4, 39.5, 45.9),
            "+ self-training": (44.5, 42.3, 49.1),
            "+ contrast, source": (43.9, 40.8, 47.5),
            "+ contrast, both": (49.2, 45.8, 52.6),
            "SPCL": (52.1, 47.2, 54.4),
        },
    ),
    "spcl_decay": Table(
        f"GTA5, {_MIOU}, by the decay of the prototypes",
        "SPCL's table 5",
        ("GTA5",),
        {
            "alpha 0.0": (51.1,),
            "alpha 0.1": (52.1,),
            "alpha 0.2": (52.1,),
            "alpha 0.5": (52.0,),
            "alpha 0.8": (51.7,),
            "alpha 1.0": (48.6,),
        },
    ),
    "spcl_weight": Table(
        f"GTA5, {_MIOU}, by the weight of the contrast",
        "SPCL's table 6",
        ("GTA5",),
        {
            "lambda 0.01": (50.3,),
            "lambda 0.1": (51.4,),
            "lambda 0.5": (51.9,),
            "lambda 1": (52.1,),
            "lambda 2": (51.8,),
            "lambda 10": (50.1,),
        },
    ),
    "bicl_gta5": Table(
        f"GTA5, {_MIOU}, and on its test set",
        "the slides of BiCL's authors",
        ("GTA5", "GTA5, test"),
        {
            "Source": (35.2, None),
            "AdaptSegNet": (42.4, 44.3),
            "CBST": (45.9, 47.1),
            "CRST": (47.1, 49.9),
            "PLCA": (47.7, None),
            "CAG-UDA": (50.2, None),
            "FDA": (50.5, 51.2),
            "TPLD": (51.2, None),
            "ProDA": (56.5, 57.6),
            "CorDA": (56.6, 57.5),
            "BiCL": (57.1, 58.5),
        },
        "ProDA: its first stage is measured, the published figure is after two more; slips of the"
        " slides: CBST's test row is CRST's of the validation set, CRST's is CCM's;"
        " BiCL's classes average to 56.3 and 58.7",
    ),
    "bicl_synthia": Table(
        f"SYNTHIA, {_MIOU}",
        "the slides of BiCL's authors",
        _16_13,
        {
            "Source": (32.5, 37.6),
            "CBST": (38.9, 42.6),
            "AdaptSegNet": (None, 46.7),
            "CRST": (43.8, 50.1),
            "CAG-UDA": (44.5, 51.5),
            "FDA": (None, 52.5),
            "TPLD": (47.3, 53.5),
            "PLCA": (46.8, 54.0),
            "CorDA": (55.0, 62.8),
            "ProDA": (55.1, 61.3),
            "BiCL": (55.6, 62.9),
        },
        "ProDA: as in bicl_gta5; CBST's classes average to 42.6 and 48.9, BiCL's to 55.1 and 62.8",
    ),
    "bicl_ablations": Table(
        _MIOU,
        "the slides of BiCL's authors",
        ("GTA5", "SYNTHIA, 16"),
        {
            "L_base": (49.5, 45.1),
            "+ forward": (51.2, 48.8),
            "+ backward": (53.5, 51.3),
            "+ dynamic, not calibrated": (55.3, 53.5),
            "BiCL": (57.1, 55.6),
        },
        "the slide does not say how many classes of SYNTHIA; BiCL's figure is that of 16",
    ),
}
