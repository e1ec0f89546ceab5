"""A segmenter of an encoder that gives feature maps and a decoder that makes logits of them, as
mmsegmentation divides it: MiT with DAFormer's or SegFormer's head.
"""

from typing import ClassVar

import flax.linen as nn

from dajax.models import daformer_head
from dajax.models.deeplab import DTYPES
from dajax.models.mit import STAGES, VARIANTS, mit
from dajax.models.norm import NormSettings
from dajax.models.resnet import NORMS, remat_stages
from dajax.settings import choice

HEADS = ("single", "twin")
# of config.model, beside what every segmenter has there
KEYS = ("head", "head_channels", "dropout", "drop_path")


class EncoderDecoder(nn.Module):
    """Params {"backbone", "decode_head"}.

    Attributes:
      backbone: its stage_outputs(images, mode) gives a dict of feature maps, finest first.
      decode_head: a module of (list of feature maps, mode) -> SegOutput.
      num_classes: K.
      heads: "single", or "twin", two classifiers on one feature map; predictions are their sum
        (CLAN).
      dtype: "float32" or "bfloat16", in which all layers compute; parameters, statistics,
        normalisation and outputs stay float32.
    """

    backbone: nn.Module
    decode_head: nn.Module
    num_classes: int
    heads: str = "single"
    dtype: str = "float32"
    network: ClassVar[str] = "segmenter"  # its key in TrainState.params and TrainState.batch_stats
    align_corners: ClassVar[bool] = False  # of its logits' resize, everywhere: mmseg's configs
    detail_hw: ClassVar[tuple[int, ...]] = ()  # see HRDA

    @property
    def num_heads(self):
        """1 or 2."""
        return 1 if self.heads == "single" else 2

    @property
    def stride(self):
        """Of the logits, in pixels."""
        return self.backbone.stride

    def decoder(self):
        """The head as a module of its own, for HRDA."""
        return self.decode_head

    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> SegOutput at the stride of the finest map."""
        stages = self.backbone.stage_outputs(images.astype(self.dtype), mode)
        return self.decode_head(list(stages.values()), mode)

    def classify(self, params, features):
        """`prediction_logits` [N, h, w, K] of given features float32 [N, h, w, D]; `params` are
        this segmenter's.
        """
        return self.decode_head.classify(params["decode_head"], features)

    def twin_heads(self, params):
        """See DeepLab."""
        return self.decode_head.twin_heads(params["decode_head"])

    def prediction_logits(self, output):
        """SegOutput -> float32 [N, h, w, K]: the sum of twin heads, else the main head's."""
        return output.logits + output.aux_logits if self.heads == "twin" else output.logits

    def frozen_parameters(self):
        """See DeepLab."""
        return frozen_parameters(self.backbone, "backbone", self.decode_head, "decode_head")


def frozen_parameters(*modules_and_places):
    """The regular expressions of `frozen_parameters` of some modules, each followed by its name in
    the network.
    """
    pairs = zip(modules_and_places[::2], modules_and_places[1::2], strict=True)
    return tuple(
        rf"/{place}/{name}/" for module, place in pairs for name in module.frozen_parameters()
    )


def build_segmenter(config_model, num_classes, num_domains):
    """The segmenter that a config describes.

    Args:
      config_model: `backbone`, one of mit.VARIANTS; `head`, one of daformer_head.HEADS, with
        `head_channels` and `dropout`; `drop_path` of the backbone; `heads`, one of HEADS; `norm`,
        one of NORMS, and `train_norm_affine`, of the decoder's batch normalisation; `dtype`;
        `remat`, see resnet.remat_stages.
      num_classes: K.
      num_domains: sets of normalisation parameters and statistics.

    Returns:
      EncoderDecoder.

    Raises:
      UserError: an unknown word.
    """
    choices = {
        "backbone": VARIANTS,
        "head": daformer_head.HEADS,
        "heads": HEADS,
        "norm": NORMS,
        "dtype": DTYPES,
    }
    for key, known in choices.items():
        choice(config_model, key, tuple(known))
    backbone = mit(
        config_model.backbone,
        drop_path=config_model.drop_path,
        remat=remat_stages(config_model, STAGES),
    )
    head = daformer_head.StagesHead(
        config_model.head,
        num_classes,
        config_model.head_channels,
        dropout=config_model.dropout,
        norm=NormSettings(num_domains, config_model.norm, config_model.train_norm_affine),
        num_heads=1 if config_model.heads == "single" else 2,
    )
    return EncoderDecoder(
        backbone, head, num_classes, heads=config_model.heads, dtype=config_model.dtype
    )
