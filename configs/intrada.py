"""IntraDA (Pan, Shin, Rameau, Lee, Kweon, CVPR 2020): ADVENT, then ADVENT once more from the target
images that its network is surest of to those that it is not.

  python run.py --config=intrada                embedded scenes with every control
  python run.py --config=intrada:own,source=DIR,target=DIR,size=96x128       own folders, too
  python run.py --config=intrada:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,ranking=normalised

The scenes take minutes on two cores. FILE is DeepLab_resnet_pretrained_imagenet.pth, RESTORE_FROM
of intrada/intrada.yml: configs/advent.py says where it is to be had; weights=none stands for random
ones.

advent -> labels of every pixel and the mean entropy of each image -> intrada, which begins with
FILE again: one command, restartable anywhere.

Published, ResNet-101, best snapshot on the validation set: GTA5 -> Cityscapes 46.3 mIoU, SYNTHIA ->
Cityscapes 41.7 over 16 classes, 48.9 over 13; Synscapes -> Cityscapes 54.2. Not reproduced here
yet; 240,000 steps: about three days on one modern GPU, estimated, not measured.

Not as in the released code: its README ranks and labels with ADVENT's best snapshot on the
validation set, which nobody without target labels knows; here it is the last step. Its labels have
512x1024, here the image's size, of which training takes the nearest pixels.

ranking=normalised is `--normalize` of the released code, off there: images in which its network
sees more of eleven rare classes are the sooner easy.
"""

from dajax.recipes import adaptsegnet, advent
from dajax.recipes.base import deeplab, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": (), "own": sets.OWN_KEYS} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "ranking")
)
EASY_SHARE = 0.67  # entropy_rank/entropy.py, lambda1
# The rare classes of entropy_rank/entropy.py, there as train ids of Cityscapes. SYNTHIA has 16
# classes, without three of these; ours, since the code counts by the 19.
RARE = (
    *("wall", "fence", "pole", "traffic light", "traffic sign", "terrain", "rider", "truck", "bus"),
    *("train", "motorcycle"),
)
NOT_IN_SYNTHIA = ("terrain", "truck", "train")
# of advent.authors
KEYS = dict(
    levels=("multi", "single"),
    gan=("vanilla",),
    network=seg_base.RESNETS,
    ranking=("entropy", "normalised"),
)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("intrada", arg, VARIANTS, **KEYS)
    if arg.is_small:
        return with_small_network(arg)
    config, recipe = advent.start(arg), stages(arg)
    if arg.variant == "own":
        deeplab.add_stages(config, arg, control(recipe), **recipe)
        return config
    config.update(recipe)
    config.stages = tuple(recipe)
    seg_base.evaluate_every(config, 2000)  # SAVE_PRED_EVERY
    return config


def stages(arg):
    """{stage: settings}: ADVENT's and IntraDA's released settings."""
    first = advent.authors(arg)
    second = seg_base.without(first)
    second.update(
        labels_from="advent_labels",
        easy_share=EASY_SHARE,
        favoured=favoured(arg),  # classes whose images are the sooner easy; (): by entropy alone
    )
    labels = seg_base.every_pixel_labelled(init_from="advent", statistics="running")
    return dict(advent=first, advent_labels=labels, intrada=second)


def favoured(arg):
    """The classes of --normalize, () without it."""
    missing = NOT_IN_SYNTHIA if arg.source_set == "synthia" else ()
    return tuple(k for k in RARE if k not in missing) if arg.ranking == "normalised" else ()


def control(recipe):
    """The step-matched control: ADVENT without its adversary, for as many steps as both stages."""
    stage = adaptsegnet.without_adversary(recipe["advent"])
    stage.steps = recipe["advent"].steps + recipe["intrada"].steps
    return stage


def with_small_network(arg):
    """For the small network from random weights, with one head. There are no pretrained weights to
    begin the last stage with, so it goes on from ADVENT's.
    """
    arg.levels = "single"
    config, recipe = scenes.start(arg, arg.levels), stages(arg)
    for name in ("advent", "intrada"):
        adaptsegnet.for_small_network(recipe[name], arg)
    recipe["intrada"].init_from = "advent"
    recipe["advent_labels"].statistics = "reestimated"  # as in configs/spcl.py
    scenes.add_stages(config, arg, control(recipe), **recipe)
    return config
