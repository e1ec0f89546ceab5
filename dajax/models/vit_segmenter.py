"""A vision transformer with VFM-UDA's light head (Englert et al., CVPR workshops 2024;
models/vit_variants/vit_lightweight_head.py): the segmenter, and its build from a config.
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from dajax.errors import UserError
from dajax.models.aspp import SegOutput
from dajax.models.deeplab import DTYPES
from dajax.models.layers import Conv, LayerNorm, torch_init
from dajax.models.resnet import remat_stages
from dajax.models.vit import VARIANTS, ViT
from dajax.ops.resize import resize_bilinear
from dajax.settings import choice

# VFM-UDA resizes its 1024x1024 crops to 1120x1120, the last multiple of the patch in 1.1 times
# their size: 80 x 80 tokens.
INPUT_SCALE = 1.1
HEADS = ("single", "twin")


class Double(nn.Module):
    """torch.nn.ConvTranspose2d of 2x2 pixels at stride 2, without bias: every pixel becomes 2x2.

    Its kernel is [2, 2, out, in], which to_torch turns into torch's [in, out, 2, 2].
    """

    features: int

    @nn.compact
    def __call__(self, x):
        """float [N, h, w, C] -> [N, 2h, 2w, features], typed like x."""
        kernel = self.param("kernel", torch_init, (2, 2, self.features, x.shape[-1]))
        count, height, width, _ = x.shape
        y = jnp.einsum("nhwc,abdc->nhawbd", x, kernel.astype(x.dtype))
        return y.reshape(count, 2 * height, 2 * width, self.features)


class VFMHead(nn.Module):
    """Two doublings and a 3x3 convolution, each with a LayerNorm over the channels, no biases; and
    one or two classifiers of what comes out.

    Submodules upscale_0, upscale_1, upscale_3 ... upscale_6 and out, which are the authors' names,
    and out_aux.

    Attributes:
      num_classes: K.
      classifiers: names, the main one first.
      dtype: "float32" or "bfloat16", in which convolutions compute.
    """

    num_classes: int
    classifiers: tuple[str, ...] = ("out",)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        """float32 [N, h, w, C] -> (float32 [N, 4h, 4w, C / 4], logits float32 [N, 4h, 4w, K] of
        each classifier).
        """
        width, norm = x.shape[-1], functools.partial(LayerNorm, 1e-6)  # timm's LayerNorm2d
        x = Double(width // 2, name="upscale_0")(x.astype(self.dtype))
        x = jax.nn.gelu(norm(name="upscale_1")(x), approximate=False)
        x = Double(width // 4, name="upscale_3")(x)
        x = norm(name="upscale_4")(x)
        x = Conv(width // 4, 3, padding=1, kernel_init=torch_init, name="upscale_5")(x)
        features = norm(name="upscale_6")(x).astype(jnp.float32)
        return features, [self.classifier(name=name)(features) for name in self.classifiers]

    def classifier(self, **placing):
        """The last layer, a 1x1 convolution in float32; its weights begin as N(0, 0.1^2)."""
        return Conv(self.num_classes, 1, kernel_init=nn.initializers.normal(0.1), **placing)


class ViTSegmenter(nn.Module):
    """Params {"backbone", "head"}.

    Attributes:
      backbone: ViT.
      num_classes: K.
      heads: "single"; "twin", two classifiers of one feature map, whose sum predicts (CLAN).
      dtype: of the head, see VFMHead.
    """

    backbone: ViT
    num_classes: int
    heads: str = "single"
    dtype: str = "float32"
    network: ClassVar[str] = "segmenter"
    align_corners: ClassVar[bool] = False  # VFM-UDA's F.interpolate
    detail_hw: ClassVar[tuple[int, ...]] = ()

    @property
    def num_heads(self):
        """1 or 2."""
        return len(self._classifiers)

    @property
    def _classifiers(self):
        return ("out",) if self.heads == "single" else ("out", "out_aux")

    def _head(self, **placing):
        return VFMHead(self.num_classes, self._classifiers, self.dtype, **placing)

    @nn.compact
    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> SegOutput: `encoder` has a cell for each token,
        `features` and logits have 4x4.

        Raises:
          UserError: the images are smaller than a token.
        """
        rows, columns = self.token_grid(images.shape[1:3])
        patch = self.backbone.variant.patch
        images = resize_bilinear(
            images.astype(jnp.float32), (patch * rows, patch * columns), align_corners=False
        )
        tokens = self.backbone(images, mode.token_mask)
        features, (logits, *others) = self._head(name="head")(tokens)
        return SegOutput(features, logits, *(others or [None]), tokens)

    def token_grid(self, hw):
        """(rows, columns) of the tokens of images of hw pixels, which is what Mode.token_mask has.

        Raises:
          UserError: there are none.
        """
        patch = self.backbone.variant.patch
        grid = tuple(int(size * INPUT_SCALE / patch) for size in hw)
        if 0 in grid:
            raise UserError(
                f"images of {hw[0]}x{hw[1]}: no room for a token of {patch}x{patch} pixels, though"
                f" they are made {INPUT_SCALE} times as large; make config.data.transforms sizes"
                " larger"
            )
        return grid

    def classify(self, params, features):
        """`prediction_logits` [N, h, w, K] of given features float32 [N, h, w, D]; `params` are
        this segmenter's.
        """
        layer = self._head(parent=None).classifier(parent=None)
        own = params["head"]
        return sum(layer.apply({"params": own[name]}, features) for name in self._classifiers)

    def twin_heads(self, params):
        """See DeepLab."""
        return params["head"]["out_aux"], params["head"]["out"]

    def prediction_logits(self, output):
        """SegOutput -> float32 [N, h, w, K]: the sum of twin heads, else the main head's."""
        return output.logits + output.aux_logits if self.heads == "twin" else output.logits

    def frozen_parameters(self):
        """See DeepLab: none."""
        return self.backbone.frozen_parameters()


def build_segmenter(config_model, num_classes):
    """The segmenter that a config describes.

    Args:
      config_model: `backbone`, a key of vit.VARIANTS; `heads`, one of HEADS; `dtype`, one of
        DTYPES; `remat`, see resnet.remat_stages: "none", "all" or "blocks".
      num_classes: K.

    Raises:
      UserError: an unknown word.
    """
    heads = choice(config_model, "heads", HEADS)
    dtype = choice(config_model, "dtype", DTYPES)
    remat = bool(remat_stages(config_model, ("blocks",)))
    backbone = ViT(VARIANTS[choice(config_model, "backbone", tuple(VARIANTS))], dtype, remat)
    return ViTSegmenter(backbone, num_classes, heads, dtype)
