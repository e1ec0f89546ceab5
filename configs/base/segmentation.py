"""What every segmentation recipe starts from: networks, data, optimisers. A delta on base.py."""

from ml_collections import ConfigDict

from dajax.recipes.base import common as base

# AdaptSegNet's and CLAN's IMG_MEAN; caffe's ImageNet mean
CAFFE_MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)

REAL_VARIANTS = ("gta5_to_cityscapes", "synthia_to_cityscapes", "synscapes_to_cityscapes")
REAL_KEYS = ("source", "target", "weights")  # arguments that every real variant has
BACKBONES = ("resnet101", "resnet50", "vgg16", "vgg16_fcn8s")  # of `deeplab`
# (h, w) of the whole frame after its resize. AdaptSegNet's and CLAN's training scripts.
SOURCE_HW = {
    "gta5_to_cityscapes": (720, 1280),
    "synthia_to_cityscapes": (760, 1280),
    "synscapes_to_cityscapes": (720, 1440),
}
TARGET_HW = (512, 1024)


def parse(arg, variants, **defaults):
    """base.parse_arg with REAL_KEYS; the real variants ask for weights. ValueError as there."""
    return base.parse_arg(
        arg, variants, pretrained=REAL_VARIANTS, source="", target="", weights="", **defaults
    )


def run_name(recipe, arg, *parts):
    """The default workdir's: all that changes the network or the data, but for where files lie."""
    weights = base.weights_name(arg.weights, is_pretrained=arg.variant in REAL_VARIANTS)
    return base.run_name(recipe, arg.variant, *parts, weights)


def segmentation(name, *, model, data):
    """A segmentation run without its stages."""
    config = base.base(name)
    config.task, config.metric = "segmentation", "mIoU"
    config.model, config.data = ConfigDict(model), ConfigDict(data)
    config.runtime.eval_batch_size = 4
    # Every stage is measured twice: with its BN statistics as trained, and with statistics
    # re-estimated on unlabelled target images (AdaBN), since showing the network target images does
    # much of what adaptation is credited with.
    config.evaluation = ConfigDict(
        dict(
            reestimate_batches=50,
            reestimate_batch_size=4,
            num_pictures=4,
            # of the resize to the label's size: evaluate_cityscapes.py of AdaptSegNet and CLAN
            align_corners=True,
            # spatial aggregation at test time (PLCA) as a further measurement of every stage; 0 for
            # none
            aggregation_alpha=0.0,
        )
    )
    return config


def weights_file(path):
    """A torch or safetensors file, of which the heads can be left out, or which may lack entries;
    "" for none.
    """
    return dict(weights=path, skip_heads=False, allow_partial=False)


def small_network(heads):
    """A residual network of 17 convolutions at output stride 4, trained from random weights: the
    scenes' on a CPU.
    """
    return dict(
        backbone="resnet_small",
        topology="torchvision",
        widths=(16, 32, 64, 64),
        heads=heads,
        head_bias=True,
        head_init="normal",
        aspp_branches=4,
        aspp_rates=(1, 2, 4, 6),  # a 16 x 32 map has no room for 6, 12, 18, 24
        norm="train",
        train_norm_affine=True,
        dtype="float32",
        **weights_file(""),
    )


def deeplab(backbone, heads, weights, *, aspp_branches=4):
    """DeepLab-v2 as AdaptSegNet and CLAN have it; batch statistics move, scale and bias do not
    (spec/clan.md, 1.1).

    Args:
      backbone: "resnet101"; "vgg16" (AdaptSegNet's DeeplabVGG, 1.4) or "vgg16_fcn8s" (CLAN's
        paper), both with a single head.
      aspp_branches: 2 is AdaptSegNet's released code, whose sum ends after two of its four
        branches.
    """
    return dict(
        backbone=backbone,
        topology="caffe",
        widths=(),
        heads=heads,
        head_bias=True,
        head_init="normal",
        aspp_branches=aspp_branches,
        aspp_rates=(6, 12, 18, 24),
        norm="train",
        train_norm_affine=False,
        dtype="float32",
        **weights_file(weights),
    )


def domain(dataset, root, split="", space=""):
    """One set of images for data_pipeline.segmentation.readers; `classes` is read by dataset="own"
    only.
    """
    return dict(dataset=dataset, root=root, split=split, space=space, classes="")


def domains(arg, *, synthia_space):
    """`source`, `target` and `evaluation` of config.data for a real variant.

    Args:
      arg: variant, source and target, as `parse` returns them.
      synthia_space: "synthia", 16 classes, with which Cityscapes has the same 16; or
        "synthia_clan", whose 19 are Cityscapes' own.
    """
    dataset = arg.variant.split("_to_")[0]
    cityscapes = (
        "cityscapes_16" if (dataset, synthia_space) == ("synthia", "synthia") else "cityscapes"
    )
    return dict(
        source=domain(
            dataset,
            arg.source,
            space=synthia_space if dataset == "synthia" else "",
            split="rgb-2k" if dataset == "synscapes" else "",  # SPCL's core/datasets/synscapes.py
        ),
        target=domain("cityscapes", arg.target, "train", cityscapes),
        evaluation=domain("cityscapes", arg.target, "val", cityscapes),
    )


def whole_frames(size_hw, *, flip=False, image_scales=()):
    """The whole frame resized, no crop (AdaptSegNet, CLAN); BGR minus the mean."""
    return dict(
        size=size_hw,
        resize="bicubic",
        image_scales=image_scales,
        shorter_edge=None,
        scale_range=None,
        flip=flip,
        color_jitter=None,
        channels="bgr",
        divisor=1.0,
        mean=CAFFE_MEAN_BGR,
        std=(1.0, 1.0, 1.0),
    )


