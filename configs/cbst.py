"""CBST (Zou, Yu, Kumar, Wang, ECCV 2018) and CRST (Zou, Yu, Liu, Kumar, Wang, ICCV 2019): rounds of
self-training on class-balanced pseudo-labels of growing portions, without and with a regulariser.

  python run.py --config=cbst                          embedded scenes with every control
  python run.py --config=cbst:regulariser=mrkld        CRST's model regulariser
  python run.py --config=cbst:own,source=DIR,target=DIR,size=96x128       own folders, too
  python run.py --config=cbst:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,regulariser=mrkld_paper     its weight 0.1 as in the paper; the code multiplies it by itself
  ...,backbone=vgg16_fcn8s CBST's VGG-16, of which no code was released; backbone=vgg16:
                           AdaptSegNet's. FILE is then vgg16-00b39a1b.pth (configs/adaptsegnet.py).
                           CRST's paper has no such row

The scenes take minutes on two cores. FILE is
https://download.pytorch.org/models/resnet101-5d3b4d8f.pth, whose sha256 begins with 5d3b4d8f;
weights=none stands for random ones.

source_only -> three rounds of (pseudo-labels -> self-training on a list of all target images and
some of the source's): one command, restartable anywhere.

Published, ResNet-101, GTA5 -> Cityscapes, CRST's README: source 33.35 mIoU, CBST 46.47, MRKLD
47.39, tested at three scales with mirrored copies. SYNTHIA -> Cityscapes, CRST's paper: CBST 42.6
over 16 classes, MRKLD 43.8. Other papers' tables have 45.9 and 47.1 of GTA5 for CBST and MRKLD.
VGG-16, as SPCL's tables have it: 36.1; 35.4 over 16 classes, 36.1 over 13. Users of the same code
got 2.5 where rounds collapsed (CRST issue 22). Not reproduced here yet; about 11,400 steps after
the source's 100,000: a day on one modern GPU, estimated, not measured.

Not as in the released code: the network has torchvision's strides, as FILE was trained; all 2,975
target images, of which the authors list 505 (CRST issue 16: all of them are slightly worse). For
these, with the two epochs a round that they have,
  --config.data.target_list=train_ClsConfSet.lst --config.cbst_0.steps=1254
  --config.cbst_1.steps=1316 --config.cbst_2.steps=1378      SYNTHIA: 788, 810, 834
Labels are of the images as they are, without mirrored copies; shorter edges are at least 576 in the
rounds, since a crop must fit; a round's share of the source is rounded, which is one image more
than the code's at most.
"""

import math

from dajax.recipes.base import common as base
from dajax.recipes.base import deeplab, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

KEYS = ("regulariser",)
VARIANTS = {"scenes": KEYS, "own": (*sets.OWN_KEYS, *KEYS)} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone", *KEYS)
)
# mr-weight-kld 0.1 enters twice in crst_seg.py (reg_weights and reg_loss_calc); the paper's alpha
KLD_WEIGHT = {"none": 0.0, "mrkld": 0.01, "mrkld_paper": 0.1}
# Of the rounds; NUM_ROUNDS is 4, of which the last only evaluates.
PORTIONS = (0.2, 0.25, 0.3)  # INIT_TGT_PORT, TGT_PORT_STEP
SOURCE_SHARES = (0.03, 0.0325, 0.035)  # INIT_SRC_PORT, SRC_PORT_STEP
EPOCHS, BATCH_SIZE = 2, 2  # EPR, BATCH_SIZE
CROP_HW = (512, 1024)  # INPUT_SIZE
SOURCE_ONLY_CROP_HW = (500, 500)  # INPUT_SIZE of train.py
EVALUATION_HW = (921, 1843)  # TEST_SCALE 0.9 of 1024x2048, at which labels are made
# train_RandomScale 0.5 to 1.5 of the frame's height; a frame 1.78 times as wide fits from 576 on
SOURCE_EDGE = {"gta5": (576, 1578), "synthia": (608, 1140), "synscapes": (576, 1536)}
# train.py's: the same scales of GTA5's 1052 rows; of lower frames (ours) from where its crop fits
SOURCE_ONLY_EDGE = {"gta5": (526, 1578), "synthia": (500, 1140), "synscapes": (500, 1536)}
TARGET_EDGE = (512, 1536)
IMAGES = {"gta5": 24_966, "synthia": 9400, "synscapes": 25_000}  # of the official sets
TARGET_IMAGES = 2975
SCENES_STEPS = 200  # of a round, ours


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    networks = ("resnet101", "vgg16", "vgg16_fcn8s")
    arg = seg_base.parse(
        "cbst",
        arg,
        VARIANTS,
        regulariser=tuple(KLD_WEIGHT),
        backbone=networks,
        network=("small", *networks),
    )
    if "vgg" in arg.backbone and arg.regulariser != "none":
        raise ValueError(
            f"regulariser={arg.regulariser}: CRST's paper has no VGG-16; leave it out for backbone"
            f" {arg.backbone}, or choose resnet101"
        )
    if arg.is_small:
        return with_small_network(arg)
    model = deeplab.network(arg.backbone, "single", arg.weights, size_hw=arg.size_hw)
    model["topology"] = "torchvision"  # of FILE, which has seen RGB; a VGG has none
    config = seg_base.segmentation(arg.name, model=model, data=frames(arg))
    is_vgg = "vgg" in arg.backbone  # it normalises nothing, and has one rate as AdaptSegNet's has
    norm = "" if is_vgg else "frozen"  # model.eval() in both of the code's trainings
    recipe = rounds(
        arg,
        "source_only",
        lambda i: dict(
            steps=steps_of_round(arg, i),
            batch_size=BATCH_SIZE,
            norm=norm,
            rare_crops=dict(share=0.001, probability=0.8),  # mine-port; mine_chance
            optimizer=base.sgd(
                lr=5e-5,  # LEARNING_RATE
                schedule="constant",  # POWER 0
                momentum=0.9,
                weight_decay=5e-4,
                lr_multipliers=() if is_vgg else (("/layer[56]/", 10.0),),
                repeats=() if is_vgg else deeplab.RELEASED_SGD_REPEATS,
            ),
        ),
    )
    source_only = supervised(arg, norm)
    if arg.variant == "own":
        deeplab.add_stages(config, arg, control(recipe), source_only=source_only, **recipe)
        return config
    config.data.target_list = ""  # a file with the images to adapt to; "": all
    config.source_only = source_only
    config.update(recipe)
    config.stages = ("source_only", *recipe)
    seg_base.evaluate_every(config, 2000)  # ours; the code evaluates a round's end
    return config


