"""What the segmentation recipes share: variants, data, stages and a small network; base/deeplab.py
has the large one. A delta on configs/base/common.py; base/arguments.py explains the arguments.

VARIANTS: scenes, embedded; own, a user's folders; and SOURCE_to_TARGET, published sets, which
configs/base/domains.py lists. A pair that no paper has takes the settings of GTA5 -> Cityscapes, or
those that a recipe has for its source. ablations_SOURCE is SOURCE_to_cityscapes with the word
ablations, of recipes that have such rows of published sets.
"""

import re

from ml_collections import ConfigDict

from dajax.recipes.base import arguments
from dajax.recipes.base import common as base
from dajax.recipes.base import domains as sets

# AdaptSegNet's and CLAN's IMG_MEAN; caffe's ImageNet mean
CAFFE_MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)

REAL_VARIANTS = ("gta5_to_cityscapes", "synthia_to_cityscapes", "synscapes_to_cityscapes")
# "ablations_gta5" stands for "gta5_to_cityscapes,ablations"
ABLATIONS_OF = re.compile(r"(^|,)ablations_(\w+)(?=,|$)")
REAL_KEYS = ("source_root", "target_root", "weights")  # of every real variant
BACKBONES = ("resnet101", "resnet50", "vgg16", "vgg16_fcn8s")  # of base/deeplab.py
RESNETS = ("small", "resnet101")  # `network` of recipes that have no VGG-16
# {key: its value where it is not given, or all values, the first being the default}
KEYS = dict(
    ablations=False,
    source_root="",
    target_root="",
    weights="",
    backbone=BACKBONES,
    settings=("code", "paper"),
    **sets.OWN_DEFAULTS,
)
# `source` and `target` are folders of variant own alone.
RENAMED = {"source": "source_root", "target": "target_root"}


def parse(recipe, arg, variants, *, always_named=(), **keys):
    """The argument of a recipe, as arguments.parse_arg; its `name` is the run's.

    Args:
      recipe: the name of the recipe, with which the run's begins.
      arg: what follows the colon of --config, or None.
      variants: {variant: the keys and words that it uses}.
      always_named: keys whose value is in the run's name even where it is the default.
      **keys: the recipe's own keys, as KEYS has the others, and those that it has otherwise.

    Returns:
      ConfigDict: a value for every key; and `name`; `source_set`, the source of a published pair,
      "" for none; `is_small`, whether the small network is trained, from random weights; `size_hw`
      of variant own, (height, width), () of the others.

    Raises:
      ValueError: as there; see sets.check_own; pairs of published sets, and own with a large
        network, ask for weights.
    """
    arg = ABLATIONS_OF.sub(r"\1\2_to_cityscapes,ablations", arg or "")
    defaults, variants = KEYS | keys, sets.with_pair(arg, variants)
    pretrained = [variant for variant in variants if sets.source_set(variant)]
    if "own" in arg.split(",") and _last_value(arg, "network") not in ("", "small"):
        pretrained.append("own")
    parsed = arguments.parse_arg(arg, variants, pretrained=pretrained, renamed=RENAMED, **defaults)
    parsed.source_set, parsed.size_hw = sets.source_set(parsed.variant), ()
    if parsed.variant == "own":
        sets.check_own(parsed, defaults["network"])
    parsed.is_small = parsed.variant in ("scenes", "own") and parsed.network == "small"
    parts = [
        value if isinstance(value, str) else f"{key}{value}"
        for key in variants[parsed.variant]
        if key not in ("ablations", *REAL_KEYS, *sets.OWN_PLACES)
        and ((value := parsed[key]) != _default(defaults[key]) or key in always_named)
    ]
    weights = arguments.weights_name(parsed.weights, is_pretrained=not parsed.is_small)
    parsed.name = arguments.run_name(recipe, parsed, *parts, weights)
    return parsed


def _last_value(arg, key):
    """What the argument gives a key, "" for nothing; of two values the last counts."""
    found = [item.partition("=")[2] for item in arg.split(",") if item.startswith(f"{key}=")]
    return found[-1] if found else ""


def by_source(table, arg):
    """The value of a table {source set: value} for a run; that of "gta5" where its source is not
    in it.
    """
    return table.get(arg.source_set, table["gta5"])


def _default(choices):
    return choices[0] if isinstance(choices, tuple) else choices


