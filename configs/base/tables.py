"""What the recipes of configs/tables share: which run measures which cell of a published table.
configs/tables/published.py has the figures, dajax/cli/table.py runs and prints.

  --config=tables/NAME            its rows in small, on the embedded digits or scenes, one column
  --config=tables/NAME:gta5=DIR,synthia=DIR,cityscapes=DIR,weights=DIR      on the published sets

Arguments: the folder of a data set by its name (a column whose sets are not all there is not
measured); `weights`, a folder that holds the files of WEIGHTS, or none for random ones; `steps`, of
every stage at most so many, for a look at what a table does.

A ROW is a line, {name in the published table: row(recipe, stage)}; a row of the published table
without one, or whose recipe there is not, is printed with its published figure alone.
"""

import importlib
import importlib.util
import os
from typing import NamedTuple

from ml_collections import ConfigDict

from dajax.recipes.base import arguments
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base
from dajax.recipes.tables import published

# {a word of a run: its file of weights}; the recipes say where they are to be had.
WEIGHTS = {
    "vgg16": "vgg16-00b39a1b.pth",
    "plca": "resnet101-imagenet.pth",
    "spcl": "resnet101-5d3b4d8f.pth",
    "fada": "resnet101-5d3b4d8f.pth",
    "proda": "resnet101-5d3b4d8f.pth",
    "cbst": "resnet101-5d3b4d8f.pth",
    "advent": "DeepLab_resnet_pretrained_imagenet.pth",
    "intrada": "DeepLab_resnet_pretrained_imagenet.pth",
    "fda": "DeepLab_init.pth",
    "visda2017": "resnet101-5d3b4d8f.pth",
    "domainnet": "resnet101-5d3b4d8f.pth",
    "office31": "resnet50-19c8e357.pth",
}
DEEPLAB = "DeepLab_resnet_pretrained_init-f81d91e8.pth"  # of all other segmenters
PUBLISHED = "published"  # the variant on the published sets


class Row(NamedTuple):
    """How a row is measured: by the first of `stages` that the run has (the embedded data may have
    another); `under` "aggregated", with spatial aggregation at test time; `best_source`, the best
    of the runs from each single source (DomainNet).
    """

    recipe: str
    items: tuple[str, ...]
    stages: tuple[str, ...]
    under: str = ""
    best_source: bool = False


class Column(NamedTuple):
    """How a column is measured: on which `variant` of the rows' recipes, with further arguments
    `items`; `figure`, a key of a stage's result. Of a network with 16 classes "miou_16" is "miou".
    """

    variant: str
    figure: str
    items: tuple[str, ...] = ()


def row(run, *stages, under=""):
    """A Row of a recipe with what it takes beside the data, "adaptsegnet:levels=multi"; of the
    stage with the recipe's name where none is given.
    """
    recipe, _, items = run.partition(":")
    return Row(recipe, tuple(filter(None, items.split(","))), stages or (recipe,), under)


def column(variant, figure, *items):
    """A Column."""
    return Column(variant, figure, items)


GTA5 = column("gta5_to_cityscapes", "miou")
SYNTHIA_16 = column("synthia_to_cityscapes", "miou_16")
SYNTHIA_13 = column("synthia_to_cityscapes", "miou_13")
SYNTHIA = {"SYNTHIA, 16": SYNTHIA_16, "SYNTHIA, 13": SYNTHIA_13}
# Rows of every table that names them, as their authors train them; a table may have its own.
SEGMENTATION = {
    "AdaptSegNet": row("adaptsegnet:levels=multi"),
    "TAN": row("adaptsegnet:levels=single"),
    "TAN V": row("adaptsegnet:levels=single,backbone=vgg16"),
    "CLAN": row("clan"),
    "CLAN V": row("clan:backbone=vgg16_fcn8s"),
    "AdvEnt": row("advent"),
    "MaxSquare": row("maxsquare:levels=multi", "max_square_iw_multi"),
    "FDA": row("fda", "mbt_2", "mbt_1"),
    "CBST": row("cbst", "cbst_2"),
    "CBST V": row("cbst:backbone=vgg16_fcn8s", "cbst_2"),
    "CRST": row("cbst:regulariser=mrkld", "cbst_2"),
    "IntraDA": row("intrada"),
    "FADA": row("fada", "self_distillation"),
    "FADA V": row("fada:backbone=vgg16", "self_distillation"),
    "PixMatch": row("pixmatch"),
    "ProDA": row("proda"),  # its first stage
    "PLCA": row("plca", under="aggregated"),
    "SPCL": row("spcl", "self_training"),
    "SPCL V": row("spcl:backbone=vgg16", "self_training"),
    "BiCL": row("bicl", "bicl_9", "bicl_1"),
}
CLASSIFICATION = {
    "RevGrad": row("dann"),
    "DAN": row("dan"),
    "JAN": row("jan"),
    "CDAN": row("cdan"),
    "MCD": row("mcd"),
    "SE": row("self_ensemble"),
    "AFN": row("afn"),
    "SHOT": row("shot"),
    "MDD": row("mdd"),
    "MCC": row("mcc"),
    "Source": row("can:ablations", "source_only"),
    "CAN, intra-class only": row("can:ablations", "can_intra_only"),
    "CAN": row("can:ablations", "can"),
}


