"""HRDA (Hoyer, Dai, Van Gool, ECCV 2022): DAFormer that sees an image at half its size for the
context and a crop of it in detail.

  python run.py --config=hrda                embedded scenes with every control
  python run.py --config=hrda:ablations      also DAFormer's rows
  python run.py --config=hrda:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  python run.py --config=hrda:synthia_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,backbone=mit_b4      one of mit_b0 to mit_b5

The scenes take minutes on two cores, with the small network seen at 32x64 and a crop of that size
at full size. FILE: see configs/daformer.py; weights=none stands for random ones.

Published, mIoU of the last step, mean of three seeds: GTA5 -> Cityscapes 73.8, SYNTHIA ->
Cityscapes 65.8 over 16 classes. 32 hours and 22.5 GB on a Titan RTX (HRDA issue 14). Over eight
seeds others got 72.8 (ProCST issue 2). Not reproduced here yet.
"""

from dajax.recipes import daformer
from dajax.recipes.base import mit, mixing, scenes
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": ("ablations",)} | dict.fromkeys(
    daformer.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone")
)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("hrda", arg, VARIANTS, **daformer.KEYS)
    if arg.is_small:
        config = scenes.start(arg, "single")
        half = tuple(side // 2 for side in scenes.SIZE_HW)
        config.model.hrda = dict(mit.NO_HRDA, detail_hw=half)
        full = daformer.small_stage(config)
        mixing.add_rows(scenes.add_stages, config, arg, daformer.ABLATIONS, hrda=full)
        return config
    config = daformer.segmentation(arg, is_high_resolution=True)
    full = daformer.authors(config, arg, is_high_resolution=True)
    return daformer.with_stages(config, arg, daformer.ABLATIONS, hrda=full)
