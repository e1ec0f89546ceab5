"""The network of every classification method: a backbone and a head."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dajax.models.layers import Dropout, head_init, torch_bias_init, torch_init
from dajax.models.norm import DomainBatchNorm
from dajax.models.resnet import ResNet, remat_stages, resnet50, resnet101, resnet_small
from dajax.settings import choice

BACKBONES = ("resnet_small", "resnet50", "resnet101")
# Initialisation of a head's last layer: "kaiming", CAN's (model/model.py); "torch", that of
# torch.nn.Linear, which tllib keeps; "xavier", Xavier's normal, with a bias of 0.
HEAD_INITS = ("kaiming", "torch", "xavier")
# A hidden layer of a head: "norm", MCD's: dropout, dense, batch norm, ReLU; "plain", MDD's: dense,
# ReLU, dropout.
HEAD_LAYERS = ("norm", "plain")
SETTINGS = (
    "backbone",
    "widths",
    "bottleneck",
    "bottleneck_norm",
    "bottleneck_relu",
    "head_widths",
    "head_layers",
    "dropout",
    "head_init",
    "head_weight_norm",
    "remat",
)


class Output(NamedTuple):
    """The output of a classifier: `features` float32 [N, D], the input of the head, and `logits`
    float32 [N, num_classes].
    """

    features: jax.Array
    logits: jax.Array


class Hidden(nn.Module):
    """Dense, batch norm with a set of parameters and statistics per domain unless `norm` is False,
    ReLU unless `relu` is: [N, D] -> [N, width].
    """

    width: int
    num_domains: int
    norm: bool = True
    relu: bool = True

    @nn.compact
    def __call__(self, x, mode):
        """float32 [N, D], Mode -> float32 [N, width]."""
        bias_init = torch_bias_init(x.shape[-1])
        x = nn.Dense(self.width, kernel_init=torch_init, bias_init=bias_init, name="dense")(x)
        if self.norm:
            x = DomainBatchNorm(num_domains=self.num_domains, name="norm")(x, mode)
        return nn.relu(x) if self.relu else x


class WeightNormDense(nn.Module):
    """x @ (length * direction / |direction|) + bias, a length for each output: torch's weight_norm
    of a linear layer, which begins as that layer. Params "direction" [D, features], "length" and
    "bias" [features].
    """

    features: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x):
        """float32 [N, D] -> float32 [N, features]."""
        direction = self.param("direction", self.kernel_init, (x.shape[-1], self.features))
        norm = jnp.sqrt(jnp.square(direction).sum(0))
        length = self.param("length", lambda _: norm)
        bias = self.param("bias", self.bias_init, (self.features,))
        return x @ (direction * (length / norm)[None]) + bias[None]


def last_layer(num_classes, num_inputs, init, name, weight_norm=False):
    """The linear layer of a head, initialised as `init` says, one of HEAD_INITS."""
    inits = {
        "kaiming": (head_init, nn.initializers.zeros_init()),
        "torch": (torch_init, torch_bias_init(num_inputs)),
        "xavier": (
            nn.initializers.variance_scaling(1.0, "fan_avg", "normal"),
            nn.initializers.zeros_init(),
        ),
    }
    layer = WeightNormDense if weight_norm else nn.Dense
    kernel_init, bias_init = inits[init]
    return layer(num_classes, kernel_init=kernel_init, bias_init=bias_init, name=name)


class DeepHead(nn.Module):
    """Hidden layers, then the linear layer: the classifiers of MCD (tllib/alignment/mcd.py) and MDD
    (its model/MDD.py), whose hidden layers HEAD_LAYERS tells apart.
    """

    num_classes: int
    widths: tuple[int, ...]
    num_domains: int
    dropout: float = 0.0
    head_init: str = "kaiming"
    layers: str = "norm"
    weight_norm: bool = False

    @nn.compact
    def __call__(self, x, mode):
        """float32 [N, D], Mode -> logits float32 [N, num_classes]."""
        has_norm = self.layers == "norm"
        for i, width in enumerate(self.widths):
            dropout = Dropout(self.dropout, name=f"dropout{i}")
            x = dropout(x, mode) if has_norm else x
            x = Hidden(width, self.num_domains, has_norm, name=f"hidden{i}")(x, mode)
            x = x if has_norm else dropout(x, mode)
        settings = self.head_init, "linear", self.weight_norm
        return last_layer(self.num_classes, x.shape[-1], *settings)(x)


class Classifier(nn.Module):
    """Params {"backbone": {...}, "head": {"kernel" [D, num_classes], "bias" [num_classes]}} and,
    where there is one, "bottleneck". With head_weight_norm the head is a WeightNormDense.

    Attributes:
      bottleneck: width of a hidden layer after the backbone, whose output is then the features; 0
        for none, as in CAN.
      bottleneck_norm: whether that layer has batch norm; tllib's DAN has none.
      bottleneck_relu: whether it has a ReLU; that of MCC and SHOT has none.
      head_widths: hidden layers of the head; none in CAN.
      head_layers: one of HEAD_LAYERS.
      dropout: fraction of the bottleneck's outputs, and of the inputs, or with head_layers "plain"
        the outputs, of the head's hidden layers, that a training step drops.
      head_init: one of HEAD_INITS.
      head_weight_norm: whether the head's last layer is weight-normalised, SHOT's.
    """

    backbone: ResNet
    num_classes: int
    bottleneck: int = 0
    bottleneck_norm: bool = True
    bottleneck_relu: bool = True
    head_widths: tuple[int, ...] = ()
    head_layers: str = "norm"
    dropout: float = 0.0
    head_init: str = "kaiming"
    head_weight_norm: bool = False
    network: ClassVar[str] = "classifier"  # its key in TrainState.params and TrainState.batch_stats

    @nn.compact
    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> Output."""
        features = self.backbone(images, mode)
        if self.bottleneck:
            hidden = Hidden(
                self.bottleneck,
                self.backbone.num_domains,
                self.bottleneck_norm,
                self.bottleneck_relu,
                name="bottleneck",
            )
            features = Dropout(self.dropout, name="dropout")(hidden(features, mode), mode)
        if self.head_widths:
            return Output(features=features, logits=self._deep_head(name="head")(features, mode))
        settings = self.head_init, "head", self.head_weight_norm
        head = last_layer(self.num_classes, features.shape[-1], *settings)
        return Output(features=features, logits=head(features))

    def _deep_head(self, **place):
        return DeepHead(
            self.num_classes,
            self.head_widths,
            self.backbone.num_domains,
            self.dropout,
            self.head_init,
            self.head_layers,
            self.head_weight_norm,
            **place,
        )

    def another_head(self):
        """A module shaped as the head, which is initialised and applied on its own: f(features,
        Mode) -> logits.
        """
        return self._deep_head(parent=None)

    def frozen_parameters(self):
        """Regular expressions for the paths, such as "network/backbone/conv1/kernel", of parameters
        without a gradient: those before the gradient stop.

        optim.make_optimizer gives them no weight decay, as torch does where a gradient is None.
        """
        return tuple(rf"/backbone/{name}/" for name in self.backbone.frozen_parameters())


