"""MaxSquare (Chen, Xue, Cai, ICCV 2019): the squares of the target's probabilities are maximised,
which unlike entropy does not give all of its gradient to pixels that are sure already.

  python run.py --config=maxsquare           embedded scenes with every control
  python run.py --config=maxsquare:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=maxsquare:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,levels=multi         +IW+Multi: the second head at layer3 learns from labels of both

Rows: max_square, and max_square_iw with image-wise weights; with levels=multi max_square_iw_multi.
The scenes take minutes on two cores. FILE is DeepLab_resnet_pretrained_init-f81d91e8.pth:
configs/adaptsegnet.py says where it is to be had; weights=none stands for random ones.

source_only -> each row, from the source model: one command, restartable anywhere.

Published, ResNet-101, best epoch on the validation set, whose labels the code brings to the input's
size: GTA5 -> Cityscapes source 36.9, MinEnt 42.2, MaxSquare 44.3, +IW 45.2, +IW+Multi 46.4 mIoU;
SYNTHIA -> Cityscapes, +IW+Multi 41.4 over 16 classes, 48.2 over 13. Not reproduced here yet; 80,000
and twice 29,750 steps: about two days on one modern GPU, estimated, not measured.

Not as in the released code: no Gaussian blur of training images; the first normalisation's scale
and bias are trained as all others are.
"""

from dajax.recipes import adaptsegnet
from dajax.recipes.base import deeplab, entropy, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": ("levels",), "own": (*sets.OWN_KEYS, "levels")} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "levels")
)
# README: Cityscapes at 1024x512; target_crop_size of +IW+Multi
TARGET_HW = {"single": (512, 1024), "multi": (640, 1280)}
# solve_gta5.py: 5 rounds of 2 epochs, each over the target's 2,975 images; the rate falls over
# 2,976 an epoch, which its loader counts.
EPOCH, STEPS, HORIZON = 2975, 29_750, 29_760
LR = 2.5e-4  # --lr of README's commands
GUIDANCE_WEIGHT = 0.1 * 0.09  # lambda_seg * lambda_target of +IW+Multi
# of the list that repeats: scale and bias of blocks and shortcuts are in it, too
REPEATS = (("/downsample_", 4), ("/backbone/layer", 3))


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse(
        "maxsquare",
        arg,
        VARIANTS,
        levels=("single", "multi"),  # --multi
        backbone=("resnet101",),
        network=("small", "resnet101"),
        always_named=("levels",),
    )
    if arg.is_small:
        own = dict(optimizer=scenes.optimizer(5e-4), **scenes.ADAPTATION)
        config, found = scenes.start(arg, arg.levels), rows(arg, **own)
        scenes.add_stages(config, arg, entropy.control(first_of(found)), **found)
        return config
    found = rows(
        arg,
        init_from="source_only",
        steps=STEPS,
        batch_size=1,
        optimizer=sgd(LR, HORIZON),
    )
    model = network(arg, arg.levels)
    config = seg_base.segmentation(arg.name, model=model, data=frames(arg))
    if arg.variant == "own":
        control = entropy.control(first_of(found))
        deeplab.add_stages(config, arg, control, source_only=source_only(), **found)
        return config
    config.source_only = source_only()
    config.update(found)
    config.stages = ("source_only", *found)
    seg_base.evaluate_every(config, EPOCH)
    return config


def first_of(found):
    """Of the rows, which differ in their target's loss alone."""
    return next(iter(found.values()))


def rows(arg, **settings):
    """{stage: settings}: README's three commands."""
    if arg.levels == "multi":
        weighted = entropy.IMAGE_WEIGHTED | dict(weight=0.09)  # lambda_target
        guidance = entropy.NO_GUIDANCE | dict(weight=GUIDANCE_WEIGHT)
        return dict(max_square_iw_multi=entropy.stage(weighted, guidance=guidance, **settings))
    return dict(
        max_square=entropy.stage(entropy.MAX_SQUARE, **settings),  # weight: lambda_target
        max_square_iw=entropy.stage(entropy.IMAGE_WEIGHTED, **settings),  # ratio: IW_ratio
    )


def source_only():
    """tools/train_source.py with README's command."""
    return seg_base.supervised(
        steps=80_000,  # iter_stop
        batch_size=1,
        loss=dict(kind="cross_entropy", aux_weight=0.1),  # lambda_seg; read with two heads only
        optimizer=sgd(LR, 200_000),  # iter_max
    )


def sgd(lr, horizon_steps=0):
    """--weight_decay; graphs/models/deeplab_multi.py, optim_parameters.

    Args:
      lr: the backbone's rate.
      horizon_steps: where poly ends; 0: with the stage.
    """
    return deeplab.poly_sgd(lr, horizon_steps=horizon_steps, repeats=REPEATS)


def network(arg, heads):
    """graphs/models/deeplab_multi.py: a return within the loop over ASPP's branches, as
    AdaptSegNet's; normalisation is trained.
    """
    model = deeplab.network("resnet101", heads, arg.weights, aspp_branches=2, size_hw=arg.size_hw)
    return model | dict(train_norm_affine=True)


def frames(arg):
    """Whole frames, half of them mirrored; SYNTHIA's 16 classes (class_16)."""
    return seg_base.frames(
        arg,
        source_hw=seg_base.by_source(adaptsegnet.SOURCE_HW, arg),  # README has the same
        target_hw=TARGET_HW[arg.levels],
        flip=True,
        synthia_space="synthia",
    )
