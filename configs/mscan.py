"""MSCAN: CAN from several labelled sources (the authors' slides; Kang et al., TPAMI 2020), beside
CAN on the merged sources.

  python run.py --config=mscan      three rendered worlds -> handwriting; no download
  python run.py --config=mscan:folder,root=DIR,source=A+B+C,target=D,size=64
  python run.py --config=mscan:domainnet,root=DIR,target=clipart,weights=FILE
  python run.py --config=mscan:office31,root=DIR,source=amazon+dslr,weights=FILE

The slides do not say over what the cross-entropies in BSA's weights are taken; `bsa` does:

  python run.py --config=mscan:bsa=batch      the batch of the step
  python run.py --config=mscan:bsa=average    the batches so far, a moving average
  python run.py --config=mscan:bsa=source     the whole source, measured at each clustering

FILE is resnet101-5d3b4d8f.pth, with office31 resnet50-19c8e357.pth: configs/base/classification.py
says where they are to be had, and has all arguments. Without `source`, domainnet takes the five
other domains.

Rows: from random weights source only and AdaBN on the merged sources; CAN on them, MSCAN without
and with boundary-sensitive alignment (BSA); and M3SDA (configs/m3sda.py). Published (slides),
DomainNet with ResNet-101:

  target         clipart  infograph  painting  quickdraw  real  sketch
  merged CAN        67.4       25.3      56.2       26.3  72.5    56.2
  without BSA       68.5       27.3      57.4       28.1  72.5    58.1
  MSCAN             69.3       28.0      58.6       30.3  73.3    59.5

Not reproduced here yet, and nothing was released: dajax.methods.classification.mscan lists what the
slides leave open; the other values here are those of configs/can.py.
"""

from dajax.recipes import can, m3sda
from dajax.recipes.base import classification as cls_base

VARIANTS = cls_base.with_keys("bsa")
BSA = "batch"  # where the argument names none; all three are ours
FROM_SCRATCH = "average"  # the same, of networks from random weights


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    config = cls_base.start_with_several("mscan", arg)
    if arg.bsa not in ("", _default(arg)):
        config.name += f"-bsa_{arg.bsa}"
    num_sources = len(config.data.source.split("+"))
    rows = {
        "can_merged": can.stage(arg),
        "mscan_without_bsa": mscan_stage(arg, num_sources, with_bsa=False),
        "mscan": mscan_stage(arg, num_sources),
    }
    if arg.variant == "digits":
        # Three worlds are three times the images: a fifth of a pass between two clusterings, and
        # about as many images in all as CAN passes in configs/can.py, 500 steps of 218.
        for row in rows.values():
            row.max_loops, row.class_aware.update_fraction = 20, 0.2
    if cls_base.from_scratch(arg):
        rows = {"adabn": cls_base.adabn()} | rows
    # the last, since a workdir of the version without it takes further stages at its end only
    rows["m3sda"] = m3sda.stage(arg)
    rows["m3sda"].target_bn = num_sources  # one rule of normalisation for all rows
    config.update(rows)
    config.stages += tuple(rows)
    return config


def mscan_stage(arg, num_sources, *, with_bsa=True):
    """CAN's stage for a variant with what MSCAN adds (slides)."""
    stage = can.stage(arg)
    stage.update(
        method="mscan",
        target_bn=num_sources,  # normalisation per domain, the target's the last
        weight_stop_gradient=True,  # ours, the slides leave it open
        **(boundary_sensitive(arg) if with_bsa else dict(weighting="uniform")),
    )
    stage.clustering.ensemble = "mean"  # ours, the slides leave it open
    return stage


def boundary_sensitive(arg):
    """The keys of F_e = 1 / CE_e (slides), with the cross-entropy over the images that `bsa` names.

    A small network from random weights soon knows all its sources, and what is left of their
    cross-entropies is noise that the inverse magnifies: there a source that is right with a
    probability of nine tenths counts as learnt, and learnt sources pull alike (ours;
    docs/methods/mscan.md).
    """
    over = arg.bsa or _default(arg)
    keys = dict(
        weighting={"batch": "bsa", "average": "bsa_average", "source": "bsa_source"}[over],
        # else the guard of dajax.losses.boundary_sensitive, named there; recipes import no jax
        bsa_floor=0.1 if cls_base.from_scratch(arg) else 1e-6,
    )
    if over == "average":
        keys["bsa_momentum"] = 0.99  # ours: about a hundred batches
    return keys


def _default(arg):
    return FROM_SCRATCH if cls_base.from_scratch(arg) else BSA