def segmentation(name, *, model, data):
    """A segmentation run without its stages.

    Args:
      name: the run's.
      model: config.model, see `small_network` and base/deeplab.py.
      data: config.data, see `frames` and base/scenes.py.
    """
    config = base.base(name)
    config.task = "segmentation"
    config.metric = "mIoU"
    config.model = ConfigDict(model)
    config.data = ConfigDict(base.settable(data))
    config.runtime.eval_batch_size = 4
    # Every stage is measured twice: with its BN statistics as trained, and with statistics
    # re-estimated on unlabelled target images (AdaBN), since showing the network target images does
    # much of what adaptation is credited with.
    config.evaluation = ConfigDict(
        dict(
            reestimate_batches=50,
            reestimate_batch_size=4,
            source_held_out=0.0,  # as in base/common.py
            # Batches of unlabelled target images, of reestimate_batch_size each, that a round of
            # self-training is judged on (ours); 0: it is not judged.
            agreement_batches=16,
            num_pictures=4,
            # of the resize to the label's size: evaluate_cityscapes.py of AdaptSegNet and CLAN
            align_corners=True,
            # Through which an image goes, (height, width) of what the network sees; () for the
            # whole image at once. average: of "logits" (mmsegmentation) or "softmax" (VFM-UDA).
            window=dict(crop=(), stride=(), average="logits"),
            # spatial aggregation at test time (PLCA) as a further measurement of every stage; 0 for
            # none
            aggregation_alpha=0.0,
        )
    )
    return config


# config.model.remat: the stages of a ResNet that the gradient computes a second time, block by
# block, so that only the blocks' inputs are kept: "none", "all", or "layer3+layer4". It takes time,
# spares memory and changes nothing but rounding, so it may differ between two calls on a workdir.
REMAT = "none"


def weights_file(path):
    """Keys of config.model: a torch or safetensors file, "" for none. Of the file the heads can be
    left out, and it may lack entries.
    """
    return dict(weights=path, skip_heads=False, allow_partial=False)