def supervised(arg, norm):
    """The source's network: train.py with the flags of train.sh."""
    return seg_base.supervised(
        transform="source_only",
        steps=100_000,  # NUM_STEPS, over which the rate falls
        batch_size=4,  # BATCH_SIZE
        norm=norm,
        loss=dict(kind="cross_entropy", aux_weight=0.0),
        optimizer=deeplab.released_sgd(arg.backbone, 2.5e-4, settings="code"),  # LEARNING_RATE
    )


def frames(arg):
    """Pixels as FILE has seen them; random scale, crop and mirror in both domains."""
    whole = seg_base.whole_frames(arg.size_hw or EVALUATION_HW)
    whole |= deeplab.imagenet_pixels(arg.backbone)
    edge = seg_base.by_source(SOURCE_EDGE, arg)
    source = whole | seg_base.crops(arg, CROP_HW, edge) | dict(flip=True)
    edge = seg_base.by_source(SOURCE_ONLY_EDGE, arg)
    source_only = source | seg_base.crops(arg, SOURCE_ONLY_CROP_HW, edge)
    target = whole | seg_base.crops(arg, CROP_HW, TARGET_EDGE) | dict(flip=True)
    return dict(
        sets.domains(arg, synthia_space="synthia"),
        transforms=dict(source=source, source_only=source_only, target=target, evaluation=whole),
    )


def steps_of_round(arg, number):
    """Two epochs of the round's list, whose last batch may be smaller (savelst_SrcTgt, train)."""
    share = math.floor(SOURCE_SHARES[number] * seg_base.by_source(IMAGES, arg))
    return EPOCHS * math.ceil((TARGET_IMAGES + share) / BATCH_SIZE)


def rounds(arg, init_from, settings):
    """{stage: settings} of the rounds, each from the network before: crst_seg.py and its README.

    Args:
      settings: f(i) -> what a round of self-training needs beside the method's own.
    """
    recipe, before = {}, init_from
    for i, (portion, source_share) in enumerate(zip(PORTIONS, SOURCE_SHARES, strict=True)):
        labels, name = f"labels_{i}", f"cbst_{i}"
        recipe[labels] = seg_base.pseudo_labels(
            init_from=before,
            rule="class_balanced",
            share=portion,
            keep_every=4,  # ds-rate
            statistics="running",
        )
        recipe[name] = seg_base.self_training(
            init_from=before,
            labels_from=labels,
            source_share=source_share,
            kld_weight=KLD_WEIGHT[arg.regulariser],
            **settings(i),
        )
        before = name
    return recipe


def control(recipe):
    """The step-matched control: as many steps and images of the source alone."""
    of_rounds = [stage for stage in recipe.values() if stage.method == "self_training"]
    first = seg_base.without(of_rounds[0])
    settings = {key: first[key] for key in ("init_from", "batch_size", "norm", "optimizer")}
    settings["loss"] = dict(kind="cross_entropy", aux_weight=0.0)
    return seg_base.supervised(steps=sum(stage.steps for stage in of_rounds), **settings)


def with_small_network(arg):
    """For the small network from random weights, which begins with AdaBN's: its statistics are the
    target's, so that they can be frozen as the authors freeze theirs.
    """
    config = scenes.start(arg, "single")
    recipe = rounds(
        arg,
        "adabn",
        lambda i: dict(
            steps=SCENES_STEPS,
            batch_size=scenes.ADAPTATION["batch_size"],
            norm="frozen",
            optimizer=scenes.optimizer(5e-4 / 2**i),  # halved as in configs/bicl.py
        ),
    )
    scenes.add_stages(config, arg, control(recipe), **recipe)
    return config
