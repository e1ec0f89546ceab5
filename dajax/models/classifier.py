"""Backbone and linear head: what every classification method trains."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax

from dajax.models.layers import head_init, torch_bias_init, torch_init
from dajax.models.norm import DomainBatchNorm
from dajax.models.resnet import ResNet, resnet50, resnet101, resnet_small

BACKBONES = ("resnet_small", "resnet50", "resnet101")


class Output(NamedTuple):
    """What a classifier computes: `features` float32 [N, D], the input of the head, and `logits` float32 [N, num_classes]."""

    features: jax.Array
    logits: jax.Array


class Hidden(nn.Module):
    """Dense, batch norm with a set of parameters and statistics per domain, ReLU: [N, D] -> [N, width]."""

    width: int
    num_domains: int

    @nn.compact
    def __call__(self, x, mode):
        """float32 [N, D], Mode -> float32 [N, width]."""
        x = nn.Dense(self.width, kernel_init=torch_init, bias_init=torch_bias_init(x.shape[-1]), name="dense")(x)
        return nn.relu(DomainBatchNorm(num_domains=self.num_domains, name="norm")(x, mode))


class DeepHead(nn.Module):
    """Hidden layers, then the linear layer: MCD's classifiers in tllib, whose dropout is left out.

    Dropout would have to be drawn for the whole batch to keep the promise that several devices are one.
    """

    num_classes: int
    widths: tuple[int, ...]
    num_domains: int

    @nn.compact
    def __call__(self, x, mode):
        """float32 [N, D], Mode -> logits float32 [N, num_classes]."""
        for i, width in enumerate(self.widths):
            x = Hidden(width, self.num_domains, name=f"hidden{i}")(x, mode)
        return nn.Dense(self.num_classes, kernel_init=head_init, name="linear")(x)


class Classifier(nn.Module):
    """Params {"backbone": {...}, "head": {"kernel" [D, num_classes], "bias" [num_classes]}} and, where there is one, "bottleneck".

    Attributes:
      bottleneck: width of a hidden layer after the backbone, whose output is then the features; 0 for none, as in CAN.
      head_widths: hidden layers of the head; none in CAN.
    """

    backbone: ResNet
    num_classes: int
    bottleneck: int = 0
    head_widths: tuple[int, ...] = ()
    network: ClassVar[str] = "classifier"  # its key in TrainState.params and TrainState.batch_stats

    @nn.compact
    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> Output."""
        features = self.backbone(images, mode)
        if self.bottleneck:
            features = Hidden(self.bottleneck, self.backbone.num_domains, name="bottleneck")(features, mode)
        if self.head_widths:
            head = DeepHead(self.num_classes, self.head_widths, self.backbone.num_domains, name="head")
            return Output(features=features, logits=head(features, mode))
        return Output(features=features, logits=nn.Dense(self.num_classes, kernel_init=head_init, name="head")(features))

    def another_head(self):
        """A module of the head's shape, to be initialised and applied by itself: f(features, Mode) -> logits."""
        return DeepHead(self.num_classes, self.head_widths, self.backbone.num_domains, parent=None)

    def frozen_parameters(self):
        """Regular expressions on parameter paths "network/backbone/conv1/kernel" for what the gradient stop leaves without a gradient.

        For optim.make_optimizer: torch takes no weight decay on these either, since their gradient is None.
        """
        return tuple(rf"/backbone/{name}/" for name in self.backbone.frozen_parameters())


def build_classifier(config_model, num_classes, num_domains, *, stop_gradient_after=None):
    """The classifier that a config describes.

    Args:
      config_model: `backbone`, one of BACKBONES; `widths`, a width per stage, read by resnet_small only; `bottleneck` and `head_widths`, see
        Classifier.
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
    widths = tuple(config_model.head_widths)
    return Classifier(backbone=backbone, num_classes=num_classes, bottleneck=config_model.bottleneck, head_widths=widths)
