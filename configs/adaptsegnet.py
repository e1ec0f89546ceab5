"""AdaptSegNet (Tsai, Hung, Schulter, Sohn, Yang, Chandraker, CVPR 2018): adversarial learning in
the output space; CLAN's "TAN" baseline.

  python run.py --config=configs/adaptsegnet.py                    embedded scenes with every control; minutes on two cores
  python run.py --config=configs/adaptsegnet.py:gta5_to_cityscapes,source=DIR,target=DIR,weights=DeepLab_resnet_pretrained_init-f81d91e8.pth
  ...,levels=multi         the second head at layer3 and its discriminator
  ...,settings=paper       every parameter stepped once and all four branches of ASPP, where the released code repeats and leaves out
  ...,gan=least_squares    `--gan LS` of the released code, with lambda 0.01
  ...,backbone=vgg16       single level; weights=vgg16-00b39a1b-updated.pth
  Weights: the first of http://vllab.ucmerced.edu/ytsai/CVPR18, long dead;
  https://github.com/RoyalVane/CLAN has a copy, sha256 f81d91e8... as in its name. The second, of
  which no checksum is published, was on the same page; its origin by name, vgg16-00b39a1b.pth
  (sha256 00b39a1b...) of https://github.com/jcjohnson/pytorch-vgg, fits backbone=vgg16 as well.
  weights=none: random ones.

Published, ResNet-101, GTA5 -> Cityscapes: single level 41.4, multi level 42.4 mIoU; SYNTHIA ->
Cityscapes, 13 classes: 45.9 and 46.7; VGG-16 35.0 and 37.6. These are best-snapshot figures on the
validation set; users of the released code got 39.5 to 42.0, falling to 34 by 165k steps (issues 19,
56, 65). Not reproduced here yet; 150,000 steps: about two days on one modern GPU, estimated, not
measured.
"""

from dajax.recipes.base import segmentation as seg_base
from dajax.recipes.base.scenes import SIZE_HW, scenes

VARIANTS = {"scenes": ("levels", "gan")} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone", "levels", "gan", "settings")
)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse(
        arg,
        VARIANTS,
        backbone=seg_base.BACKBONES,
        levels=("single", "multi"),
        gan=("vanilla", "least_squares"),
        settings=("code", "paper"),
    )
    if "vgg" in arg.backbone and arg.levels != "single":
        raise ValueError(
            f"levels={arg.levels}: backbone {arg.backbone} has one head; choose levels=single or a"
            " ResNet"
        )
    if arg.backbone == "vgg16_fcn8s" and arg.settings == "paper":
        raise ValueError(
            "settings=paper: changes nothing for backbone vgg16_fcn8s, which has no ASPP and"
            " repeats nothing; leave it out"
        )
    name = seg_base.run_name(
        "adaptsegnet",
        arg,
        "" if arg.backbone == "resnet101" else arg.backbone,
        arg.levels,
        "" if arg.gan == "vanilla" else arg.gan,
        "paper" if arg.settings == "paper" else "",
    )
    if arg.variant == "scenes":
        config = seg_base.segmentation(
            name, model=seg_base.small_network(arg.levels), data=scenes()
        )
        settings = on_scenes(arg)
        control = seg_base.without(
            settings, **{"adversarial.weight": 0.0, "adversarial.aux_weight": 0.0}
        )
        seg_base.add_scenes_stages(config, control, adaptsegnet=settings)
        return config
    branches = 4 if arg.settings == "paper" else 2
    model = seg_base.deeplab(arg.backbone, arg.levels, arg.weights, aspp_branches=branches)
    config = seg_base.segmentation(name, model=model, data=seg_base.frames(arg, flip=False))
    config.adaptsegnet = authors(gan=arg.gan, backbone=arg.backbone, settings=arg.settings)
    config.stages = ("adaptsegnet",)
    return config


def authors(*, gan="vanilla", backbone="resnet101", settings="code"):
    """train_gta2cityscapes_multi.py and its README: the released settings."""
    weight = 0.01 if gan == "least_squares" else 0.001  # lambda_adv_target2
    return seg_base.stage(
        "adaptsegnet",
        steps=150_000,
        batch_size=1,
        target_hw=seg_base.TARGET_HW,
        class_balanced=False,  # rare classes drawn more often: SPCL's warm-up
        loss=dict(kind="cross_entropy", aux_weight=0.1),
        source_temperature=1.0,  # lambda_seg
        # aux_weight: lambda_adv_target1; the README says 0.00005 (and 0.0005 for the other) under
        # torch 0.4.
        adversarial=dict(kind=gan, weight=weight, aux_weight=0.0002, width=64),
        optimizer=seg_base.sgd_of(backbone, 2.5e-4, settings=settings, horizon_steps=250_000),
        discriminator_optimizer=seg_base.poly_adam(1e-4, horizon_steps=250_000),
    )


def on_scenes(arg):
    """For the small network: what the authors' settings owe to pretrained weights and 150,000 steps
    is changed, and said.
    """
    stage = authors(gan=arg.gan)
    stage.update(target_hw=SIZE_HW, **seg_base.SCENES_ADAPTATION)
    stage.optimizer = seg_base.scenes_optimizer(5e-4)
    stage.discriminator_optimizer.horizon_steps = 0
    stage.adversarial.update(seg_base.SCENES_ADVERSARY)
    return stage
