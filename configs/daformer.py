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
weights=none stands for random ones.

Published, mIoU of the last step, mean of three seeds: GTA5 -> Cityscapes 68.3, SYNTHIA ->
Cityscapes 60.9 over 16 classes; source only 45.6 with the SegFormer head. 16 hours on an RTX 2080
Ti (HRDA issue 14). Not reproduced here yet.
"""

from dajax.recipes import dacs
from dajax.recipes.base import domains as sets
from dajax.recipes.base import mit, mixing, scenes
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {
    "scenes": ("ablations",),
    "own": (*sets.OWN_KEYS, "ablations"),
} | dict.fromkeys(mit.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone"))
KEYS = dict(backbone=mit.BACKBONES, network=("small", *mit.BACKBONES))
JITTER = 0.2  # color_jitter_strength
FEATURE_DISTANCE = 0.005  # imnet_feature_dist_lambda
# min_crop_ratio: uda_gta_to_cityscapes_512x512.py, and HRDA's for crops of 1024x1024
CROP_RATIO = {1: 0.5, 2: 2.0}
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
    config = mit.segmentation(arg)
    return with_stages(config, arg, ABLATIONS, daformer=authors(config))


def small_stage(config, **settings):
    """The stage on the scenes, or on own folders, with the small network."""
    return dacs.small_stage(
        config,
        # 500 steps are half of what a momentum of 0.999 needs to come into force
        teacher=dict(mixing.DAFORMER_TEACHER, momentum=0.99),
        jitter=JITTER,
        classes_of="batch",
        source_mean="all",
        rare_classes=SCENES_RARE,
        feature_distance=dict(weight=FEATURE_DISTANCE, classes=mixing.THINGS, min_share=0.75),
        **settings,
    )


def authors(config, *, scale=1, **settings):
    """uda/dacs_a999_fdthings.py and experiments.py: the released settings.

    Args:
      config: the run's. scale: as mit.frames.
      **settings: what differs.
    """
    margins = mit.IGNORED_ROWS if scale == 1 else dict(margins=mit.MARGINS)
    if not config.data.target.dataset == "cityscapes":
        margins = {}  # those of Cityscapes' frames
    of_daformer = dict(
        steps=40_000,  # max_iters
        batch_size=2,  # samples_per_gpu
        optimizer=mit.optimizer(),
        rare_classes=dict(temperature=0.01, min_pixels=3000, min_crop_ratio=CROP_RATIO[scale]),
        feature_distance=dict(weight=FEATURE_DISTANCE, classes=mixing.THINGS, min_share=0.75),
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
        mixing.add_rows(mit.add_stages, config, arg, ablations, **method)
        return config
    config.update(method)
    config.stages = tuple(method)
    seg_base.evaluate_every(config, 4000)  # evaluation interval of experiments.py
    return config
