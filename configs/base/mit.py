"""MiT with DAFormer's head, its optimiser and its frames, as DAFormer, HRDA and MIC have them
(lhoyer/MIC, seg/configs/_base_).
"""

from dajax.recipes.base import common as base
from dajax.recipes.base import deeplab
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

BACKBONES = ("mit_b5", "mit_b4", "mit_b3", "mit_b2", "mit_b1", "mit_b0")
REAL_VARIANTS = ("gta5_to_cityscapes", "synthia_to_cityscapes", "synscapes_to_cityscapes")
# (height, width) within which a source's frames are resized: datasets/uda_*_512x512.py; Synscapes
# is ours. HRDA's and MIC's are twice as large.
SOURCE_HW = {"gta5": (720, 1280), "synthia": (760, 1280), "synscapes": (720, 1440)}
TARGET_HW = (512, 1024)
CROP = 512
# Cityscapes' rectified border and the ego vehicle, rows of a crop that has the height of a frame:
# pseudo_weight_ignore_top and _bottom.
IGNORED_ROWS = dict(ignore_top=15, ignore_bottom=120)
# The same for crops of frames at full size, and a border left and right: crop_pseudo_margins
# [30, 240, 30, 30] of 1024x2048.
MARGINS = (30 / 1024, 240 / 1024, 30 / 2048, 30 / 2048)


def network(backbone, weights, *, detail_hw=()):
    """models/daformer_sepaspp_mitb5.py.

    Args:
      backbone: one of BACKBONES. weights: a file, "" for none.
      detail_hw: of HRDA's crop, () for none: models/daformer_sepaspp_mitb5.py of HRDA, crop 512
        of 1024, hr_loss_weight 0.1.
    """
    return dict(
        backbone=backbone,
        widths=(),  # the backbone's own
        heads="single",
        head="daformer",
        head_channels=256,
        dropout=0.1,  # of whole channels before the classifier: dropout_ratio
        drop_path=0.1,  # of the last block; drop_path_rate of mix_transformer.py
        norm="train",
        train_norm_affine=True,
        dtype="float32",
        remat=seg_base.REMAT,
        hrda=dict(detail_hw=detail_hw, detail_weight=0.1),
        **seg_base.weights_file(weights),
    )


def optimizer(lr=6e-5):
    """schedules/adamw.py and poly10warm.py: the head at ten times the rate, no decay of the
    encoder's normalisation.
    """
    return base.adamw(
        lr=lr,
        schedule="poly_times_warmup",
        power=1.0,
        horizon_steps=0,
        warmup_steps=1500,
        warmup_ratio=1e-6,
        min_lr=0.0,
        # "pos_block" of the authors' custom_keys is in no name of a MiT
        **base.custom_keys({"head": (10.0, 1.0), "norm": (1.0, 0.0)}),
    )


def frames(arg, *, scale=1):
    """datasets/uda_gta_to_cityscapes_512x512.py and its like: frames that keep their aspect, random
    crops, half of them mirrored, OpenCV's resize.

    Args:
      scale: 2 for HRDA and MIC, whose sides are twice as long.
    """
    normal = dict(channels="rgb", divisor=255.0, mean=base.IMAGENET_MEAN, std=base.IMAGENET_STD)
    target_hw = arg.size_hw or _times(TARGET_HW, scale)
    side = min(target_hw) if arg.size_hw else scale * CROP
    source_hw = arg.size_hw or _times(seg_base.by_source(SOURCE_HW, arg), scale)
    whole = seg_base.whole_frames(target_hw) | normal | dict(resize="bilinear_plain")
    crop = whole | dict(size=(side, side), flip=True)
    transforms = dict(
        source=crop | dict(fit=source_hw, max_class_share=0.75),  # cat_max_ratio
        target=crop | dict(fit=target_hw),
        evaluation=whole,
    )
    return dict(sets.domains(arg, synthia_space="synthia_clan"), transforms=transforms)


def _times(size_hw, scale):
    return tuple(scale * side for side in size_hw)


def segmentation(arg, *, detail_hw=(), scale=1):
    """A run without its stages; evaluated through windows, which for whole images at TARGET_HW are
    the first of two resizes.

    Args:
      arg: as seg_base.parse returns it.
      detail_hw: as `network`. scale: as `frames`.
    """
    config = seg_base.segmentation(
        arg.name,
        model=network(arg.backbone, arg.weights, detail_hw=detail_hw),
        data=frames(arg, scale=scale),
    )
    config.evaluation.align_corners = False  # of all configs
    size_hw = tuple(config.data.transforms.evaluation.size)
    if scale == 1:
        config.evaluation.window.update(crop=size_hw, stride=size_hw)
    else:  # hrda1-512-0.1 of HRDA: crop_size 1024, stride 512
        side = min(size_hw)
        config.evaluation.window.update(crop=(side, side), stride=(side // 2, side // 2))
    return config


def supervised():
    """Source only, and with the target's labels the oracle, with the numbers of the methods."""
    return seg_base.supervised(
        steps=40_000, batch_size=2, loss=dict(kind="cross_entropy"), optimizer=optimizer()
    )


def add_stages(config, arg, control, **methods):
    """The rows of a table on own folders, as deeplab.add_stages has them."""
    deeplab.add_stages(config, arg, control, source_only=supervised(), **methods)
