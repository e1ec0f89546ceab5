"""DAFormer (Hoyer, Dai, Van Gool, CVPR 2022): DACS with rare classes more often, features of things
held near those of ImageNet, and a transformer.

  python run.py --config=daformer                embedded scenes with every control
  python run.py --config=daformer:ablations      also without either of the two, and DACS's rows
  python run.py --config=daformer:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=daformer:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  python run.py --config=daformer:synthia_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,backbone=mit_b4      one of mit_b0 to mit_b5

The scenes take minutes on two cores; there the small network of the other recipes stands in for the
transformer, which from random weights learns nothing from 400 pictures. FILE is mit_b5.pth of
SegFormer's authors (https://github.com/NVlabs/SegFormer), or nvidia/mit-b5 of Hugging Face;
weights=none stands for random ones. Own folders: network=mit_b0 to mit_b5.

Published, mIoU of the last step, mean of three seeds: GTA5 -> Cityscapes 68.3, SYNTHIA ->
Cityscapes 60.9 over 16 classes; source only 45.6 with the SegFormer head. 16 hours on an RTX 2080
Ti (HRDA issue 14). Not reproduced here yet.
"""

from dajax.recipes import dacs
from dajax.recipes.base import daformer_data as its_data
from dajax.recipes.base import deeplab, mit, mixing, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

REAL_VARIANTS = ("gta5_to_cityscapes", "synthia_to_cityscapes")
VARIANTS = {
    "scenes": ("ablations",),
    "own": (*sets.OWN_KEYS, "ablations"),
} | dict.fromkeys(REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone"))
BACKBONES = tuple(reversed(mit.BACKBONES[:-1]))  # the default first; "mit_tiny" is for tests
KEYS = dict(backbone=BACKBONES, network=("small", *BACKBONES))
JITTER = 0.2  # color_jitter_strength
# imnet_feature_dist_lambda, _classes and _scale_min_ratio of uda/dacs_a999_fdthings.py
FEATURE_DISTANCE = dict(weight=0.005, classes=mixing.THINGS, min_share=0.75)
# Rows of a crop, which has the height of a frame: pseudo_weight_ignore_top and _bottom.
IGNORED_ROWS = {"cityscapes": dict(ignore_top=15, ignore_bottom=120)}
# Ours, of the scenes: 12 of their 8,192 pixels are DAFormer's 3,000 of a frame of Cityscapes. Their
# frames are not cropped.
SCENES_RARE = dict(temperature=0.01, min_pixels=12, min_crop_ratio=0.0)
ABLATIONS = dict(
    no_rare_classes={"rare_classes.temperature": 0.0},
    no_feature_distance={"feature_distance.weight": 0.0},
)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("daformer", arg, VARIANTS, **KEYS)
    if arg.is_small:
        config = scenes.start(arg, "single")
        full = small_stage(config)
        mixing.add_rows(scenes.add_stages, config, arg, ABLATIONS, daformer=full)
        return config
    config = segmentation(arg)
    return with_stages(config, arg, ABLATIONS, daformer=authors(config, arg))


def small_stage(config, **settings):
    """The stage on the scenes, or on own folders, with the small network."""
    return dacs.small_stage(
        config,
        # a momentum of 0.999 comes into force after 1,000 steps, which are nearly all
        teacher=dict(mixing.DAFORMER_TEACHER, momentum=0.99),
        jitter=JITTER,
        classes_of="batch",
        source_mean="all",
        rare_classes=SCENES_RARE,
        feature_distance=FEATURE_DISTANCE,
        **settings,
    )


def segmentation(arg, *, is_high_resolution=False):
    """A run with the authors' network, without its stages.

    Args:
      is_high_resolution: HRDA's: frames and crops of twice the sides, of which the network sees
        crops of half the side in detail, and windows as large as a crop in evaluation.
    """
    side = its_data.CROP
    detail_hw = (side, side) if is_high_resolution else ()
    config = seg_base.segmentation(
        arg.name,
        model=mit.network(arg.backbone, arg.weights, detail_hw=detail_hw),
        data=its_data.frames(arg, is_high_resolution=is_high_resolution),
    )
    window = dict(crop_hw=(2 * side, 2 * side), stride_hw=(side, side))
    its_data.evaluate_as_published(config, **(window if is_high_resolution else {}))
    return config


def authors(config, arg, *, is_high_resolution=False, **settings):
    """configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py: the released
    settings.

    Args:
      config: the run's. is_high_resolution: as `segmentation`.
      **settings: what differs.
    """
    margins = IGNORED_ROWS.get(its_data.target_set(arg), {})
    if is_high_resolution:
        margins = dict(margins=its_data.hrda_margins(arg))
    of_daformer = dict(
        steps=40_000,  # max_iters
        batch_size=2,  # samples_per_gpu
        optimizer=mit.adamw(),
        rare_classes=its_data.rare_classes(arg, is_high_resolution=is_high_resolution),
        feature_distance=FEATURE_DISTANCE,
    )
    return mixing.stage(
        config.data.transforms.source,
        teacher=mixing.DAFORMER_TEACHER,
        jitter=JITTER,
        classes_of="batch",
        **(of_daformer | margins | settings),
    )


def with_stages(config, arg, ablations, **method):
    """A run with the authors' network and its stages: of published sets the method alone."""
    if arg.variant == "own":
        mixing.add_rows(add_stages, config, arg, ablations, **method)
        return config
    config.update(method)
    config.stages = tuple(method)
    seg_base.evaluate_every(config, 4000)  # evaluation=dict(interval=4000)
    return config


def add_stages(config, arg, control, **methods):
    """The rows of a table on own folders, as deeplab.add_stages has them. Source only and oracle
    have the numbers of the method.
    """
    source_only = seg_base.supervised(
        steps=control.steps,
        batch_size=control.batch_size,
        loss=dict(kind="cross_entropy", aux_weight=0.1),  # aux_weight: read with two heads only
        optimizer=mit.adamw(),
    )
    deeplab.add_stages(config, arg, control, source_only=source_only, **methods)
