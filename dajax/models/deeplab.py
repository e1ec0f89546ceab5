"""DeepLab-v2 (Chen et al., TPAMI 2018) in the variants of AdaptSegNet, CLAN, PLCA, SPCL and DASS.

AdaptSegNet, CLAN, DASS and PLCA have the "caffe" topology: a bottleneck's stride in its first 1x1
convolution, max-pooling that rounds sizes up, and a dilation from the first block of a stage on.
SPCL has the "torchvision" topology: the stride in the 3x3 convolution, pooling that rounds down,
the first block of a dilated stage with the dilation of the stage before, and normalisation that is
frozen, without epsilon. PLCA's head has no bias, and AdaptSegNet's sums two of its four branches.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from dajax.models.aspp import ASPP, KERNEL_INITS, ASPPHead, SegOutput
from dajax.models.resnet import NORMS, ResNet, remat_stages, resnet50, resnet101
from dajax.models.vgg import VGG, FCN8s
from dajax.settings import choice

BACKBONES = ("resnet101", "resnet50", "vgg16", "vgg16_fcn8s", "resnet_small")
TOPOLOGIES = ("caffe", "torchvision")
HEADS = ("single", "multi", "twin")
DTYPES = ("float32", "bfloat16")
# of config.model, beside what every segmenter has there
KEYS = ("topology", "aspp_rates", "aspp_branches", "head_bias", "head_init")
RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4")  # of all dilated ResNets


class DeepLab(nn.Module):
    """Params {"backbone", "layer5"} and, with two heads, "layer6"; names as in the authors' state
    dicts.

    Attributes:
      backbone: a ResNet or a VGG, dilated.
      num_classes: K.
      heads: "single", layer5 on the last stage (AdaptSegNet's Res_Deeplab). "multi", the auxiliary
        layer5 on the last stage but one, the main layer6 on the last (DeeplabMulti). "twin", layer5
        (auxiliary) and layer6 (main) both on the last; predictions are their sum (CLAN).
      aspp_rates, aspp_branches, head_bias, head_init: of the heads, see ASPP.
      dtype: "float32" or "bfloat16", in which convolutions compute; parameters, statistics,
        normalisation and outputs stay float32.
    """

    backbone: nn.Module
    num_classes: int
    heads: str = "single"
    aspp_rates: tuple[int, ...] = (6, 12, 18, 24)  # DeepLab-v2's ASPP-L
    aspp_branches: int = 4
    head_bias: bool = True
    head_init: str = "normal"
    dtype: str = "float32"
    network: ClassVar[str] = "segmenter"  # its key in TrainState.params and TrainState.batch_stats
    # Of the bilinear resize to the label's size in training, pseudo-labels and, unless the recipe
    # says otherwise, evaluation: the nn.Upsample of AdaptSegNet, CLAN and SPCL.
    align_corners: ClassVar[bool] = True
    detail_hw: ClassVar[tuple[int, ...]] = ()  # of HRDA's crop in pixels

    @property
    def num_heads(self):
        """1 or 2."""
        return 1 if self.heads == "single" else 2

    @nn.compact
    def __call__(self, images, mode):
        """Images float32 [N, H, W, C], Mode -> SegOutput at the backbone's stride."""

        def head(name, x):
            return self._head(name=name)(x)

        stages = list(self.backbone.stage_outputs(images.astype(self.dtype), mode).values())
        features = stages[-1]
        first = head("layer5", stages[-2] if self.heads == "multi" else features)
        if self.heads == "single":
            return SegOutput(features.astype(jnp.float32), first, None)
        return SegOutput(features.astype(jnp.float32), head("layer6", features), first)

    def _head(self, **placing):
        return ASPP(
            self.num_classes,
            self.aspp_rates,
            self.aspp_branches,
            self.head_bias,
            self.head_init,
            **placing,
        )

    @property
    def stride(self):
        """Of the logits, in pixels."""
        return self.backbone.stride

    def decoder(self):
        """The single head as a module of its own, for HRDA."""
        return ASPPHead(
            self.num_classes,
            self.aspp_rates,
            self.aspp_branches,
            self.head_bias,
            self.head_init,
            parent=None,
        )

    def classify(self, params, features):
        """`prediction_logits` [N, h, w, K] of given features float32 [N, h, w, D].

        Args:
          params: of this segmenter.
        """
        last = {"single": ("layer5",), "multi": ("layer6",), "twin": ("layer5", "layer6")}[
            self.heads
        ]
        return sum(
            self._head(parent=None).apply({"params": params[name]}, features) for name in last
        )

    def twin_heads(self, params):
        """The parameters of the two classifiers of heads="twin", auxiliary and main; `params` are
        this segmenter's.
        """
        return params["layer5"], params["layer6"]

    def prediction_logits(self, output):
        """SegOutput -> float32 [N, h, w, K], the logits that the authors evaluate: the sum of twin
        heads, else the main head's.
        """
        return output.logits + output.aux_logits if self.heads == "twin" else output.logits

    def frozen_parameters(self):
        """Regular expressions for the paths, such as "segmenter/backbone/bn1/scale", of parameters
        without a gradient, which torch gives no weight decay either.

        They are scale and bias of the normalisation where these are not trained, and the branches
        that two-branch ASPP leaves out.
        """
        branches = "".join(str(i) for i in range(self.aspp_branches, len(self.aspp_rates)))
        unused = (rf"/layer[56]/conv2d_list_[{branches}]/",) if branches else ()
        return (*(rf"/backbone/{name}/" for name in self.backbone.frozen_parameters()), *unused)


def build_segmenter(config_model, num_classes, num_domains):
    """The segmenter that a config describes.

    Args:
      config_model: `backbone`, one of BACKBONES; `heads`, one of HEADS; `aspp_rates`;
        `aspp_branches`, 4, or 2 as in AdaptSegNet's released code; `head_bias`; `head_init`, one of
        KERNEL_INITS; `dtype`, one of DTYPES; `remat`, see resnet.remat_stages; and of ResNets
        `topology`, one of TOPOLOGIES; `norm`, one of NORMS; `train_norm_affine`; `widths`, a width
        per stage, read by resnet_small only.
      num_classes: K.
      num_domains: sets of normalisation parameters and statistics.

    Returns:
      DeepLab, or FCN8s for "vgg16_fcn8s".

    Raises:
      UserError: an unknown word.
      ValueError: more branches than rates, or a head on a VGG's last stage but one.
    """
    choices = {
        "backbone": BACKBONES,
        "topology": TOPOLOGIES,
        "heads": HEADS,
        "head_init": KERNEL_INITS,
        "norm": NORMS,
        "dtype": DTYPES,
    }
    for key, known in choices.items():
        choice(config_model, key, tuple(known))
    name, heads = config_model.backbone, config_model.heads
    rates, branches = config_model.aspp_rates, config_model.aspp_branches
    if not 1 <= branches <= len(rates):
        raise ValueError(
            f"aspp_branches={branches} of {len(rates)} aspp_rates {tuple(rates)}: set it from 1 to"
            f" {len(rates)}"
        )
    remat = remat_stages(config_model, () if name.startswith("vgg16") else RESNET_STAGES)
    if name.startswith("vgg16") and heads == "multi":
        raise ValueError(
            f"heads='multi' on {name}: a VGG has no head before its last stage, set heads='single',"
            " or 'twin' (CLAN), or choose a ResNet"
        )
    if name == "vgg16_fcn8s":
        return FCN8s(num_classes, dtype=config_model.dtype, heads=heads)
    return DeepLab(
        VGG() if name == "vgg16" else _dilated_resnet(name, config_model, num_domains, remat),
        num_classes,
        heads=heads,
        aspp_rates=tuple(rates),
        aspp_branches=branches,
        head_bias=config_model.head_bias,
        head_init=config_model.head_init,
        dtype=config_model.dtype,
    )


def _dilated_resnet(name, config_model, num_domains, remat):
    is_caffe = config_model.topology == "caffe"
    settings = {
        "num_domains": num_domains,
        "norm": config_model.norm,
        "train_norm_affine": config_model.train_norm_affine,
        "remat": remat,
    }
    if name == "resnet_small":
        return resnet_small_dilated(widths=tuple(config_model.widths), **settings)
    return (resnet50 if name == "resnet50" else resnet101)(
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        first_block_dilation="full" if is_caffe else "previous",
        stride_in_1x1=is_caffe,
        ceil_pool=is_caffe,
        **settings,
    )


def resnet_small_dilated(*, widths=(16, 32, 64, 64), **settings):
    """A residual network of 17 convolutions and output stride 4 for images of about 64x128 pixels
    on a CPU; D is the last width.

    The stem and the second stage halve the size; the last two stages are dilated by 2 and 4
    instead, as in DeepLab.
    """
    return ResNet(
        stage_sizes=(2, 2, 2, 2),
        block="basic",
        widths=widths,
        stem="small",
        stem_stride=2,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        **settings,
    )
