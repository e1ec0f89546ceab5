"""Backbone and linear head: what every classification method trains."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax

from dajax.models.layers import head_init
from dajax.models.resnet import ResNet, resnet50, resnet101, resnet_small

BACKBONES = ("resnet_small", "resnet50", "resnet101")


class Output(NamedTuple):
    """What a classifier computes: `features` float32 [N, D], the input of the head, and `logits` float32 [N, num_classes]."""

    features: jax.Array
    logits: jax.Array


class Classifier(nn.Module):
    """Params {"backbone": {...}, "head": {"kernel" [D, num_classes], "bias" [num_classes]}}."""

    backbone: ResNet
    num_classes: int
    network: ClassVar[str] = "classifier"  # its key in TrainState.params and TrainState.batch_stats

    @nn.compact
    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> Output."""
        features = self.backbone(images, mode)
        return Output(features=features, logits=nn.Dense(self.num_classes, kernel_init=head_init, name="head")(features))

    def frozen_parameters(self):
        """Regular expressions on parameter paths "network/backbone/conv1/kernel" for what the gradient stop leaves without a gradient.

        For optim.make_optimizer: torch takes no weight decay on these either, since their gradient is None.
        """
        return tuple(rf"/backbone/{name}/" for name in self.backbone.frozen_parameters())


def build_classifier(config_model, num_classes, num_domains, *, stop_gradient_after=None):
    """The classifier that a config describes.

    Args:
      config_model: `backbone`, one of BACKBONES, and `widths`, a width per stage, read by resnet_small only.
      num_classes: K.
      num_domains: sets of normalisation parameters and statistics.
      stop_gradient_after: a stage such as "layer1", or None; a stage's own setting, since source-only and adaptation differ in it.

    Raises:
      ValueError: unknown backbone or stage, or another number of widths than stages.
    """
    settings = {"num_domains": num_domains, "stop_gradient_after": stop_gradient_after}
    if config_model.backbone == "resnet_small":
        backbone = resnet_small(widths=tuple(config_model.widths), **settings)
    elif config_model.backbone == "resnet50":
        backbone = resnet50(**settings)
    elif config_model.backbone == "resnet101":
        backbone = resnet101(**settings)
    else:
        raise ValueError(f"unknown backbone '{config_model.backbone}'; known: {', '.join(BACKBONES)}")
    return Classifier(backbone=backbone, num_classes=num_classes)
