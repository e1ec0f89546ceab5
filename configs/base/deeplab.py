"""DeepLab-v2 and its optimisers, as AdaptSegNet and CLAN have them, and the recipes that build on
their code.
"""

from dajax.recipes.base import common as base
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

ASPP_RATES = (6, 12, 18, 24)
STRIDE, MAP_SIDE = 8, 64  # of 512x1024, which the authors train the target at
# Of vgg16-00b39a1b.pth, caffe's: PIXEL_MEAN, PIXEL_STD, TO_BGR255 of FADA's
# configs/deeplabv2_vgg16_*.yaml, and of SDCA's
CAFFE_VGG = dict(channels="bgr", divisor=1.0, mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0))


def network(backbone, heads, weights, *, aspp_branches=4, size_hw=()):
    """DeepLab-v2 as AdaptSegNet and CLAN have it (model/deeplab_multi.py, model/CLAN_G.py): batch
    statistics move, scale and bias do not.

    Args:
      backbone: "resnet101" or "resnet50"; "vgg16", AdaptSegNet's model/deeplab_vgg.py, or
        "vgg16_fcn8s", CLAN's paper, neither with "multi".
      heads: "single"; "twin", two on layer4 (CLAN); "multi", one on layer3 and one on layer4
        (AdaptSegNet).
      weights: a file, "" for none.
      aspp_branches: 2 is AdaptSegNet's released code, whose sum ends after two of its four
        branches.
      size_hw: of own folders; ASPP's rates shrink with a map smaller than the authors'. () for the
        authors' rates.
    """
    rates = ASPP_RATES
    if size_hw:
        rates = seg_base.fitting_rates(ASPP_RATES, STRIDE, MAP_SIDE, size_hw)
    return dict(
        backbone=backbone,
        topology="caffe",  # a block's stride is in its first convolution
        widths=(),  # the backbone's own
        heads=heads,
        head_bias=True,
        head_init="normal",
        aspp_branches=aspp_branches,
        aspp_rates=rates,
        norm="train",
        train_norm_affine=False,
        dtype="float32",
        remat=seg_base.REMAT,
        **seg_base.weights_file(weights),
    )


def imagenet_pixels(backbone):
    """Keys of a transform: pixels as ImageNet's weights saw them, a ResNet's being torchvision's, a
    VGG's caffe's.
    """
    return CAFFE_VGG if "vgg" in backbone else base.IMAGENET_RGB


def poly_sgd(lr, *, horizon_steps=0, warmup_steps=0, head_multiplier=10.0, repeats=()):
    """DeepLab's SGD: momentum 0.9, weight decay 5e-4, poly with power 0.9, heads at ten times the
    rate.

    Args:
      lr: the backbone's rate.
      horizon_steps: where poly ends; 0: with the stage.
      warmup_steps: of a rate that rises linearly first.
      head_multiplier: factor on the heads' rate.
      repeats: how often which parameters are stepped, see RELEASED_SGD_REPEATS.
    """
    return base.sgd(
        lr=lr,
        schedule="poly",
        power=0.9,
        horizon_steps=horizon_steps,
        warmup_steps=warmup_steps,
        lr_multipliers=(("/layer[56]/", head_multiplier),) if head_multiplier != 1.0 else (),
        repeats=repeats,
    )


# get_1x_lr_params_NOscale of AdaptSegNet, CLAN, DASS and CRST lists the parameters() of every
# submodule of a ResNet, each of which includes those of its own submodules. A block's convolutions
# so stand three times in the list, the shortcuts' four times, the stem's once, and SGD steps them
# so often.
RELEASED_SGD_REPEATS = (("/downsample_conv/", 4), ("/backbone/layer", 3))


def released_sgd(backbone, lr, *, settings, **schedule):
    """poly_sgd as AdaptSegNet's and CLAN's code has it for a backbone: a VGG has one rate and
    repeats nothing (AdaptSegNet model/deeplab_vgg.py, optim_parameters).

    Args:
      backbone: config.model's.
      lr: the backbone's rate.
      settings: "code", or "paper", which steps every parameter once.
      **schedule: horizon_steps, warmup_steps.
    """
    if "vgg" in backbone:
        return poly_sgd(lr, head_multiplier=1.0, **schedule)
    repeats = () if settings == "paper" else RELEASED_SGD_REPEATS
    return poly_sgd(lr, repeats=repeats, **schedule)


def poly_adam(lr, *, horizon_steps=0, warmup_steps=0, weight_decay=0.0):
    """The discriminator's Adam of AdaptSegNet and CLAN; see `poly_sgd`."""
    return dict(
        kind="adam",
        lr=lr,
        betas=(0.9, 0.99),
        weight_decay=weight_decay,
        lr_multipliers=(),
        schedule="poly",
        power=0.9,
        horizon_steps=horizon_steps,
        warmup_steps=warmup_steps,
    )


def supervised(backbone, *, settings="code", steps=150_000, batch_size=1):
    """Training on the source alone with AdaptSegNet's numbers: train_gta2cityscapes_multi.py.

    Args:
      backbone: config.model's.
      settings: see `released_sgd`.
      steps: NUM_STEPS_STOP; the rate falls over NUM_STEPS, 250,000.
      batch_size: BATCH_SIZE.
    """
    return seg_base.supervised(
        steps=steps,
        batch_size=batch_size,
        loss=dict(kind="cross_entropy", aux_weight=0.1),
        optimizer=released_sgd(backbone, 2.5e-4, settings=settings, horizon_steps=250_000),
    )


def add_stages(config, arg, control, *, source_only=None, **methods):
    """The rows of a table on own folders with a large network, as scenes.add_stages has them for
    the small one. Source only and oracle take as many steps, of as many images, as the control.

    AdaBN is left out for VGG-16, which normalises nothing, and re-estimates the statistics of a
    network that was trained with frozen ones.

    Args:
      config: the run's, with its network.
      arg: as seg_base.parse returns it.
      control: None for a recipe without a method.
      source_only: the authors' stage of that name; None for AdaptSegNet's numbers.
      **methods: {stage: settings}.
    """
    length = {}
    if control is not None:
        repeats = control.accumulate if "accumulate" in control else 1
        length = dict(steps=control.steps, batch_size=control.batch_size * repeats)
    rows = dict(source_only=source_only or supervised(arg.backbone, **length))
    if "vgg" not in arg.backbone:
        # 100 batches leave less than a ten-thousandth of training's statistics; 4 images are ours
        rows["adabn"] = seg_base.stage(
            "adabn", init_from="source_only", steps=100, batch_size=4, norm="train"
        )
    if control is not None:
        rows["control"] = control
    rows |= methods
    if sets.target_has_labels(arg):
        rows["oracle"] = seg_base.without(rows["source_only"], domain="target", transform="")
    config.update(rows)
    config.stages = tuple(rows)