_OF_THE_HEAD = (
    "bottleneck",
    "bottleneck_norm",
    "bottleneck_relu",
    "head_layers",
    "dropout",
    "head_init",
    "head_weight_norm",
)


def build_classifier(config_model, num_classes, num_domains, *, stop_gradient_after=None):
    """The classifier that a config describes.

    Args:
      config_model: `backbone`, one of BACKBONES; `widths`, a width per stage, read by resnet_small
        only; the others of SETTINGS, see Classifier.
      num_classes: K.
      num_domains: sets of normalisation parameters and statistics.
      stop_gradient_after: a stage such as "layer1", or None; a stage's own setting, since
        source-only and adaptation differ in it.

    Raises:
      UserError: unknown backbone or head_init.
      ValueError: unknown stage, another number of widths than stages, dropout out of range or
        without a layer that has it, a setting that is missing.
    """
    _check_settings(config_model)
    settings = {"num_domains": num_domains, "stop_gradient_after": stop_gradient_after}
    stages = [f"layer{i + 1}" for i in range(3 if config_model.backbone == "resnet_small" else 4)]
    settings["remat"] = remat_stages(config_model, tuple(stages))
    if config_model.backbone == "resnet_small":
        backbone = resnet_small(widths=tuple(config_model.widths), **settings)
    else:
        backbone = (resnet50 if config_model.backbone == "resnet50" else resnet101)(**settings)
    return Classifier(
        backbone=backbone,
        num_classes=num_classes,
        **{name: config_model[name] for name in _OF_THE_HEAD},
        head_widths=tuple(config_model.head_widths),
    )


def _check_settings(config_model):
    missing = [name for name in SETTINGS if name not in config_model]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} missing: the config was written by another version; begin a new"
            " workdir"
        )
    choice(config_model, "backbone", BACKBONES)
    choice(config_model, "head_init", HEAD_INITS)
    choice(config_model, "head_layers", HEAD_LAYERS)
    if not 0 <= config_model.dropout < 1:
        raise ValueError(f"dropout={config_model.dropout}: expected a fraction, 0 <= dropout < 1")
    for key, nothing, place in (
        ("bottleneck_relu", True, "bottleneck"),
        ("head_layers", "norm", "head_widths"),
    ):
        if config_model[key] != nothing and not config_model[place]:
            raise ValueError(
                f"{key}={config_model[key]!r} says how {place} is made, of which there is none: set"
                f" {place}, or {key}={nothing!r}"
            )
    if config_model.dropout and not (config_model.bottleneck or config_model.head_widths):
        raise ValueError(
            f"dropout={config_model.dropout} needs a layer to drop from: set bottleneck or"
            " head_widths, or dropout=0"
        )
