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
from dajax.models.layers import Conv, torch_init
from dajax.models.resnet import remat_stages
from dajax.models.vit import VARIANTS, LayerNorm, ViT
from dajax.ops.resize import resize_bilinear
from dajax.settings import choice

# VFM-UDA resizes its 1024x1024 crops to 1120x1120, the last multiple of the patch in 1.1 times
# their size: 80 x 80 tokens.
INPUT_SCALE = 1.1


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
    """Two doublings and a 3x3 convolution, each with a LayerNorm over the channels, no biases.

    Submodules upscale_0, upscale_1, upscale_3 ... upscale_6, which are the authors' indices, and
    `out`.

    Attributes:
      num_classes: K.
      dtype: "float32" or "bfloat16", in which convolutions compute.
    """

    num_classes: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        """float32 [N, h, w, C] -> float32 ([N, 4h, 4w, C / 4], logits [N, 4h, 4w, K])."""
        width, norm = x.shape[-1], functools.partial(LayerNorm, 1e-6)  # timm's LayerNorm2d
        x = Double(width // 2, name="upscale_0")(x.astype(self.dtype))
        x = jax.nn.gelu(norm(name="upscale_1")(x), approximate=False)
        x = Double(width // 4, name="upscale_3")(x.astype(self.dtype))
        x = norm(name="upscale_4")(x).astype(self.dtype)
        x = Conv(width // 4, 3, padding=1, kernel_init=torch_init, name="upscale_5")(x)
        features = norm(name="upscale_6")(x)
        return features, self.classifier(name="out")(features)

    def classifier(self, **placing):
        """The last layer, a 1x1 convolution in float32; its weights begin as N(0, 0.1^2)."""
        return Conv(self.num_classes, 1, kernel_init=nn.initializers.normal(0.1), **placing)


class ViTSegmenter(nn.Module):
    """Params {"backbone", "head"}.

    Attributes:
      name_of_backbone: key of vit.VARIANTS, for messages.
      backbone: ViT.
      num_classes: K.
      dtype: of the head, see VFMHead.
    """

    name_of_backbone: str
    backbone: ViT
    num_classes: int
    dtype: str = "float32"
    network: ClassVar[str] = "segmenter"
    heads: ClassVar[str] = "single"
    num_heads: ClassVar[int] = 1
    align_corners: ClassVar[bool] = False  # VFM-UDA's F.interpolate
    detail_hw: ClassVar[tuple[int, ...]] = ()

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
        features, logits = VFMHead(self.num_classes, self.dtype, name="head")(tokens)
        return SegOutput(features, logits, None, tokens)

    def token_grid(self, hw):
        """(rows, columns) of the tokens of images of hw pixels, which is what Mode.token_mask has.

        Raises:
          UserError: there are none.
        """
        patch = self.backbone.variant.patch
        grid = tuple(int(size * INPUT_SCALE / patch) for size in hw)
        if 0 in grid:
            raise UserError(
                f"config.model.backbone='{self.name_of_backbone}': images of {hw[0]}x{hw[1]} pixels"
                f" have no room for a token, {patch} pixels wide in images {INPUT_SCALE} times as"
                " large; make the sizes in config.data.transforms larger"
            )
        return grid

    def classify(self, params, features):
        """Logits float32 [N, h, w, K] of given features float32 [N, h, w, D].

        Args:
          params: of this segmenter.
        """
        layer = VFMHead(self.num_classes, parent=None).classifier(parent=None)
        return layer.apply({"params": params["head"]["out"]}, features)

    def prediction_logits(self, output):
        """SegOutput -> float32 [N, h, w, K]."""
        return output.logits

    def frozen_parameters(self):
        """See DeepLab: none."""
        return self.backbone.frozen_parameters()


def build_vit_segmenter(config_model, num_classes):
    """The segmenter that a config describes.

    Args:
      config_model: `backbone`, a key of vit.VARIANTS; `dtype`, one of DTYPES; `remat`, see
        resnet.remat_stages: "none", "all" or "blocks".
      num_classes: K.

    Raises:
      UserError: an unknown word.
    """
    name = choice(config_model, "backbone", tuple(VARIANTS))
    dtype = choice(config_model, "dtype", DTYPES)
    remat = bool(remat_stages(config_model, ("blocks",)))
    return ViTSegmenter(name, ViT(VARIANTS[name], dtype, remat), num_classes, dtype)
