"""A segmenter with one block a stage: every kind of layer, and quick to compile."""

from ml_collections import ConfigDict

from dajax.models.build import build_segmenter
from dajax.recipes.base import segmentation as seg_base


def tiny_segmenter(stage_config, *, heads, num_classes):
    """The small network of the scenes for a stage; D is 8, and its ASPP has one branch."""
    widths = {"widths": (4, 4, 8, 8), "aspp_branches": 1, "aspp_rates": (1,)}
    network = ConfigDict(seg_base.small_network(heads) | widths)
    model = build_segmenter(network, stage_config, num_classes=num_classes)
    return model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))
