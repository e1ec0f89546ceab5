"""VGG-16 (Simonyan and Zisserman, ICLR 2015) for segmentation: AdaptSegNet's DeeplabVGG, FCN8s."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from dajax.models.aspp import KERNEL_INITS, SegOutput
from dajax.models.layers import Conv, conv_init, relu, torch_bias_init, torch_init
from dajax.ops.resize import resize_bilinear

# Configuration D of the paper: convolutions by their width, and poolings.
WIDTHS = (
    *(64, 64, "pool"),
    *(128, 128, "pool"),
    *(256, 256, 256, "pool"),
    *(512, 512, 512, "pool"),
    *(512, 512, 512, "pool"),
)
AUX = "_aux"  # ends the names of FCN8s' second scores


def _pool(x):
    """2x2 max-pooling, stride 2; an odd last row or column is dropped, as in torch."""
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def _conv(
    features,
    x,
    name,
    *,
    kernel_size=3,
    dilation=1,
    kernel_init=conv_init,
    bias_init=nn.initializers.zeros,
):
    padding = dilation * (kernel_size // 2)
    layer = Conv(
        features,
        kernel_size,
        padding=padding,
        dilation=dilation,
        use_bias=True,
        kernel_init=kernel_init,
        bias_init=bias_init,
        name=name,
    )
    return relu(layer(x))


def _fully_connected(features, x, name, *, kernel_size, dilation=1):
    """A fully connected layer of VGG as a convolution, with torch's default initialisation, which
    DeeplabVGG keeps.
    """
    bias_init = torch_bias_init(kernel_size**2 * x.shape[-1])
    return _conv(
        features,
        x,
        name,
        kernel_size=kernel_size,
        dilation=dilation,
        kernel_init=torch_init,
        bias_init=bias_init,
    )


class VGG(nn.Module):
    """The backbone of DeeplabVGG (AdaptSegNet, deeplab_vgg.py): stride 8, D = 1024, no
    normalisation, all convolutions with bias.

    The last two of VGG's poolings are left out; its last three convolutions are dilated by 2, and
    fc6, fc7 are 3x3 convolutions dilated by 4. Submodules features_0, features_2, ..., features_31:
    the indices of the authors' `features`.
    """

    stride: ClassVar[int] = 8

    @nn.compact
    def stage_outputs(self, images, mode):
        """The feature map after each pooling, and after the dilated convolutions, fc6 and fc7.

        Args:
          images: float [N, H, W, C].
          mode: Mode; nothing here depends on it.

        Returns:
          {"pool1", "pool2", "pool3", "conv5", "fc6", "fc7"}: float [N, h, w, D], h = H // 8 from
            pool3 on.
        """
        del mode
        x, outputs, index, block = images, {}, 0, 1
        for width in WIDTHS:
            if width != "pool":
                x = _conv(width, x, f"features_{index}", dilation=2 if block == 5 else 1)
                index += 2  # the ReLU has an index too
                continue
            if block <= 3:
                x = outputs[f"pool{block}"] = _pool(x)
                index += 1
            block += 1
        outputs["conv5"] = x
        for i, name in enumerate(("fc6", "fc7")):
            x = outputs[name] = _fully_connected(
                1024, x, f"features_{index + 2 * i}", kernel_size=3, dilation=4
            )
        return outputs

    def frozen_parameters(self):
        """See ResNet: none."""
        return ()


class FCN8s(nn.Module):
    """Fully convolutional VGG-16 with skips from pool3 and pool4 (Long et al., CVPR 2015), which
    CLAN's paper names; its authors released no code of it.

    The topology is the paper's: fc6 (7x7) and fc7 (1x1) with 4096 channels, a 1x1 score on each of
    fc7, pool4, pool3, each coarser map doubled and added to the finer one, logits at stride 8. Not
    as there: fc6 pads by 3, where the first convolution padded by 100 and crops undid it; maps are
    doubled by bilinear interpolation, where transposed convolutions began as such; no dropout.

    Submodules features_0 ... features_28, fc6, fc7 (torchvision's features and classifier.0,
    classifier.3), score_fr, score_pool4, score_pool3. The scores begin at 0, as there.

    heads="twin" is CLAN's: its paper has the last classification module twice, and of an FCN8s we
    take that to be the three scores with their additions; the second set is score_fr_aux and so on.
    Two heads at 0 would stay equal, so that these begin as CLAN's on a ResNet do (ours).
    """

    num_classes: int
    dtype: str = "float32"
    heads: str = "single"
    network: ClassVar[str] = "segmenter"
    align_corners: ClassVar[bool] = True  # as DeepLab's
    detail_hw: ClassVar[tuple[int, ...]] = ()

    @property
    def num_heads(self):
        """1 or 2."""
        return 1 if self.heads == "single" else 2

    @nn.compact
    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], at least 32 x 32, Mode -> SegOutput with h = H // 8; its
        features are fc7's, brought to that size.
        """
        del mode
        x, pools, index = images.astype(self.dtype), [], 0
        for width in WIDTHS:
            if width == "pool":
                x = _pool(x)
                pools.append(x)
                index += 1
            else:
                x = _conv(width, x, f"features_{index}")
                index += 2
        x = _fully_connected(4096, x, "fc6", kernel_size=7)
        x = _fully_connected(4096, x, "fc7", kernel_size=1)

        is_twin = self.heads == "twin"
        kernel_init = KERNEL_INITS["normal"] if is_twin else nn.initializers.zeros_init()

        def score(name, y):
            layer = Conv(self.num_classes, 1, use_bias=True, kernel_init=kernel_init, name=name)
            return layer(y).astype(jnp.float32)

        def head(end):
            logits = score(f"score_fr{end}", x)
            for name, pool in (("score_pool4", pools[3]), ("score_pool3", pools[2])):
                logits = resize_bilinear(logits, pool.shape[1:3]) + score(f"{name}{end}", pool)
            return logits

        logits, aux_logits = head(""), head(AUX) if is_twin else None
        encoder = x.astype(jnp.float32)
        features = resize_bilinear(encoder, logits.shape[1:3])
        return SegOutput(features, logits, aux_logits, encoder)

    def prediction_logits(self, output):
        """See DeepLab."""
        return output.logits + output.aux_logits if self.heads == "twin" else output.logits

    def twin_heads(self, params):
        """See DeepLab."""
        return tuple(
            {name: params[f"{name}{end}"] for name in ("score_fr", "score_pool4", "score_pool3")}
            for end in (AUX, "")
        )

    def frozen_parameters(self):
        """See DeepLab: none."""
        return ()
