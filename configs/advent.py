"""AdvEnt (Vu, Jain, Bucher, Cord, Perez, CVPR 2019): AdaptSegNet whose discriminators see the
information map -p log p of the predictions. configs/minent.py is the same paper's MinEnt.

  python run.py --config=advent              embedded scenes with every control
  python run.py --config=advent:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=advent:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,levels=single        without the second head at layer3 and its discriminator

The scenes take minutes on two cores. FILE is DeepLab_resnet_pretrained_imagenet.pth, which
https://github.com/valeoai/ADVENT links in its README (no checksum is published); weights=none
stands for random ones.

Published, ResNet-101, best snapshot on the validation set: GTA5 -> Cityscapes 43.8 mIoU, SYNTHIA ->
Cityscapes 40.8 over 16 classes and 47.6 over 13. The paper's 45.5, 41.2 and 48.0 are no training:
the mean of two networks' logits, AdvEnt and a MinEnt that was not released. Not reproduced here
yet; 120,000 steps: about two days on one modern GPU, estimated, not measured.
"""

from dajax.recipes import adaptsegnet
from dajax.recipes.base import deeplab, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": ("levels",), "own": (*sets.OWN_KEYS, "levels")} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "levels")
)
STEPS, HORIZON = 120_000, 250_000  # EARLY_STOP and MAX_ITERS of domain_adaptation/config.py


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = parse("advent", arg)
    stage = authors(arg)
    if arg.is_small:
        adaptsegnet.for_small_network(stage, arg)
        config = scenes.start(arg, arg.levels)
        scenes.add_stages(config, arg, adaptsegnet.without_adversary(stage), advent=stage)
        return config
    config = start(arg)
    if arg.variant == "own":
        deeplab.add_stages(config, arg, adaptsegnet.without_adversary(stage), advent=stage)
        return config
    config.advent = stage
    config.stages = ("advent",)
    seg_base.evaluate_every(config, 2000)  # SAVE_PRED_EVERY
    return config


def parse(recipe, arg):
    """The argument of the paper's two recipes."""
    return seg_base.parse(
        recipe,
        arg,
        VARIANTS,
        levels=("multi", "single"),  # MULTI_LEVEL
        gan=("vanilla",),
        backbone=("resnet101",),
        network=("small", "resnet101"),
        always_named=("levels",),
    )


def start(arg):
    """A run with the large network and the authors' frames, without its stages: AdaptSegNet's, but
    for ASPP's four branches (model/deeplabv2.py) and 16 classes of SYNTHIA (the paper; its code has
    GTA5 alone).
    """
    model = deeplab.network("resnet101", arg.levels, arg.weights, size_hw=arg.size_hw)
    data = seg_base.frames(
        arg,
        source_hw=seg_base.by_source(adaptsegnet.SOURCE_HW, arg),  # INPUT_SIZE_SOURCE
        target_hw=adaptsegnet.TARGET_HW,  # INPUT_SIZE_TARGET
        flip=False,
        synthia_space="synthia",
    )
    return seg_base.segmentation(arg.name, model=model, data=data)


def authors(arg):
    """domain_adaptation/config.py and train_UDA.py, train_advent: AdaptSegNet's constants, but for
    the length and what the discriminators see.
    """
    return seg_base.without(
        adaptsegnet.authors(arg), **{"steps": STEPS, "adversarial.input": "information"}
    )
