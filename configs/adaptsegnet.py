"""AdaptSegNet (Tsai, Hung, Schulter, Sohn, Yang, Chandraker, CVPR 2018): adversarial learning in
the output space; CLAN's "TAN" baseline.

  python run.py --config=adaptsegnet                 embedded scenes with every control
  python run.py --config=adaptsegnet:own,source=DIR,target=DIR,size=96x128       own folders, too
  python run.py --config=adaptsegnet:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,levels=multi         the second head at layer3 and its discriminator
  ...,settings=paper       every parameter stepped once and all four branches of ASPP, where the
                           released code repeats and leaves out
  ...,gan=least_squares    `--gan LS` of the released code, with lambda 0.01
  ...,backbone=vgg16       single level
  ...,backbone=mit_b5      SegFormer's encoder, DAFormer's decoder, AdamW (ours; no paper has it);
                           backbone=dinov2_vitb14: with VFM-UDA's head and AdamW

The scenes take minutes on two cores. FILE is DeepLab_resnet_pretrained_init-f81d91e8.pth, with
backbone=vgg16 vgg16-00b39a1b-updated.pth; weights=none stands for random ones. The first was on
http://vllab.ucmerced.edu/ytsai/CVPR18, long dead; https://github.com/RoyalVane/CLAN has a copy,
sha256 f81d91e8... as in its name. The second, of which no checksum is published, was on the same
page; its origin by name, vgg16-00b39a1b.pth (sha256 00b39a1b...) of
https://github.com/jcjohnson/pytorch-vgg, fits backbone=vgg16 as well.

Published, ResNet-101, GTA5 -> Cityscapes: single level 41.4, multi level 42.4 mIoU; SYNTHIA ->
Cityscapes, 13 classes: 45.9 and 46.7; VGG-16 35.0 and 37.6. These are best-snapshot figures on the
validation set; users of the released code got 39.5 to 42.0, falling to 34 by 165k steps (issues 19,
56, 65). Not reproduced here yet; 150,000 steps: about two days on one modern GPU, estimated, not
measured.
"""

from dajax.recipes.base import deeplab, scenes, transformers
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {
    "scenes": ("levels", "gan"),
    "own": (*sets.OWN_KEYS, "levels", "gan"),
} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone", "levels", "gan", "settings")
)
# (height, width) of the whole frame after its resize: train_gta2cityscapes_multi.py, INPUT_SIZE and
# INPUT_SIZE_TARGET; SYNTHIA's as CLAN has it (CLAN_train.py); Synscapes' are its labels'
# (ours), and Cityscapes' frames have that shape.
SOURCE_HW = {
    "gta5": (720, 1280),
    "synthia": (760, 1280),
    "synscapes": (720, 1440),
    "cityscapes": (720, 1440),
}
TARGET_HW = (512, 1024)
SAVE_EVERY = 5000  # SAVE_PRED_EVERY, a snapshot


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse(
        "adaptsegnet",
        arg,
        VARIANTS,
        levels=("single", "multi"),
        gan=("vanilla", "least_squares"),
        backbone=(*seg_base.BACKBONES, *transformers.BACKBONES),
        network=(*sets.NETWORKS, *transformers.BACKBONES),
        always_named=("levels",),
    )
    if not arg.backbone.startswith("resnet") and arg.levels != "single":
        raise ValueError(
            f"levels={arg.levels}: backbone {arg.backbone} has one head; choose levels=single or a"
            " ResNet"
        )
    if arg.backbone in ("vgg16_fcn8s", *transformers.BACKBONES) and arg.settings == "paper":
        raise ValueError(
            f"settings=paper: changes nothing for backbone {arg.backbone}, which has no ASPP and"
            " repeats nothing; leave it out"
        )
    if arg.is_small:
        return with_small_network(arg)
    config = seg_base.segmentation(
        arg.name,
        model=deeplab.network(
            arg.backbone, arg.levels, arg.weights, aspp_branches=branches(arg), size_hw=arg.size_hw
        ),
        data=frames(arg),
    )
    stage = authors(arg)
    if arg.variant == "own":
        deeplab.add_stages(config, arg, without_adversary(stage), adaptsegnet=stage)
        return transformers.in_place(config, arg)
    config.adaptsegnet = stage
    config.stages = ("adaptsegnet",)
    seg_base.evaluate_every(config, SAVE_EVERY)
    return transformers.in_place(config, arg)


def branches(arg):
    """Of the head: the code's networks, model/deeplab*.py, return within the loop over four."""
    return 4 if arg.settings == "paper" else 2


def frames(arg):
    """Whole frames, never mirrored (dataset/gta5_dataset.py ignores mirror)."""
    source_hw = seg_base.by_source(SOURCE_HW, arg)
    return seg_base.frames(arg, source_hw=source_hw, target_hw=TARGET_HW, flip=False)


def authors(arg):
    """train_gta2cityscapes_multi.py and its README: the released settings."""
    return seg_base.stage(
        "adaptsegnet",
        steps=150_000,  # NUM_STEPS_STOP; the rate falls over NUM_STEPS, 250,000
        batch_size=1,
        target_hw=arg.size_hw or TARGET_HW,
        class_balanced=False,  # True: rare classes are drawn more often, as in SPCL's warm-up
        loss=dict(kind="cross_entropy", aux_weight=0.1),  # lambda_seg
        source_temperature=1.0,  # logits are divided by it; SPCL's warm-up has another
        adversarial=dict(
            kind=arg.gan,
            input="softmax",  # of the discriminators; "information" is ADVENT, configs/advent.py
            weight=0.01 if arg.gan == "least_squares" else 0.001,  # lambda_adv_target2
            # lambda_adv_target1; of multi level the README says 0.00005 (and 0.0005 for the other)
            # under torch 0.4
            aux_weight=0.0002,
            width=64,  # ndf
        ),
        optimizer=deeplab.released_sgd(
            arg.backbone, 2.5e-4, settings=arg.settings, horizon_steps=250_000
        ),
        discriminator_optimizer=deeplab.poly_adam(1e-4, horizon_steps=250_000),
    )


def without_adversary(stage):
    """The step-matched control."""
    return seg_base.without(stage, **{"adversarial.weight": 0.0, "adversarial.aux_weight": 0.0})


def with_small_network(arg):
    """For the small network, with every control: what the authors' settings owe to pretrained
    weights and 150,000 steps is changed, and said.
    """
    stage = authors(arg)
    for_small_network(stage, arg)
    config = scenes.start(arg, arg.levels)
    scenes.add_stages(config, arg, without_adversary(stage), adaptsegnet=stage)
    return config


def for_small_network(stage, arg):
    """Changes the authors' stage for it."""
    stage.update(target_hw=scenes.size_hw(arg), **scenes.ADAPTATION)
    stage.optimizer = scenes.optimizer(5e-4)
    stage.discriminator_optimizer.horizon_steps = 0
    stage.adversarial.update(scenes.ADVERSARY)
