"""Segmenters that compile quickly."""

from ml_collections import ConfigDict

from dajax.models.build import build_segmenter
from dajax.recipes.base import segmentation as seg_base


def tiny_segmenter(stage_config, *, heads, num_classes, aspp_rates=(1,), stages=None):
    """The small network of the scenes for a stage, with one block a stage; D is 8.

    Args:
      stages: 4 for all of them, as the recipe strides and dilates them. By default one, or two for
        heads="multi", whose second head is on the features before the last stage: a third of the
        compilation.
    """
    aspp = {"aspp_branches": len(aspp_rates), "aspp_rates": aspp_rates}
    widths = {"widths": (4, 4, 8, 8)}
    network = ConfigDict(seg_base.small_network(heads) | aspp | widths)
    model = build_segmenter(network, stage_config, num_classes=num_classes)
    if stages == 4:
        return model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))
    count = 2 if heads == "multi" else 1
    ones = (1,) * count
    backbone = model.backbone.clone(
        stage_sizes=ones, widths=(8,) * count, strides=ones, dilations=ones
    )
    return model.clone(backbone=backbone)