def fitting_rates(rates, stride, smallest, size_hw):
    """Dilations of ASPP for a map of another size, in the same proportion to it, each at least 1.

    Args:
      rates: that fit a map whose shorter side has `smallest` pixels; never exceeded.
      stride: of the network.
      size_hw: of the images.
    """
    side = min(size_hw) // stride
    return tuple(max(1, rate * min(side, smallest) // smallest) for rate in rates)


def small_network(heads):
    """A residual network of 17 convolutions at output stride 4, trained from random weights: the
    scenes' on a CPU.

    Args:
      heads: "single", "twin" or "multi".
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
        remat=REMAT,
        **weights_file(""),
    )


def whole_frames(size_hw, *, flip=False, image_scales=()):
    """A transform: the whole frame resized, no crop, BGR minus the mean (AdaptSegNet, CLAN).

    Args:
      size_hw: (height, width) after the resize.
      flip: whether half of the images are mirrored.
      image_scales: see configs/clan.py.
    """
    return dict(
        size=size_hw,
        resize="bicubic",
        image_scales=image_scales,
        shorter_edge=None,
        scale_range=None,
        fit=(),  # the largest size within (height, width) that keeps the aspect, then a crop
        max_class_share=1.0,  # of a crop: with more of one class it is drawn again; 1: never
        flip=flip,
        color_jitter=None,
        channels="bgr",
        divisor=1.0,
        mean=CAFFE_MEAN_BGR,
        std=(1.0, 1.0, 1.0),
    )


def copy_of(transform):
    """A transform with the settings of another, which are set apart from them."""
    return ConfigDict(base.settable(transform.to_dict()))


def crops(arg, crop_hw, shorter_edge):
    """Keys of a transform that crops frames whose shorter edge is drawn from a range.

    Own folders: a square whose side is the shorter of `size`, which fits into frames of any shape,
    and edges in the authors' proportion to it.

    Args:
      crop_hw, shorter_edge: the authors'.
    """
    if not arg.size_hw:
        return dict(size=crop_hw, shorter_edge=shorter_edge)
    side = min(arg.size_hw)
    edges = tuple(side * edge // min(crop_hw) for edge in shorter_edge)
    return dict(size=(side, side), shorter_edge=edges)


def frames(arg, *, source_hw, target_hw, flip, image_scales=(), synthia_space="synthia_clan"):
    """config.data with whole frames. See `whole_frames`.

    Args:
      source_hw, target_hw: published sizes, which own folders replace by theirs.
      synthia_space: by default 19 classes of SYNTHIA, as AdaptSegNet and CLAN train it.
    """
    source_hw, target_hw = arg.size_hw or source_hw, arg.size_hw or target_hw
    random = dict(flip=flip, image_scales=image_scales)
    transforms = dict(
        source=whole_frames(source_hw, **random),
        target=whole_frames(target_hw, **random),
        evaluation=whole_frames(target_hw),
    )
    return dict(sets.domains(arg, synthia_space=synthia_space), transforms=transforms)


def stage(method, *, steps, batch_size, **settings):
    """A stage: the keys that every stage of segmentation has, and the method's.

    Args:
      method: its module in dajax.methods, or a dotted name.
      steps: of the optimiser.
      batch_size: images of a domain in a step.
      **settings: the method's keys; those that differ from the values below.
    """
    common = dict(
        method=method,
        init_from="",  # a stage whose network this one starts from; "": config.model's
        steps=steps,
        batch_size=batch_size,
        target_bn=0,  # 1: the target has normalisation parameters and statistics of its own
        norm="",  # of this stage; "": config.model's
        norm_affine="",  # scale and bias in this stage: "trained", "frozen"; "": config.model's
        evaluate_every=0,  # steps between two evaluations; 0: at the end only
        **base.NO_TEACHER,
    )
    return ConfigDict(common | settings)


def supervised(*, domain="source", transform="", **settings):
    """A source_only_seg stage.

    Args:
      domain: whose labels it learns: "source", or "target", which is an oracle.
      transform: a key of config.data.transforms, "" for that of its domain.
      **settings: as `stage`; those that differ from the values below, which PLCA's differ from.
    """
    plain = dict(lovasz_weight=0.0, accumulate=1, half_pixel=False)
    return stage("source_only_seg", domain=domain, transform=transform, **(plain | settings))


def pseudo_labels(*, init_from, rule, statistics, **settings):
    """A stage that writes a pseudo-label for every target image; nothing is trained.

    Args:
      init_from: the stage whose network predicts them.
      rule: "quantile" reads proportion and cap, "top" share, image_share, keep_every and never,
        "class_balanced" share and keep_every.
      statistics: "running", "image" or "reestimated", which reads reestimate_batches.
      **settings: what the rule reads.
    """
    unread = dict(proportion=0.5, cap=0.9, share=0.1, image_share=0.1, keep_every=5, never=())
    return stage(
        "pseudo_labels",
        init_from=init_from,
        steps=1,
        batch_size=4,
        rule=rule,
        statistics=statistics,
        reestimate_batches=50,
        **(unread | settings),
    )


def every_pixel_labelled(*, init_from, statistics):
    """A stage that labels every pixel with its most probable class, sure or not (FADA, IntraDA)."""
    nothing = dict(proportion=0.0, cap=0.0)
    return pseudo_labels(init_from=init_from, rule="quantile", statistics=statistics, **nothing)


def self_training(**settings):
    """A stage that trains on the pseudo-labels of the stage labels_from.

    Args:
      **settings: as `stage`; source_weight, or source_share, adds the source, see the method.
    """
    common = dict(
        transform="target",
        loss=dict(kind="cross_entropy"),
        source_weight=0.0,
        source_share=0.0,
        # Of target images cropped about a class that has less than this share of the predictions;
        # share: mine-port of CRST's crst_seg.py.
        rare_crops=dict(share=0.001, probability=0.0),
        kld_weight=0.0,
        when_worse="warn",  # "keep_better": see dajax/engine/rounds.py
    )
    return stage("self_training", **(common | settings))


def evaluate_every(config, steps):
    """Has every stage that trains evaluated each `steps` steps. The figures of the papers are best
    snapshots on the validation set; what a stage is judged by here is its last step.

    Args:
      config: the run's, with its stages.
    """
    for name in config.stages:
        if config[name].method != "pseudo_labels":
            config[name].evaluate_every = steps


def without(settings, **changes):
    """A copy of a stage's settings with other values at "key.subkey"."""
    copy = settings.copy_and_resolve_references()
    copy.update_from_flattened_dict(changes)
    return copy