def recipe(name, arg, columns, rows):
    """The config of a table.

    Args:
      name: of its file, and of its figures in published.TABLES.
      arg: what follows the colon of --config, or None.
      columns: {title in the published table: Column}.
      rows: {name in the published table: Row}; those that the table lacks are left out.

    Raises:
      ValueError: in one line: an argument that is none.
    """
    table = published.TABLES[name]
    small = "digits" if next(iter(columns.values())).variant in cls_base.VARIANTS else "scenes"
    arg = _parsed(name, arg, columns, small)
    if arg.variant == small:
        figure = "accuracy" if small == "digits" else "miou"
        columns = {small: column(small, figure)}
    # (row, column, runs, of which the best counts, stages, keys of the figure)
    cells = tuple(
        (title, head, runs, of_row.stages, (of_row.under, of_column.figure))
        for title, of_row in rows.items()
        if title in table.rows and importlib.util.find_spec(f"dajax.recipes.{of_row.recipe}")
        for head, of_column in columns.items()
        if (runs := _runs(of_row, of_column, arg))
    )
    if not cells:
        variants = dict.fromkeys(x.variant for x in columns.values())
        keys = " or ".join(
            ", ".join(f"{key}=DIR" for key in variant.split("_to_")) for variant in variants
        )
        raise ValueError(f"tables/{name}: no column has the folders of all its sets: add {keys}")
    common = base.base(f"tables-{name}")
    return ConfigDict(
        dict(
            name=common.name,
            task="table",  # not of a run: dajax/cli/table.py
            seed=common.seed,
            runtime=common.runtime,
            table=dict(
                title=table.title,
                source=table.source,
                note=table.note,
                columns=(*table.columns, *(x for x in columns if x not in table.columns)),
                # (row, whether its figures are an oracle's, figures)
                rows=tuple((row, row in published.BEST, x) for row, x in table.rows.items()),
                cells=cells,
                steps=arg.steps,
            ),
        )
    )


def _parsed(name, arg, columns, small):
    """The argument of a table, whose variant goes without saying; see `recipe`."""
    sets = dict.fromkeys(key for x in columns.values() for key in x.variant.split("_to_"))
    variants = {small: ("steps",), PUBLISHED: (*sets, "weights", "steps")}
    keys = [item.partition("=")[0] for item in (arg or "").split(",")]
    if {*sets, "weights"} & set(keys):
        arg = f"{PUBLISHED},{arg}"
    parsed = arguments.parse_arg(arg, variants, weights="", steps=0, **dict.fromkeys(sets, ""))
    if parsed.variant == PUBLISHED and "weights" not in keys:
        raise ValueError(
            f"tables/{name}: add weights=DIR, the folder with the files that configs/base/tables.py"
            " names, or weights=none to train from random ones"
        )
    return parsed


def _runs(of_row, of_column, arg):
    """What `--config` is for a cell's runs; () where its data are not there."""
    recipe, variant = of_row.recipe, of_column.variant
    items = [variant, *of_row.items, *of_column.items]
    if arg.variant != PUBLISHED:
        takes = importlib.import_module(f"dajax.recipes.{recipe}").VARIANTS[variant]
        items = [variant, *(x for x in of_row.items if x.split("=")[0] in takes)]
        if any(x.startswith("backbone=") for x in of_row.items):
            return ()  # there is one small network
        return (f"{recipe}:{','.join(items)}",)
    roots = [arg[key] for key in variant.split("_to_")]
    if not all(roots):
        return ()
    words = " ".join([recipe, *items])
    file = next((WEIGHTS[word] for word in WEIGHTS if word in words), DEEPLAB)
    keys = ("source_root", "target_root") if len(roots) == 2 else ("root",)
    items += [f"{key}={root}" for key, root in zip(keys, roots, strict=True)]
    items.append(f"weights={os.path.join(arg.weights, file) if arg.weights else 'none'}")
    sources = [""]
    if of_row.best_source:
        target = next(x.partition("=")[2] for x in of_column.items if x.startswith("target="))
        sources = [f",source={x}" for x in cls_base.DOMAINS[variant] if x != target]
    return tuple(f"{recipe}:{','.join(items)}{source}" for source in sources)
