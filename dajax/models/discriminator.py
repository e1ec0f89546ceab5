"""The patch discriminator of AdaptSegNet and CLAN (FCDiscriminator), over maps of class
probabilities.
"""

import flax.linen as nn

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
        bias_init = torch_bias_init(16 * x.shape[-1])
        return Conv(
            features,
            4,
            stride=2,
            padding=1,
            use_bias=True,
            kernel_init=torch_init,
            bias_init=bias_init,
            name=name,
        )(x)
