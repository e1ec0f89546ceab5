"""MIC (Hoyer, Dai, Wang, Van Gool, CVPR 2023): DAFormer or HRDA, and a loss on target images of
which most is hidden.

  python run.py --config=mic                embedded scenes with every control
  python run.py --config=mic:ablations      also without masks, and DAFormer's rows
  python run.py --config=mic:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=mic:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  python run.py --config=mic:synthia_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,host=daformer        without HRDA, at half the size
  ...,backbone=mit_b4      one of mit_b0 to mit_b5

The scenes take minutes on two cores, with the small network and without HRDA. FILE: see
configs/daformer.py; weights=none stands for random ones.

Published, mIoU of the last step, mean of three seeds: GTA5 -> Cityscapes 75.9 on HRDA and 70.6 on
DAFormer, SYNTHIA -> Cityscapes 67.3 over 16 classes on HRDA. Others measured 70.2 to 74.7 with
newer libraries (MIC issues 4, 9, 62, 86): today's ColorJitter of kornia gives other colours than
the one that it was trained with (docs/methods/cross_domain_mixing.md). HRDA took 32 hours and 22.5
GB on a Titan RTX (HRDA issue 14), MIC takes one more pass a step. Not reproduced here yet.
"""

from dajax.recipes import daformer
from dajax.recipes.base import domains as sets
from dajax.recipes.base import mixing, scenes
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {
    "scenes": ("ablations",),
    "own": (*sets.OWN_KEYS, "ablations"),
} | dict.fromkeys(daformer.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone", "host"))
# mask_block_size; half of it on DAFormer, which sees frames at half the size. Of the scenes ours:
# an eighth of their height.
BLOCK = {"hrda": 64, "daformer": 32, "scenes": 8}
ABLATIONS = daformer.ABLATIONS | dict(no_masks={"masked.weight": 0.0})


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("mic", arg, VARIANTS, **daformer.KEYS, host=("hrda", "daformer"))
    if arg.is_small:
        config = scenes.start(arg, "single")
        full = daformer.small_stage(config, masked=masked("scenes"))
        mixing.add_rows(scenes.add_stages, config, arg, ABLATIONS, mic=full)
        return config
    # own folders' sizes are of the user's choice, and seldom such that HRDA's grids fit
    is_hrda = arg.host == "hrda" and arg.variant != "own"
    config = daformer.segmentation(arg, is_high_resolution=is_hrda)
    full = daformer.authors(
        config,
        arg,
        is_high_resolution=is_hrda,
        masked=masked("hrda" if is_hrda else "daformer"),
    )
    return daformer.with_stages(config, arg, ABLATIONS, mic=full)


def masked(host):
    """seg/configs/mic/gtaHR2csHR_mic_hrda.py: mask_mode="separatetrgaug", mask_lambda=1."""
    return dict(weight=1.0, ratio=0.7, block=BLOCK[host], images="target", strong_view=True)
