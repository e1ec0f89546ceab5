"""The plain vision transformer of DINOv2 (Oquab et al., TMLR 2024; registers: Darcet et al., ICLR
2024) and DINOv3 (Simeoni et al., 2025) as an encoder of dense features.

Names follow the authors' state dicts: blocks.3.attn.qkv.weight is "blocks_3/attn/qkv/kernel".
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dajax.models.attention import attend
from dajax.models.layers import Conv, LayerNorm, Linear, torch_bias_init, torch_init
from dajax.ops.resize_cubic import resize_bicubic

linear_init = nn.initializers.normal(0.02)  # init_weights_vit_timm, see layers.Linear
# base of RopePositionEmbedding: from one turn across the image to a hundredth of that
ROPE_BASE = 100.0


class Variant(NamedTuple):
    """What distinguishes the published encoders.

    Attributes:
      width: C. depth: number of blocks. num_heads: of attention.
      patch: pixels of a token's side.
      registers: tokens that belong to no patch.
      grid: side of the table of position embeddings, in tokens; 0: DINOv3's rotary positions.
      epsilon: of all LayerNorms.
      layer_scale: what LayerScale begins with in a network without weights.
    """

    width: int
    depth: int
    num_heads: int
    patch: int = 14
    registers: int = 0
    grid: int = 37  # DINOv2 ended its training at 518 x 518 pixels
    epsilon: float = 1e-6
    layer_scale: float = 1e-5  # layerscale of both authors' training configs


_SIZES = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16)}
VARIANTS = {
    **{f"dinov2_vit{size}14": Variant(*shape) for size, shape in _SIZES.items()},
    **{f"dinov2_vit{size}14_reg": Variant(*shape, registers=4) for size, shape in _SIZES.items()},
    # norm_layer "layernormbf16" of its published configs has 1e-5
    **{
        f"dinov3_vit{size}16": Variant(*shape, patch=16, registers=4, grid=0, epsilon=1e-5)
        for size, shape in _SIZES.items()
    },
    # ours, for the scenes and for tests: 64x128 pixels are 8 x 17 tokens
    "vit_tiny": Variant(48, 3, 3, patch=8, grid=8, layer_scale=1.0),
}


class PatchEmbed(nn.Module):
    """A convolution of a patch's size at that stride; params `proj`.

    Attributes:
      width: channels of a token.
      patch: pixels of its side.
    """

    width: int
    patch: int

    @nn.compact
    def __call__(self, images):
        """float [N, H, W, C] -> [N, H / patch, W / patch, width], typed like the images."""
        return Conv(
            self.width,
            self.patch,
            stride=self.patch,
            use_bias=True,
            kernel_init=torch_init,
            bias_init=torch_bias_init(self.patch**2 * images.shape[-1]),
            name="proj",
        )(images)


class QKV(nn.Module):
    """The dense layer to queries, keys and values, one behind the other; params `kernel`, `bias`.

    Attributes:
      has_key_bias: False, DINOv3: the keys' third of the bias stays out.
    """

    has_key_bias: bool

    @nn.compact
    def __call__(self, x):
        """float [N, T, C] -> [N, T, 3 C], typed like x."""
        width = x.shape[-1]
        kernel = self.param("kernel", linear_init, (width, 3 * width))
        bias = self.param("bias", nn.initializers.zeros_init(), (3 * width,))
        if not self.has_key_bias:
            bias = bias.at[width : 2 * width].set(0.0)
        return jnp.dot(x, kernel.astype(x.dtype)) + bias.astype(x.dtype).reshape(1, 1, -1)


class Attention(nn.Module):
    """Self-attention; params `qkv`, `proj`.

    Attributes:
      num_heads: of C / num_heads channels each.
      has_key_bias: see QKV.
    """

    num_heads: int
    has_key_bias: bool

    @nn.compact
    def __call__(self, x, turns):
        """float [N, T, C], what `rotary_turns` gives or None -> [N, T, C], typed like x."""
        count, tokens, width = x.shape
        qkv = QKV(self.has_key_bias, name="qkv")(x)
        qkv = qkv.reshape(count, tokens, 3, self.num_heads, -1)  # [N, T, 3, heads, d]
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if turns is not None:
            query, key = rotated(query, turns), rotated(key, turns)
        x = attend(query, key, value).reshape(count, tokens, width)
        return Linear(width, name="proj")(x)


class LayerScale(nn.Module):
    """A factor for each channel of a residual branch (Touvron et al., ICCV 2021); param `gamma`."""

    initial: float

    @nn.compact
    def __call__(self, x):
        """float [N, T, C] -> float32 [N, T, C]."""
        gamma = self.param("gamma", nn.initializers.constant(self.initial), x.shape[-1:])
        return x.astype(jnp.float32) * gamma.reshape(1, 1, -1)


class MLP(nn.Module):
    """Two dense layers with an exact (erf) GELU between them; params `fc1`, `fc2`."""

    @nn.compact
    def __call__(self, x):
        """float [N, T, C] -> the same."""
        width = x.shape[-1]
        x = jax.nn.gelu(Linear(4 * width, name="fc1")(x), approximate=False)
        return Linear(width, name="fc2")(x)


class Block(nn.Module):
    """x += ls1(attn(norm1(x))); x += ls2(mlp(norm2(x))). The sum stays float32, as torch's autocast
    keeps it: bfloat16 would lose small branches beside DINOv2's few large channels.
    """

    variant: Variant
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, turns):
        """float32 [N, T, C], what `rotary_turns` gives or None -> float32 [N, T, C]."""
        spec = self.variant
        scale = functools.partial(LayerScale, spec.layer_scale)
        y = LayerNorm(spec.epsilon, name="norm1")(x).astype(self.dtype)
        y = Attention(spec.num_heads, bool(spec.grid), name="attn")(y, turns)
        x = x + scale(name="ls1")(y)
        y = LayerNorm(spec.epsilon, name="norm2")(x).astype(self.dtype)
        return x + scale(name="ls2")(MLP(name="mlp")(y))


class ViT(nn.Module):
    """The encoder. Nothing of it is drawn at random, and it has no statistics.

    Attributes:
      variant: Variant.
      dtype: "float32" or "bfloat16", in which products compute; norms, the residual stream,
        parameters and the output are float32.
      remat: the gradient computes blocks again instead of keeping what is within them.
    """

    variant: Variant
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, images, token_mask=None):
        """The tokens of the patches after the last norm.

        Args:
          images: float [N, H, W, C], H and W multiples of the patch.
          token_mask: bool [N, H / patch, W / patch], tokens that `mask_token` replaces before
            positions are added (DINOv2's own training; VFM-UDA's masked images), or None.

        Returns:
          float32 [N, H / patch, W / patch, width].
        """
        spec, dtype = self.variant, jnp.dtype(self.dtype)
        width = spec.width
        x = PatchEmbed(width, spec.patch, name="patch_embed")(images.astype(dtype))
        x = x.astype(jnp.float32)
        count, height, breadth, _ = x.shape
        mask_token = self.param("mask_token", nn.initializers.zeros_init(), (1, 1, width))
        if token_mask is not None:
            x = jnp.where(token_mask[..., None], mask_token.reshape(1, 1, 1, -1), x)
        x = x.reshape(count, height * breadth, width)
        # init_weights of both: next to nothing in DINOv2, 0.02 in DINOv3
        token_init = nn.initializers.normal(1e-6 if spec.grid else 0.02)
        first = self.param("cls_token", token_init, (1, 1, width))
        if spec.grid:
            table = self.param("pos_embed", linear_init, (1, 1 + spec.grid**2, width))
            first = first + table[:, :1]
            x = x + self._positions(table, (height, breadth))
            turns = None
        else:
            turns = rotary_turns(height, breadth, width // spec.num_heads)
        before = [first]
        if spec.registers:
            before.append(self.param("register_tokens", token_init, (1, spec.registers, width)))
        before = jnp.concatenate(before, 1)
        before = jnp.broadcast_to(before, (count, *before.shape[1:]))
        x = jnp.concatenate([before, x], 1)  # [N, 1 + registers + h*w, C]
        block = nn.remat(Block) if self.remat else Block
        for i in range(spec.depth):
            x = block(spec, dtype, name=f"blocks_{i}")(x, turns)
        x = LayerNorm(spec.epsilon, name="norm")(x[:, before.shape[1] :])
        return x.reshape(count, height, breadth, width)

    def _positions(self, table, hw):
        """float32 [1, h*w, C]: the table [1, 1 + grid^2, C] without its first row, resized.

        DINOv2's hub entries (hub/backbones.py): the plain variants by a scale with an offset of
        0.1, those with registers by size and with antialiasing. Neither timm nor Hugging Face has
        the offset, and timm antialiases all.
        """
        grid = self.variant.grid
        patches = table[0, 1:].reshape(grid, grid, -1)
        if hw != (grid, grid):
            has_registers = bool(self.variant.registers)
            patches = resize_bicubic(
                patches, hw, offset=0.0 if has_registers else 0.1, antialias=has_registers
            )
        return patches.reshape(1, hw[0] * hw[1], -1)

    def frozen_parameters(self):
        """See ResNet: none."""
        return ()


def rotary_turns(height, breadth, depth):
    """DINOv3's rotary positions: (cosines, sines), numpy float32 [h*w, d].

    A patch lies at (y, x), its centre, from -1 to 1 across the image whatever its size. d / 4
    frequencies turn with y, as many with x, and both a second time for the other half of d.

    Args:
      height, breadth: of the map, in patches.
      depth: d, channels of a head.
    """
    sides = (2.0 * (np.arange(size) + 0.5) / size - 1.0 for size in (height, breadth))
    places = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)  # [h*w, 2]
    frequencies = ROPE_BASE ** -(np.arange(0, depth, 4) / depth)  # [d / 4]
    angles = 2.0 * np.pi * places[:, :, None] * frequencies  # [h*w, 2, d / 4]
    angles = np.tile(angles.reshape(len(places), -1), 2)  # [h*w, d]
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotated(x, turns):
    """Queries or keys [N, T, heads, d], the last h*w of them turned, as `rotary_turns` says; class
    and register tokens, which have no place, come first and stay. In float32, typed like x.
    """
    cosines, sines = (jnp.asarray(values)[None, :, None, :] for values in turns)
    first = x.shape[1] - cosines.shape[1]
    patches = x[:, first:].astype(jnp.float32)
    half = x.shape[-1] // 2
    other = jnp.concatenate([-patches[..., half:], patches[..., :half]], -1)
    turned = (patches * cosines + other * sines).astype(x.dtype)
    return jnp.concatenate([x[:, :first], turned], 1)
