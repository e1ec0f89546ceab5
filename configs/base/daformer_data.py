"""The data of DAFormer, HRDA and MIC: frames that keep their aspect, square crops of them, rare
classes of the source, margins of the target, and how their evaluation looks at an image.

Numbers without another origin are those of configs/_base_/datasets/uda_*_512x512.py (DAFormer) and
uda_*HR_*_1024x1024.py (HRDA, MIC) of their released code; a frame of HRDA has twice the sides.
"""

from dajax.recipes.base import common as base
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

CROP = 512  # pixels a side
# (height, width) within which a frame is resized, its aspect kept: GTA5's 1914x1052 to 1280x704.
# Synscapes' are its labels' size (ours).
SOURCE_FIT = {
    "gta5": (720, 1280),
    "synthia": (760, 1280),
    "synscapes": (720, 1440),
    "cityscapes": (512, 1024),
}
# Of a target; of those that are not here Cityscapes'. ACDC's and Dark Zurich's frames are 1920x1080
# and halved as well.
TARGET_FIT = {"cityscapes": (512, 1024), "acdc": (540, 960), "dark_zurich": (540, 960)}
# Shares (top, bottom, left, right) of a target's frame without pseudo-labels, where there are any:
# crop_pseudo_margins=[30, 240, 30, 30] of HRDA's and MIC's 1024x2048. The others have none;
# DAFormer leaves out rows of its crops instead, see configs/daformer.py.
HRDA_MARGINS = {"cityscapes": (30 / 1024, 240 / 1024, 30 / 2048, 30 / 2048)}
# rare_class_sampling of configs/_base_/uda/dacs_a999_fdthings.py and gtaHR2csHR_mic_hrda*.py: a
# crop of four times the pixels shows four times as many of a class.
RARE_CLASSES = dict(temperature=0.01, min_pixels=3000, min_crop_ratio=0.5)
HRDA_RARE_CLASSES = RARE_CLASSES | dict(min_crop_ratio=2.0)
MAX_CLASS_SHARE = 0.75  # cat_max_ratio of the source's RandomCrop


def frames(arg, *, is_high_resolution=False):
    """config.data of published pairs and own folders. SYNTHIA with 19 classes, of which its labels
    have 16: the network keeps all outputs.

    Args:
      arg: as seg_base.parse returns it; own folders take their size in place of the authors', and
        square crops of its shorter side.
      is_high_resolution: HRDA's frames and crops, of twice the sides.
    """
    factor = 2 if is_high_resolution else 1
    source = _crops(arg, seg_base.by_source(SOURCE_FIT, arg), factor)
    target = _crops(arg, target_fit(arg), factor)
    transforms = dict(
        source=source | dict(max_class_share=MAX_CLASS_SHARE),
        target=target,
        evaluation=_whole(evaluation_hw(arg, is_high_resolution=is_high_resolution)),
    )
    return dict(sets.domains(arg, synthia_space="synthia_clan"), transforms=transforms)


def evaluation_hw(arg, *, is_high_resolution=False):
    """(height, width) that the network sees of an evaluation image."""
    return arg.size_hw or _times(target_fit(arg), 2 if is_high_resolution else 1)


def target_fit(arg):
    """(height, width) within which a frame of the target is resized."""
    return TARGET_FIT.get(target_set(arg), TARGET_FIT["cityscapes"])


def target_set(arg):
    """ "cityscapes" of gta5_to_cityscapes; "" of a variant that names no published sets."""
    return arg.variant.partition("_to_")[2]


def hrda_margins(arg):
    """config.STAGE.margins of the target at high resolution."""
    return HRDA_MARGINS.get(target_set(arg), ())


def rare_classes(arg, *, is_high_resolution=False):
    """config.STAGE.rare_classes. Own folders: the numbers of pixels in proportion to a crop."""
    settings = dict(HRDA_RARE_CLASSES if is_high_resolution else RARE_CLASSES)
    if arg.size_hw:
        # the crop of own folders has the same pixels at either resolution
        settings["min_crop_ratio"] = RARE_CLASSES["min_crop_ratio"]
        share = settings["min_pixels"] / CROP**2
        settings["min_pixels"] = int(share * min(arg.size_hw) ** 2)
    return settings


def evaluate_as_published(config, *, crop_hw=(), stride_hw=()):
    """How images are looked at: half-pixel centres, and scores that are brought to the size that
    the network sees before anything else.

    Args:
      config: with its data.
      crop_hw, stride_hw: of a sliding window, HRDA's CROP * 2 and CROP; () for the whole image,
        which is a window of its size: encode_decode and whole_inference of DAFormer's
        encoder_decoder.py resize one after the other.
    """
    whole = tuple(config.data.transforms.evaluation.size)
    config.evaluation.align_corners = False
    config.evaluation.window.crop = crop_hw or whole
    config.evaluation.window.stride = stride_hw or crop_hw or whole


def _crops(arg, fit, factor):
    """A transform: a random square of a frame that keeps its aspect, mirrored or not."""
    if arg.size_hw:
        side = min(arg.size_hw)
        of_frame = dict(size=(side, side), shorter_edge=(side, side))
    else:
        of_frame = dict(size=(CROP * factor,) * 2, fit=_times(fit, factor))
    return _whole(of_frame["size"]) | of_frame | dict(flip=True)


def _whole(size_hw):
    # base.IMAGENET_RGB is img_norm_cfg, there of 0..255
    return seg_base.whole_frames(size_hw) | dict(resize="bilinear_plain") | base.IMAGENET_RGB


def _times(size_hw, factor):
    return tuple(factor * side for side in size_hw)
