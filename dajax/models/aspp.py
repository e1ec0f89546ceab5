"""The output of segmenters, and DeepLab-v2's classifier: the sum of parallel dilated 3x3
convolutions (ASPP-L; the authors' Classifier_Module).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dajax.models.layers import torch_bias_init, torch_init

# AdaptSegNet and CLAN: conv.weight.data.normal_(0, 0.01). PLCA leaves its head at torch's default
# for convolutions.
KERNEL_INITS = {"normal": nn.initializers.normal(0.01), "torch": torch_init}


class Detail(NamedTuple):
    """The prediction of a crop of the images at their full size, which HRDA trains beside that of
    the whole ones; the same crop of every image of the batch.

    Attributes:
      logits: float32 [N, dh, dw, K], on a grid of the fineness of SegOutput.logits.
      top, left: int32 scalars, where the crop begins, in cells of that grid.
      weight: of the crop's loss; that of the whole images has 1 - weight.
    """

    logits: jax.Array
    top: jax.Array
    left: jax.Array
    weight: float


class SegOutput(NamedTuple):
    """The output of a segmenter, all float32.

    Attributes:
      features: [N, h, w, D], the input of the last head.
      logits: [N, h, w, K], of the main head.
      aux_logits: [N, h, w, K], of the other head; None where there is only one.
      encoder: [N, h', w', D'], the last stage of the encoder where a decoder stands between it and
        the heads; None where it is `features`. Read it through `last_stage`.
      detail: of a training pass of HRDA, else None.
    """

    features: jax.Array
    logits: jax.Array
    aux_logits: jax.Array | None
    encoder: jax.Array | None = None
    detail: Detail | None = None

    @property
    def last_stage(self):
        """The encoder's last stage, float32 [N, h', w', D']."""
        return self.features if self.encoder is None else self.encoder


class Branch(nn.Module):
    """The parameters of one 3x3 convolution, named as in the authors' state dicts."""

    in_channels: int
    features: int
    use_bias: bool
    kernel_init: str

    @nn.compact
    def __call__(self):
        """(kernel [3, 3, in, features], bias [features] or None)."""
        kernel = self.param(
            "kernel", KERNEL_INITS[self.kernel_init], (3, 3, self.in_channels, self.features)
        )
        if not self.use_bias:
            return kernel, None
        return kernel, self.param("bias", torch_bias_init(9 * self.in_channels), (self.features,))


class ASPP(nn.Module):
    """Sum over the rates of 3x3 convolutions with that dilation and padding. Submodules
    conv2d_list_0, conv2d_list_1, ...

    Attributes:
      num_classes: K.
      rates: dilations.
      branches: how many of them are summed, from the first. AdaptSegNet's Classifier_Module returns
        inside its loop and so sums two of four (its issue 60: a known bug, which the authors keep).
        The other two are in its files too, and get no gradient. Its released weights need 2.
      use_bias: False in PLCA.
      kernel_init: one of KERNEL_INITS.
    """

    num_classes: int
    rates: tuple[int, ...]
    branches: int
    use_bias: bool
    kernel_init: str

    @nn.compact
    def __call__(self, x):
        """float [N, h, w, D] -> float32 [N, h, w, K]."""
        channels = x.shape[-1]
        parameters = [
            Branch(
                channels, self.num_classes, self.use_bias, self.kernel_init, name=f"conv2d_list_{i}"
            )()
            for i in range(len(self.rates))
        ]
        used = parameters[: self.branches]
        y = _sum_of_dilated(x, [kernel for kernel, _ in used], self.rates[: self.branches])
        return y + sum(bias for _, bias in used).reshape(1, 1, 1, -1) if self.use_bias else y


class ASPPHead(nn.Module):
    """An ASPP on an encoder's last stage, as a decoder that HRDA can take; attributes as ASPP.
    Submodule layer5, the authors' name.
    """

    num_classes: int
    rates: tuple[int, ...]
    branches: int
    use_bias: bool
    kernel_init: str

    @nn.compact
    def __call__(self, stages, mode):
        """Feature maps float [N, h, w, D], of which the last counts, and Mode -> SegOutput."""
        del mode
        settings = (self.rates, self.branches, self.use_bias, self.kernel_init)
        logits = ASPP(self.num_classes, *settings, name="layer5")(stages[-1])
        return SegOutput(stages[-1].astype(jnp.float32), logits, None)

    def attention_head(self):
        """HRDA's attention: the same once more (scale_attention of a DLV2Head)."""
        return self.clone()

    def frozen_parameters(self):
        """Regular expressions for the submodules without a gradient, as ResNet has them."""
        left_out = range(self.branches, len(self.rates))
        return tuple(f"layer5/conv2d_list_{i}" for i in left_out)


def _sum_of_dilated(x, kernels, rates):
    """The 3x3 convolutions as one matrix product for all taps, whose results are shifted and added.

    It is fast because K = 19 outputs are shifted instead of D = 2048 inputs. At 33 x 65 pixels,
    four rates, two cores: 32 ms, and 67 ms for the gradients; one dilated convolution per rate
    takes 99 ms and 251 ms.

    Args:
      x: float [N, h, w, D].
      kernels: float32 [3, 3, D, K] each.
      rates: dilation of each.

    Returns:
      float32 [N, h, w, K].
    """
    n, h, w, depth = x.shape
    taps = []  # (vertical offset, horizontal offset, matrix [D, K])
    for kernel, rate in zip(kernels, rates, strict=True):
        offsets = [
            ((i - 1) * rate, (j - 1) * rate, kernel[i, j]) for i in range(3) for j in range(3)
        ]
        # Taps further out see only padding.
        taps += [tap for tap in offsets if abs(tap[0]) < h and abs(tap[1]) < w]
    matrix = jnp.concatenate([tap[2] for tap in taps], -1).astype(x.dtype)  # [D, taps * K]
    # [N*h*w, taps * K]
    products = jnp.dot(x.reshape(n * h * w, depth), matrix, preferred_element_type=jnp.float32)

    def shifted(part, down, right):
        padding = ((0, 0, 0), (-down, down, 0), (-right, right, 0), (0, 0, 0))
        return jax.lax.pad(part.reshape(n, h, w, -1), jnp.zeros((), jnp.float32), padding)

    parts = jnp.split(products, len(taps), axis=-1)
    return sum(
        shifted(part, down, right) for part, (down, right, _) in zip(parts, taps, strict=True)
    )