def frames(arg, *, flip, image_scales=()):
    """The real data sets, in their folders as downloaded; 19 classes of SYNTHIA, as AdaptSegNet and
    CLAN train it.
    """
    augment = dict(flip=flip, image_scales=image_scales)
    transforms = dict(
        source=whole_frames(SOURCE_HW[arg.variant], **augment),
        target=whole_frames(TARGET_HW, **augment),
        evaluation=whole_frames(TARGET_HW),
    )
    return dict(domains(arg, synthia_space="synthia_clan"), transforms=transforms)


def poly_sgd(lr, *, horizon_steps=0, warmup_steps=0, head_multiplier=10.0, backbone_sgd_repeats=1):
    """DeepLab's SGD: poly 0.9, heads at ten times the rate.

    backbone_sgd_repeats: times that a block's convolutions are stepped; the shortcuts' once more.
    See RELEASED_SGD_REPEATS.
    """
    repeats = (
        (("/downsample_conv/", backbone_sgd_repeats + 1), ("/backbone/layer", backbone_sgd_repeats))
        if backbone_sgd_repeats > 1
        else ()
    )
    return base.sgd(
        lr=lr,
        schedule="poly",
        power=0.9,
        horizon_steps=horizon_steps,
        warmup_steps=warmup_steps,
        lr_multipliers=(("/layer[56]/", head_multiplier),) if head_multiplier != 1.0 else (),
        repeats=repeats,
    )


# get_1x_lr_params_NOscale of AdaptSegNet, CLAN and DASS yields parameters() of every submodule of a
# ResNet, each of which
# recurses: a block's convolutions stand three times in the list, the shortcuts' four times, the
# stem's once, and SGD steps them so often (spec/clan.md, 3.3).
RELEASED_SGD_REPEATS = 3


def sgd_of(backbone, lr, *, settings, **schedule):
    """poly_sgd as AdaptSegNet's code has it for a backbone: a VGG has one rate and repeats nothing
    (spec/clan.md, 1.4).

    Args:
      settings: "code", or "paper", which steps every parameter once.
    """
    if "vgg" in backbone:
        return poly_sgd(lr, head_multiplier=1.0, **schedule)
    return poly_sgd(
        lr, backbone_sgd_repeats=1 if settings == "paper" else RELEASED_SGD_REPEATS, **schedule
    )


def poly_adam(lr, *, horizon_steps=0, warmup_steps=0, weight_decay=0.0):
    """The discriminator's Adam of AdaptSegNet and CLAN."""
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


# The scenes' own training settings: a small network from random weights. Chosen on source-only,
# AdaBN and oracle, before any method ran.
SCENES_STEPS, SCENES_BATCH = 800, 8
SCENES_ADAPTATION = dict(init_from="source_only", steps=500, batch_size=4)
# The authors' weight: 0.003, 0.01 and 0.03 were tried with seed 0 and ended lower and lower
# (README). Half the width, since at 64 the discriminator took twice the segmenter's time.
SCENES_ADVERSARY = dict(weight=0.001, width=32)
CROSS_ENTROPY = dict(kind="cross_entropy", aux_weight=0.1)  # AdaptSegNet's lambda_seg


def scenes_optimizer(lr, **settings):
    """Adam, since SGD leaves this small network at twice the loss after so few steps; one rate for
    all of it, which begins at random.
    """
    return poly_adam(lr, **settings) | dict(betas=(0.9, 0.999))  # Adam's usual ones


def scenes_supervised(domain, heads):
    """Training on the labels of one world: "source", or "target" for the oracle, which knows what
    no method may know.
    """
    # twin heads are equals: predictions are their sum
    loss = CROSS_ENTROPY | ({"aux_weight": 1.0} if heads == "twin" else {})
    return supervised(
        steps=SCENES_STEPS,
        batch_size=SCENES_BATCH,
        domain=domain,
        loss=loss,
        optimizer=scenes_optimizer(2e-3),
    )


def supervised(*, domain="source", transform="", **settings):
    """A source_only_seg stage; transform: key of config.data.transforms, "" for that of its domain."""
    return stage("source_only_seg", domain=domain, transform=transform, **settings)


def adabn():
    """Source only with the statistics of target images, nothing trained."""
    return stage("adabn", init_from="source_only", steps=100, batch_size=SCENES_BATCH)


def without(settings, **changes):
    """A copy of a stage's settings with other values at "key.subkey"."""
    copy = settings.copy_and_resolve_references()
    copy.update_from_flattened_dict(changes)
    return copy


def add_scenes_stages(config, control, **methods):
    """The rows that every table has: source only, AdaBN, the step-matched control, the methods, the
    oracle.

    Args:
      control: a method with its target loss at weight 0: same network, steps, passes and schedules.
      methods: {stage name: settings}.
    """
    heads = config.model.heads
    config.source_only, config.adabn, config.oracle = (
        scenes_supervised("source", heads),
        adabn(),
        scenes_supervised("target", heads),
    )
    config.control = control
    for name, settings in methods.items():
        config[name] = settings
    config.stages = ("source_only", "adabn", "control", *methods, "oracle")


def stage(method, *, init_from="", steps, batch_size, **settings):
    """Keys that every segmentation stage has."""
    # norm, norm_affine ("trained" or "frozen" scale and bias): of this stage, where they are not
    # the model's
    common = dict(
        method=method,
        init_from=init_from,
        steps=steps,
        batch_size=batch_size,
        target_bn=0,
        norm="",
        norm_affine="",
        evaluate_every=0,
        **base.NO_TEACHER,
    )
    return ConfigDict(common | settings)
