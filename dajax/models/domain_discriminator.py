"""The domain discriminator of DANN and CDAN: three dense layers over pooled features."""

import flax.linen as nn

from dajax.models.layers import torch_bias_init, torch_init
from dajax.models.norm import DomainBatchNorm


class DomainDiscriminator(nn.Module):
    """Dense, batch norm, ReLU, twice, then one output (tllib/modules/domain_discriminator.py,
    without the sigmoid).

    Attributes:
      width: of both hidden layers; 1,024 in tllib's scripts.
    """

    width: int = 1024

    @nn.compact
    def __call__(self, x, mode):
        """float32 [N, D], Mode -> logits float32 [N]; positive: from the source.

        Both domains are in one batch, so there is one set of statistics.
        """
        for i in range(2):
            x = self._dense(self.width, x, f"dense{i + 1}")
            x = nn.relu(DomainBatchNorm(name=f"norm{i + 1}")(x, mode))
        return self._dense(1, x, "output")[:, 0]

    def _dense(self, features, x, name):
        return nn.Dense(
            features, kernel_init=torch_init, bias_init=torch_bias_init(x.shape[-1]), name=name
        )(x)
