"""MiT, the mix transformer: the encoder of SegFormer (Xie et al., NeurIPS 2021), as DAFormer, HRDA
and MIC have it (mmseg/models/backbones/mix_transformer.py of their repositories).

Four stages at strides 4, 8, 16 and 32. A stage begins with a strided convolution over overlapping
patches; its attention compares every position with a grid that a second strided convolution has
coarsened; between the layers of its perceptron a depthwise convolution tells neighbours apart, and
nothing else tells where a position is.

Epsilons of the layer normalisation are the authors': 1e-6 in the blocks and after the stages, and
torch's default 1e-5 after the patches and the coarsened grid. Hugging Face's SegformerModel has
1e-5 everywhere, which moves outputs by 2e-5.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from dajax.errors import UserError
from dajax.models.attention import attend
from dajax.models.layers import (
    Conv,
    DepthwiseConv,
    DropPath,
    LayerNorm,
    Linear,
    run_block,
)

# {name: (channels of the stages, blocks of the stages)}; "mit_tiny" is ours, for tests and CPUs
VARIANTS = {
    "mit_tiny": ((8, 16, 40, 64), (2, 1, 3, 2)),
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "mit_b2": ((64, 128, 320, 512), (3, 4, 6, 3)),
    "mit_b3": ((64, 128, 320, 512), (3, 4, 18, 3)),
    "mit_b4": ((64, 128, 320, 512), (3, 8, 27, 3)),
    "mit_b5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}
STAGES = ("block1", "block2", "block3", "block4")  # for config.model.remat
HEADS = (1, 2, 5, 8)  # of the attention, by stage, in all variants
REDUCTIONS = (8, 4, 2, 1)  # sides of the cells that keys and values are coarsened to
EXPANSION = 4  # channels inside the perceptron over those outside
LEAST_SIDE = 29  # pixels; of a smaller image stage 1, at stride 4, has no cell of 8 positions


class Attention(nn.Module):
    """Attention to a coarser grid. Submodules q, kv, proj and, where it is coarser, sr and norm."""

    heads: int
    reduction: int

    @nn.compact
    def __call__(self, x):
        """float [N, h, w, C] -> the same. Rows and columns beyond a multiple of the reduction are
        not looked at, as in torch.
        """
        n, h, w, channels = x.shape
        queries, looked_at = Linear(channels, name="q")(x), x
        if self.reduction > 1:
            coarse = Conv(
                channels, self.reduction, stride=self.reduction, use_bias=True, name="sr"
            )(x)
            looked_at = LayerNorm(1e-5, name="norm")(coarse)
        both = Linear(2 * channels, name="kv")(looked_at).reshape(
            n, -1, 2, self.heads, channels // self.heads
        )
        seen = attend(
            queries.reshape(n, h * w, self.heads, -1), both[:, :, 0], both[:, :, 1]
        )  # [N, h*w, heads, C / heads]
        return Linear(channels, name="proj")(seen.reshape(n, h, w, channels))


class DepthwiseLayer(nn.Module):
    """The convolution inside the perceptron, under the authors' name for it: dwconv.dwconv."""

    @nn.compact
    def __call__(self, x):
        """float [N, h, w, C] -> the same."""
        # fan_out over the groups, as the authors divide it: 9
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        return DepthwiseConv(3, use_bias=True, kernel_init=init, name="dwconv")(x)


class Perceptron(nn.Module):
    """Two layers over the channels, with a depthwise 3x3 convolution between them."""

    @nn.compact
    def __call__(self, x):
        """float [N, h, w, C] -> the same."""
        channels = x.shape[-1]
        x = Linear(EXPANSION * channels, name="fc1")(x)
        x = DepthwiseLayer(name="dwconv")(x)
        x = jax.nn.gelu(x, approximate=False)
        return Linear(channels, name="fc2")(x)


class Block(nn.Module):
    """Attention and perceptron, each behind a normalisation and beside a shortcut."""

    heads: int
    reduction: int
    drop_path: float

    @nn.compact
    def __call__(self, x, mode):
        """float [N, h, w, C], Mode -> the same."""
        y = Attention(self.heads, self.reduction, name="attn")(LayerNorm(1e-6, name="norm1")(x))
        x = x + DropPath(self.drop_path, name="drop_path1")(y, mode)
        y = Perceptron(name="mlp")(LayerNorm(1e-6, name="norm2")(x))
        return x + DropPath(self.drop_path, name="drop_path2")(y, mode)


class PatchEmbed(nn.Module):
    """Overlapping patches: the size is divided by the stride, rounded up."""

    features: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(self, x):
        """float [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), features]."""
        padding = self.kernel_size // 2
        x = Conv(
            self.features,
            self.kernel_size,
            stride=self.stride,
            padding=padding,
            use_bias=True,
            name="proj",
        )(x)
        return LayerNorm(1e-5, name="norm")(x)


class MiT(nn.Module):
    """Submodules patch_embed1, block1_0, ..., norm1, patch_embed2, ...: the authors' names.

    Attributes:
      widths: channels of each stage.
      depths: blocks of each stage.
      drop_path: rate at which the last block's branches are dropped; it rises linearly from 0 at
        the first block.
      remat: stages of STAGES of whose blocks the gradient keeps the input alone.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    drop_path: float = 0.1
    remat: tuple[str, ...] = ()
    stride: ClassVar[int] = 4  # of the first stage, which is a decoder's

    def drop_rates(self):
        """float [blocks]: the rate of each block, over all stages."""
        return np.linspace(0.0, self.drop_path, sum(self.depths))

    @nn.compact
    def stage_outputs(self, images, mode):
        """The normalised feature map of each stage.

        Args:
          images: float [N, H, W, 3], in the type that convolutions compute in.
          mode: Mode.

        Returns:
          {"block1", ..., "block4"}: [N, ceil(H / s), ceil(W / s), C], s = 4, 8, 16, 32.

        Raises:
          UserError: images smaller than LEAST_SIDE.
        """
        height, width = images.shape[1:3]
        if min(height, width) < LEAST_SIDE:
            raise UserError(
                f"images of {height}x{width}: a MiT needs {LEAST_SIDE} pixels on either side, 32"
                " or a multiple of it for whole strides; make config.data.transforms sizes larger"
            )
        x, outputs, rates = images, {}, iter(self.drop_rates().tolist())
        for stage, (name, channels, depth) in enumerate(
            zip(STAGES, self.widths, self.depths, strict=True)
        ):
            kernel_size, stride = (7, 4) if stage == 0 else (3, 2)
            x = PatchEmbed(channels, kernel_size, stride, name=f"patch_embed{stage + 1}")(x)
            for i in range(depth):
                block = Block(HEADS[stage], REDUCTIONS[stage], next(rates), name=f"{name}_{i}")
                x = run_block(block, x, mode, again=mode.train and name in self.remat)
            outputs[name] = x = LayerNorm(1e-6, name=f"norm{stage + 1}")(x)
        return outputs

    def frozen_parameters(self):
        """See ResNet: none; normalisation is by position, and always trained."""
        return ()


def mit(name, **settings):
    """The MiT of a name of VARIANTS; `settings` are its other attributes."""
    widths, depths = VARIANTS[name]
    return MiT(widths, depths, **settings)


def variant_of(widths, depths):
    """The name in VARIANTS of a MiT with these channels and blocks; in words where it has none."""
    names = {sizes: name for name, sizes in VARIANTS.items()}
    shape = tuple(widths), tuple(depths)
    described = f"a MiT of widths {list(shape[0])} and depths {list(shape[1])}"
    return names.get(shape, described)
