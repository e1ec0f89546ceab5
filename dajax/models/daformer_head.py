"""Decoders over the four stages of a hierarchical encoder: DAFormer's (Hoyer et al., CVPR 2022) and
SegFormer's (Xie et al., NeurIPS 2021), as DAFormer's repository has both
(mmseg/models/decode_heads/).

Every stage is brought to the same number of channels, pixel by pixel, and to the size of the
finest; all are concatenated, finest first, and fused. DAFormer fuses them with an ASPP of depthwise
separable convolutions and without image pooling; its `daformer_conv1`, SegFormer and HRDA's scale
attention with one 1x1 convolution.
"""

import flax.linen as nn
import jax.numpy as jnp

from dajax.models.aspp import SegOutput
from dajax.models.layers import (
    ChannelDropout,
    Conv,
    DepthwiseConv,
    Linear,
    relu,
    torch_bias_init,
    torch_init,
)
from dajax.models.norm import NormSettings
from dajax.ops.resize import resize_bilinear

RATES = (1, 6, 12, 18)  # dilations of DAFormer's ASPP
# {name of a head: channels that its authors give it}
HEADS = {"daformer": 256, "daformer_conv1": 256, "segformer": 768}


class ConvModule(nn.Module):
    """Convolution without bias, batch normalisation, ReLU; mmcv's module of this name. Submodules
    conv and bn.

    Attributes:
      features: channels of the result; None: as many as there are, each from its own (depthwise).
      kernel_size, dilation: of the convolution, which keeps the size.
      norm: NormSettings.
    """

    features: int | None
    kernel_size: int
    norm: NormSettings
    dilation: int = 1

    @nn.compact
    def __call__(self, x, mode):
        """float [N, h, w, C], Mode -> [N, h, w, features]."""
        if self.features is None:
            conv = DepthwiseConv(self.kernel_size, dilation=self.dilation, name="conv")
        else:
            conv = Conv(
                self.features,
                self.kernel_size,
                padding=self.dilation * (self.kernel_size // 2),
                dilation=self.dilation,
                name="conv",
            )
        return relu(self.norm.layer("bn")(conv(x), mode))


class Separable(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, a ConvModule each: mmcv's
    DepthwiseSeparableConvModule.
    """

    features: int
    dilation: int
    norm: NormSettings

    @nn.compact
    def __call__(self, x, mode):
        """float [N, h, w, C], Mode -> [N, h, w, features]."""
        x = ConvModule(None, 3, self.norm, self.dilation, name="depthwise_conv")(x, mode)
        return ConvModule(self.features, 1, self.norm, name="pointwise_conv")(x, mode)


class SeparableASPP(nn.Module):
    """DAFormer's fusion: a 1x1 convolution and three dilated separable ones side by side, and a
    3x3 convolution over their results. Submodules aspp_modules_0 to 3, bottleneck.
    """

    features: int
    norm: NormSettings

    @nn.compact
    def __call__(self, x, mode):
        """float [N, h, w, C], Mode -> [N, h, w, features]."""
        branches = [ConvModule(self.features, 1, self.norm, name="aspp_modules_0")(x, mode)]
        for i, rate in enumerate(RATES[1:], start=1):
            branch = Separable(self.features, rate, self.norm, name=f"aspp_modules_{i}")
            branches.append(branch(x, mode))
        together = jnp.concatenate(branches, -1)
        return ConvModule(self.features, 3, self.norm, name="bottleneck")(together, mode)


class Embedding(nn.Module):
    """A linear layer at every position, at torch's default initialisation. Submodule proj."""

    features: int

    @nn.compact
    def __call__(self, x):
        """float [N, h, w, C] -> [N, h, w, features]."""
        bias_init = torch_bias_init(x.shape[-1])
        return Linear(self.features, kernel_init=torch_init, bias_init=bias_init, name="proj")(x)


class StagesHead(nn.Module):
    """A decoder of HEADS. Its last layer is a 1x1 convolution over its features, behind a dropout
    of whole channels; with two heads there are two such layers.

    Attributes:
      kind: one of HEADS.
      num_classes: K.
      channels: of the features and of every embedded stage.
      dropout: rate of the dropout.
      norm: NormSettings.
      num_heads: 1, or 2: the main head, and `<name>_aux`, as CLAN needs them.
    """

    kind: str
    num_classes: int
    channels: int
    dropout: float = 0.1  # dropout_ratio of DAFormer's configs
    norm: NormSettings = NormSettings()
    num_heads: int = 1

    @property
    def classifiers(self):
        """Names of the last layers, the main one first."""
        name = "linear_pred" if self.kind == "segformer" else "conv_seg"
        return (name, f"{name}_aux")[: self.num_heads]

    @nn.compact
    def __call__(self, stages, mode):
        """Feature maps float [N, h_i, w_i, C_i], finest first, and Mode -> SegOutput with h = h_0;
        its features are what the dropout stands before.
        """
        is_segformer = self.kind == "segformer"
        stem, fusion = (
            ("linear_c", "linear_fuse") if is_segformer else ("embed_layers", "fuse_layer")
        )
        size_hw, maps = stages[0].shape[1:3], []
        for i, x in enumerate(stages):
            embedded = Embedding(self.channels, name=f"{stem}_{i}")(x)
            maps.append(resize_bilinear(embedded, size_hw, align_corners=False))
        together = jnp.concatenate(maps, -1)  # [N, h, w, stages * channels]
        if self.kind == "daformer":
            fused = SeparableASPP(self.channels, self.norm, name=fusion)(together, mode)
        else:
            fused = ConvModule(self.channels, 1, self.norm, name=fusion)(together, mode)
        features = fused.astype(jnp.float32)
        kept = ChannelDropout(self.dropout, name="dropout")(features, mode)
        logits = [self._classifier(name=name)(kept) for name in self.classifiers]
        aux = logits[1] if self.num_heads == 2 else None
        return SegOutput(features, logits[0], aux, stages[-1].astype(jnp.float32))

    def _classifier(self, **placing):
        # mmseg's BaseDecodeHead: normal_(std=0.01), bias 0
        init = nn.initializers.normal(0.01)
        return Conv(self.num_classes, 1, use_bias=True, kernel_init=init, **placing)

    def classify(self, params, features):
        """Logits float32 [N, h, w, K] of given features float32 [N, h, w, D], of both classifiers
        together where there are two; `params` are this head's.
        """
        layer = self._classifier(parent=None)
        return sum(layer.apply({"params": params[name]}, features) for name in self.classifiers)

    def twin_heads(self, params):
        """The parameters of the two classifiers, auxiliary and main; `params` are this head's."""
        main, aux = self.classifiers
        return params[aux], params[main]

    def attention_head(self):
        """HRDA's attention beside this head: as wide, with one 1x1 convolution to fuse, and a map
        for each class.
        """
        return self.clone(kind="daformer_conv1", num_heads=1)

    def frozen_parameters(self):
        """Regular expressions for the submodules without a gradient, as ResNet has them."""
        return () if self.norm.train_affine else (r"(.*/)?bn",)
