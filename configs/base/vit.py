"""Vision transformers with VFM-UDA's head, and how its authors train them."""

import math

from dajax.recipes.base import common as base
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

BACKBONES = (
    *("dinov2_vitb14", "dinov2_vits14", "dinov2_vitl14"),
    *("dinov2_vitb14_reg", "dinov2_vits14_reg", "dinov2_vitl14_reg"),
    *("dinov3_vitb16", "dinov3_vits16", "dinov3_vitl16"),
)


def network(backbone, weights, *, heads="single"):
    """config.model.

    Args:
      backbone: a key of VARIANTS in dajax/models/vit.py.
      weights: a file, "" for none.
      heads: "single" or "twin".
    """
    return dict(
        backbone=backbone,
        heads=heads,
        dtype="float32",
        remat=seg_base.REMAT,
        **seg_base.weights_file(weights),
    )


def optimizer(batch_size, *, warmup_steps=1500, **settings):
    """VFM-UDA's AdamW (configure_optimizers of training/uda_vit/uda_vit_generic.py): the encoder at
    a tenth of the head's rate, one decay for all, no layer decay.

    Args:
      batch_size: of a domain, over all devices: the rate grows with its root.
      warmup_steps: to the rate itself, after which it steps down to the decaying one.
      **settings: what differs.
    """
    authors = dict(
        lr=5e-5 * math.sqrt(batch_size),
        lr_multipliers=(("/backbone/", 0.1),),
        schedule="poly_after_warmup",
        power=1.0,
        horizon_steps=0,
        warmup_steps=warmup_steps,
        warmup_ratio=1e-3,
    )
    return base.adamw(**(authors | settings))


def supervised(*, steps, batch_size, optimizer):
    """Source only, and with the target's labels the oracle: the plain cross-entropy over labelled
    pixels. The authors' (training/uda_vit/supervised_vit_generic.py) has a hundredth of the rate
    for the encoder where this has the method's tenth, a weak jitter and rare class sampling.
    """
    # aux_weight: read with two heads only
    loss = dict(kind="cross_entropy", aux_weight=0.1)
    return seg_base.supervised(steps=steps, batch_size=batch_size, loss=loss, optimizer=optimizer)


def add_stages(config, arg, control, *, source_only, **methods):
    """The rows of a table, without AdaBN, which has no batch normalisation to do with: source only,
    the step-matched control, the methods, the oracle where the target has labels.

    Args:
      config: the run's, with its network.
      arg: as seg_base.parse returns it.
      control: the method without losses on the target.
      source_only: its stage.
      **methods: {stage: settings}.
    """
    rows = dict(source_only=source_only, control=control) | methods
    if sets.target_has_labels(arg):
        rows["oracle"] = seg_base.without(source_only, domain="target")
    config.update(rows)
    config.stages = tuple(rows)
