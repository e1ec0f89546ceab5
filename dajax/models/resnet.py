"""ResNet (He et al., CVPR 2016) with torchvision's names, for images of ImageNet's size and for
small images.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax

from dajax.models.layers import Conv, add_relu, max_pool, relu, run_block
from dajax.models.norm import DomainBatchNorm
from dajax.settings import SettingError

BLOCKS = ("basic", "bottleneck")
NORMS = ("train", "frozen", "frozen_no_eps")
FIRST_BLOCK_DILATIONS = ("full", "previous")
STEMS = ("imagenet", "small")
EXPANSION = {"basic": 1, "bottleneck": 4}  # output channels of a block over its width


class Block(nn.Module):
    """One residual block. Submodules: conv1, bn1, ..., and downsample_conv, downsample_bn where the
    shortcut changes shape.

    Attributes:
      kind: "basic" (3x3, 3x3) or "bottleneck" (1x1, 3x3, 1x1).
      width: channels inside; a bottleneck's output has four times as many.
      stride: of the block.
      dilation: of its 3x3 convolutions.
      stride_in_1x1: the stride of a bottleneck is in its first 1x1 convolution (caffe), not in the
        3x3 (torchvision v1.5).
      norm: makes a normalisation layer of a name.
    """

    kind: str
    width: int
    stride: int
    dilation: int
    stride_in_1x1: bool
    norm: Callable

    @nn.compact
    def __call__(self, x, mode):
        """float [N, H, W, C], Mode -> [N, H / stride, W / stride, width * EXPANSION]."""

        def norm(name, y):
            return self.norm(name=name)(y, mode)

        out_channels = self.width * EXPANSION[self.kind]
        around = {"padding": self.dilation, "dilation": self.dilation}
        if self.kind == "basic":
            y = Conv(self.width, 3, stride=self.stride, **around, name="conv1")(x)
            y = relu(norm("bn1", y))
            y = norm("bn2", Conv(self.width, 3, **around, name="conv2")(y))
        else:
            first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
            y = relu(norm("bn1", Conv(self.width, 1, stride=first, name="conv1")(x)))
            y = relu(norm("bn2", Conv(self.width, 3, stride=second, **around, name="conv2")(y)))
            y = norm("bn3", Conv(out_channels, 1, name="conv3")(y))
        if self.stride != 1 or x.shape[-1] != out_channels:
            x = Conv(out_channels, 1, stride=self.stride, name="downsample_conv")(x)
            x = norm("downsample_bn", x)
        return add_relu(x, y)


class ResNet(nn.Module):
    """Residual network without its classification layer.

    Submodules: conv1, bn1, layer1_0, layer1_1, ..., so that torchvision's "layer1.0.conv1.weight"
    is "layer1_0/conv1/kernel".

    Attributes:
      stage_sizes: blocks in each stage.
      block: "basic" or "bottleneck".
      widths: width of the blocks in each stage; the first is also that of the stem.
      stem: "imagenet" (7x7, stride 2, then max-pooling) or "small" (3x3, no pooling).
      stem_stride: stride of the "small" stem's convolution.
      strides: stride of the first block of each stage; () for 1, 2, 2, ...
      dilations: dilation of the 3x3 convolutions of each stage; () for 1.
      first_block_dilation: "full", a stage's first block has the stage's dilation (DeepLab-v2);
        "previous", that of the stage before (torchvision's replace_stride_with_dilation, SPCL).
      stride_in_1x1, ceil_pool: caffe's variants, see Block and layers.max_pool; False is
        torchvision.
      num_domains: of the normalisation layers.
      norm: "train"; "frozen", running statistics also in training; "frozen_no_eps", the same with
        epsilon 0 (the FrozenBatchNorm2d of SPCL's code).
      train_norm_affine: scale and bias of the normalisation take gradients; they do not in
        AdaptSegNet and CLAN (requires_grad False).
      stop_gradient_after: a stage, e.g. "layer1": it and all before it get no gradient, while their
        running statistics still move (CAN's STOP_GRAD). None for no stop.
      remat: names of stages. In training only the input of each of their blocks is kept for the
        gradient, which computes the block a second time.

    Raises:
      ValueError: an unknown block, stem, stage or kind of normalisation; lists of different
        lengths.
    """

    stage_sizes: tuple[int, ...]
    block: str
    widths: tuple[int, ...]
    stem: str = "imagenet"
    stem_stride: int = 2
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    first_block_dilation: str = "full"
    stride_in_1x1: bool = False
    ceil_pool: bool = False
    num_domains: int = 1
    norm: str = "train"
    train_norm_affine: bool = True
    stop_gradient_after: str | None = None
    remat: tuple[str, ...] = ()

    def __post_init__(self):
        known = {
            "block": BLOCKS,
            "stem": STEMS,
            "norm": NORMS,
            "first_block_dilation": FIRST_BLOCK_DILATIONS,
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"unknown {name} '{getattr(self, name)}'; known: {', '.join(values)}"
                )
        for name in ("widths", *(name for name in ("strides", "dilations") if getattr(self, name))):
            if len(getattr(self, name)) != len(self.stage_sizes):
                raise ValueError(
                    f"{name} {tuple(getattr(self, name))}: this network has {len(self.stage_sizes)}"
                    " stages and needs as many"
                )
        if self.stop_gradient_after not in (None, *self.stage_names()):
            raise ValueError(
                f"unknown stop_gradient_after '{self.stop_gradient_after}'; known:"
                f" {', '.join(self.stage_names())}"
            )
        unknown = [name for name in self.remat if name not in self.stage_names()]
        if unknown:
            raise ValueError(
                f"unknown stage '{unknown[0]}' in remat; known: {', '.join(self.stage_names())}"
            )
        super().__post_init__()

    def stage_names(self):
        """("layer1", "layer2", ...)."""
        return tuple(f"layer{i + 1}" for i in range(len(self.stage_sizes)))

    def frozen_parameters(self):
        """The submodules without a gradient, as regular expressions that match a whole path from
        the backbone to a submodule; () for none.

        They are the stages up to the gradient stop, and all normalisation where `train_norm_affine`
        is False.
        """
        affine = () if self.train_norm_affine else (r"bn1", r"layer\d+_\d+/(bn\d|downsample_bn)")
        if self.stop_gradient_after is None:
            return affine
        stages = self.stage_names()
        before = stages[: stages.index(self.stop_gradient_after) + 1]
        return ("conv1", "bn1", *(rf"{stage}_\d+" for stage in before), *affine[1:])

    @property
    def stride(self):
        """Of the last stage, in pixels."""
        stem = 4 if self.stem == "imagenet" else self.stem_stride
        return stem * math.prod(self._strides())

    def _strides(self):
        return self.strides or (1, *(2,) * (len(self.stage_sizes) - 1))

    def _spacing(self, stage, block):
        """(stride, dilation) of a block."""
        dilations = self.dilations or (1,) * len(self.stage_sizes)
        if block > 0:
            return 1, dilations[stage]
        is_previous = self.first_block_dilation == "previous"
        return self._strides()[stage], dilations[max(stage - 1, 0) if is_previous else stage]

    @nn.compact
    def stage_outputs(self, images, mode):
        """The feature map after the stem and after each stage.

        Args:
          images: float32 [N, H, W, C].
          mode: Mode.

        Returns:
          {"stem", "layer1", "layer2", ...}: float32 [N, h, w, D] each, after the ReLU; the stem's
            after its pooling.
        """
        if self.stem == "imagenet":
            x = Conv(self.widths[0], 7, stride=2, padding=3, name="conv1")(images)
        else:
            x = Conv(self.widths[0], 3, stride=self.stem_stride, padding=1, name="conv1")(images)
        norm = functools.partial(
            DomainBatchNorm,
            self.num_domains,
            epsilon=0.0 if self.norm == "frozen_no_eps" else 1e-5,  # 1e-5: torch's default
            frozen=self.norm != "train",
            train_affine=self.train_norm_affine,
        )
        x = relu(norm(name="bn1")(x, mode))
        if self.stem == "imagenet":
            x = max_pool(x, ceil_mode=self.ceil_pool)
        outputs = {"stem": x}
        for stage, (name, size, width) in enumerate(
            zip(self.stage_names(), self.stage_sizes, self.widths, strict=True)
        ):
            for i in range(size):
                stride, dilation = self._spacing(stage, i)
                block = Block(
                    self.block,
                    width,
                    stride,
                    dilation,
                    self.stride_in_1x1,
                    norm,
                    name=f"{name}_{i}",
                )
                x = run_block(block, x, mode, again=mode.train and name in self.remat)
            if name == self.stop_gradient_after:
                x = jax.lax.stop_gradient(x)
            outputs[name] = x
        return outputs

    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> features float32 [N, D]: the mean over positions of
        the last stage's output.
        """
        return self.stage_outputs(images, mode)[self.stage_names()[-1]].mean((1, 2))


def remat_stages(config_model, stages):
    """The stages that config.model.remat names, a tuple for ResNet's `remat`.

    Args:
      config_model: `remat`, "none", "all", or stages joined by +, "layer3+layer4".
      stages: of the network; () for one without residual blocks.

    Raises:
      SettingError: a stage that the network does not have.
    """
    value = config_model.remat
    if value in ("none", "all"):
        named = stages if value == "all" else ()
        if named or value == "none":
            return named
    named = tuple(value.split("+"))
    if not stages:
        problem = f"{config_model.backbone} has no residual blocks to compute again; set it to"
        raise SettingError("remat", value, f"{problem} 'none'")
    if not set(named) <= set(stages):
        known = f"none, all, or stages joined by +, of {', '.join(stages)}"
        raise SettingError("remat", value, f"unknown; known: {known}")
    return named


def resnet50(**settings):
    """ResNet-50, 23.5 million parameters, D = 2048; `settings` are ResNet's other attributes."""
    return ResNet(
        stage_sizes=(3, 4, 6, 3), block="bottleneck", widths=(64, 128, 256, 512), **settings
    )


def resnet101(**settings):
    """ResNet-101, 42.5 million parameters, D = 2048; `settings` are ResNet's other attributes."""
    return ResNet(
        stage_sizes=(3, 4, 23, 3), block="bottleneck", widths=(64, 128, 256, 512), **settings
    )


def resnet_small(*, widths=(16, 32, 64), stem_stride=2, **settings):
    """ResNet-14 for images of about 32x32 pixels, any number of channels; D is the last width.

    The CIFAR network of He et al. (section 4.2) with two blocks a stage and torchvision's
    shortcuts; there the stem has stride 1, which costs four times as much.
    """
    return ResNet(
        stage_sizes=(2, 2, 2),
        block="basic",
        widths=widths,
        stem="small",
        stem_stride=stem_stride,
        **settings,
    )
