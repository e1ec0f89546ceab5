"""The patch discriminator of AdaptSegNet and CLAN (FCDiscriminator), over maps of class
probabilities, and FADA's of every position of a feature map.
"""

import flax.linen as nn
import jax.numpy as jnp

from dajax.models.layers import Conv, torch_bias_init, torch_init


class Discriminator(nn.Module):
    """Five 4x4 convolutions of stride 2, padding 1, with bias; leaky ReLU after each but the last.
    No normalisation, no sigmoid.

    Submodules conv1, conv2, conv3, conv4, classifier: the names of the authors' state dicts.

    Attributes:
      width: channels of the first layer, doubled by each of the next three; 64 in both papers
        (`ndf`).
    """

    width: int = 64

    @nn.compact
    def __call__(self, probabilities):
        """float32 [N, H, W, K], at least 32 x 32 -> logits float32 [N, H // 32, W // 32]; positive:
        label 1.
        """
        x = probabilities
        for i in range(4):
            x = self._conv(self.width * 2**i, x, f"conv{i + 1}")
            x = nn.leaky_relu(x, 0.2)  # both repositories
        return self._conv(1, x, "classifier")[..., 0]

    def _conv(self, features, x, name):
        return _conv(features, x, 4, 2, name)


class PixelDiscriminator(nn.Module):
    """FADA's PixelDiscriminator: two 3x3 convolutions, leaky ReLU after each, and two 3x3 heads,
    the source's classes and the target's (core/models/discriminator.py).

    Attributes:
      num_classes: K.
      width: channels of the first layer, 256 in the code; the second has half.
    """

    num_classes: int
    width: int = 256

    @nn.compact
    def __call__(self, features):
        """float32 [N, h, w, D] -> logits float32 [N, h, w, 2 K], the source's K first."""
        x = nn.leaky_relu(_conv(self.width, features, 3, 1, "conv1"), 0.2)
        x = nn.leaky_relu(_conv(self.width // 2, x, 3, 1, "conv2"), 0.2)
        heads = [_conv(self.num_classes, x, 3, 1, name) for name in ("source", "target")]
        return jnp.concatenate(heads, -1)


def _conv(features, x, side, stride, name):
    return Conv(
        features,
        side,
        stride=stride,
        padding=1,
        use_bias=True,
        kernel_init=torch_init,
        bias_init=torch_bias_init(side * side * x.shape[-1]),
        name=name,
    )(x)
