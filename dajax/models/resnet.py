"""ResNet (He et al., CVPR 2016) with torchvision's names, for images of ImageNet's size and for small ones."""

import flax.linen as nn
import jax

from dajax.models.layers import Conv, max_pool
from dajax.models.norm import DomainBatchNorm

BLOCKS = ("basic", "bottleneck")
STEMS = ("imagenet", "small")
EXPANSION = {"basic": 1, "bottleneck": 4}  # output channels of a block over its width


class Block(nn.Module):
    """One residual block. Submodules: conv1, bn1, ..., and downsample_conv, downsample_bn where the shortcut changes shape.

    Attributes:
      kind: "basic" (3x3, 3x3) or "bottleneck" (1x1, 3x3, 1x1).
      width: channels inside; a bottleneck gives out four times as many.
      stride: of the block.
      stride_in_1x1: the stride of a bottleneck is in its first 1x1 convolution (caffe), not in the 3x3 (torchvision v1.5).
      num_domains: of the normalisation layers.
    """

    kind: str
    width: int
    stride: int
    stride_in_1x1: bool
    num_domains: int

    @nn.compact
    def __call__(self, x, mode):
        """float [N, H, W, C], Mode -> [N, H / stride, W / stride, width * EXPANSION]."""

        def norm(name, y):
            return DomainBatchNorm(self.num_domains, name=name)(y, mode)

        out_channels = self.width * EXPANSION[self.kind]
        if self.kind == "basic":
            y = nn.relu(norm("bn1", Conv(self.width, 3, stride=self.stride, padding=1, name="conv1")(x)))
            y = norm("bn2", Conv(self.width, 3, padding=1, name="conv2")(y))
        else:
            first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
            y = nn.relu(norm("bn1", Conv(self.width, 1, stride=first, name="conv1")(x)))
            y = nn.relu(norm("bn2", Conv(self.width, 3, stride=second, padding=1, name="conv2")(y)))
            y = norm("bn3", Conv(out_channels, 1, name="conv3")(y))
        if self.stride != 1 or x.shape[-1] != out_channels:
            x = norm("downsample_bn", Conv(out_channels, 1, stride=self.stride, name="downsample_conv")(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Residual network without its classification layer.

    Submodules: conv1, bn1, layer1_0, layer1_1, ..., so that torchvision's "layer1.0.conv1.weight" is "layer1_0/conv1/kernel".

    Attributes:
      stage_sizes: blocks in each stage.
      block: "basic" or "bottleneck".
      widths: width of the blocks in each stage; the first is also that of the stem.
      stem: "imagenet" (7x7, stride 2, then max-pooling) or "small" (3x3, no pooling).
      stem_stride: stride of the "small" stem's convolution.
      stride_in_1x1, ceil_pool: caffe's variants, see Block and layers.max_pool; False is torchvision.
      num_domains: of the normalisation layers.
      stop_gradient_after: a stage, e.g. "layer1": nothing up to its output gets a gradient, while running statistics still move
        (CAN's STOP_GRAD). None for no stop.

    Raises:
      ValueError: an unknown block, stem or stage; lists of different lengths.
    """

    stage_sizes: tuple[int, ...]
    block: str
    widths: tuple[int, ...]
    stem: str = "imagenet"
    stem_stride: int = 2
    stride_in_1x1: bool = False
    ceil_pool: bool = False
    num_domains: int = 1
    stop_gradient_after: str | None = None

    def __post_init__(self):
        if self.block not in BLOCKS:
            raise ValueError(f"unknown block '{self.block}'; known: {', '.join(BLOCKS)}")
        if self.stem not in STEMS:
            raise ValueError(f"unknown stem '{self.stem}'; known: {', '.join(STEMS)}")
        if len(self.widths) != len(self.stage_sizes):
            raise ValueError(f"widths {tuple(self.widths)}: this network has {len(self.stage_sizes)} stages and needs as many")
        if self.stop_gradient_after not in (None, *self.stage_names()):
            raise ValueError(f"unknown stop_gradient_after '{self.stop_gradient_after}'; known: {', '.join(self.stage_names())}")
        super().__post_init__()

    def stage_names(self):
        """("layer1", "layer2", ...)."""
        return tuple(f"layer{i + 1}" for i in range(len(self.stage_sizes)))

    def frozen_parameters(self):
        """Names of the submodules before the gradient stop, as regular expressions that match all of a name; () for no stop."""
        if self.stop_gradient_after is None:
            return ()
        stages = self.stage_names()
        before = stages[: stages.index(self.stop_gradient_after) + 1]
        return ("conv1", "bn1", *(rf"{stage}_\d+" for stage in before))

    @nn.compact
    def stage_outputs(self, images, mode):
        """The feature map after the stem and after each stage.

        Args:
          images: float32 [N, H, W, C].
          mode: Mode.

        Returns:
          {"stem", "layer1", "layer2", ...}: float32 [N, h, w, D] each, after the ReLU; the stem's after its pooling.
        """
        if self.stem == "imagenet":
            x = Conv(self.widths[0], 7, stride=2, padding=3, name="conv1")(images)
        else:
            x = Conv(self.widths[0], 3, stride=self.stem_stride, padding=1, name="conv1")(images)
        x = nn.relu(DomainBatchNorm(self.num_domains, name="bn1")(x, mode))
        if self.stem == "imagenet":
            x = max_pool(x, ceil_mode=self.ceil_pool)
        outputs = {"stem": x}
        for stage, (name, size, width) in enumerate(zip(self.stage_names(), self.stage_sizes, self.widths, strict=True)):
            for i in range(size):
                stride = 2 if stage > 0 and i == 0 else 1
                x = Block(self.block, width, stride, self.stride_in_1x1, self.num_domains, name=f"{name}_{i}")(x, mode)
            if name == self.stop_gradient_after:
                x = jax.lax.stop_gradient(x)
            outputs[name] = x
        return outputs

    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> features float32 [N, D]: the mean over positions of the last stage's output."""
        return self.stage_outputs(images, mode)[self.stage_names()[-1]].mean((1, 2))


def resnet50(**settings):
    """ResNet-50, 23.5 million parameters, D = 2048; `settings` are ResNet's other attributes."""
    return ResNet(stage_sizes=(3, 4, 6, 3), block="bottleneck", widths=(64, 128, 256, 512), **settings)


def resnet101(**settings):
    """ResNet-101, 42.5 million parameters, D = 2048; `settings` are ResNet's other attributes."""
    return ResNet(stage_sizes=(3, 4, 23, 3), block="bottleneck", widths=(64, 128, 256, 512), **settings)


def resnet_small(*, widths=(16, 32, 64), stem_stride=2, **settings):
    """ResNet-14 for images of about 32x32 pixels, any number of channels; D is the last width.

    The CIFAR network of He et al. (section 4.2) with two blocks a stage and torchvision's shortcuts; there the stem has
    stride 1, which costs four times as much.
    """
    return ResNet(stage_sizes=(2, 2, 2), block="basic", widths=widths, stem="small", stem_stride=stem_stride, **settings)
