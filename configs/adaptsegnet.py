"""AdaptSegNet (Tsai, Hung, Schulter, Sohn, Yang, Chandraker, CVPR 2018): adversarial learning in the output space; CLAN's "TAN" baseline.

  python run.py --config=configs/adaptsegnet.py                    embedded scenes with every control; minutes on two cores
  python run.py --config=configs/adaptsegnet.py:gta5_to_cityscapes,source=DIR,target=DIR,weights=DeepLab_resnet_pretrained_init-f81d91e8.pth
  ...,levels=multi         the second head at layer3 and its discriminator
  ...,gan=least_squares    `--gan LS` of the released code, with lambda 0.01
  ...,backbone=vgg16       single level; weights=vgg16-00b39a1b-updated.pth

Published, ResNet-101, GTA5 -> Cityscapes: single level 41.4, multi level 42.4 mIoU; SYNTHIA -> Cityscapes, 13 classes: 45.9 and 46.7; VGG-16 35.0 and
37.6. These are best-snapshot figures on the validation set; users of the released code got 39.5 to 42.0, falling to 34 by 165k steps
(issues 19, 56, 65). Not reproduced here yet; 150,000 steps: about two days on one modern GPU, estimated, not measured.
"""

from configs import base, seg_base
from configs.scenes import SIZE_HW, scenes

VARIANTS = ("scenes", *seg_base.REAL_VARIANTS)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = base.parse_arg(arg, VARIANTS, source="", target="", weights="", backbone="resnet101", levels="single", gan="vanilla")
    name = "-".join(filter(None, ("adaptsegnet", arg.variant, arg.levels, "" if arg.gan == "vanilla" else arg.gan)))
    if arg.variant == "scenes":
        config = seg_base.segmentation(name, model=seg_base.small_network(arg.levels), data=scenes())
        settings = on_scenes(arg)
        control = seg_base.without(settings, **{"adversarial.weight": 0.0, "adversarial.aux_weight": 0.0})
        seg_base.add_scenes_stages(config, control, adaptsegnet=settings)
        return config
    data = seg_base.frames(arg.variant, arg.source, arg.target, flip=False)
    config = seg_base.segmentation(name, model=seg_base.deeplab(arg.backbone, arg.levels, arg.weights, aspp_branches=2), data=data)
    config.adaptsegnet = authors(arg)
    config.stages = ("adaptsegnet",)
    return config


def authors(arg):
    """train_gta2cityscapes_multi.py and its README: the released settings."""
    weight = 0.01 if arg.gan == "least_squares" else 0.001  # lambda_adv_target2
    return seg_base.stage(
        "adaptsegnet", steps=150_000, batch_size=1, target_hw=seg_base.TARGET_HW,
        loss=dict(kind="cross_entropy", aux_weight=0.1), source_temperature=1.0,  # lambda_seg
        # aux_weight: lambda_adv_target1; the README says 0.00005 (and 0.0005 for the other) under torch 0.4.
        adversarial=dict(kind=arg.gan, weight=weight, aux_weight=0.0002, width=64),
        # backbone_sgd_repeats=3 for the released code's repeated parameters, which VGG has not, nor a rate of its own for the head.
        optimizer=seg_base.poly_sgd(2.5e-4, horizon_steps=250_000, head_multiplier=1.0 if "vgg" in arg.backbone else 10.0),
        discriminator_optimizer=seg_base.poly_adam(1e-4, horizon_steps=250_000),
    )


def on_scenes(arg):
    """For the small network: what the authors' settings owe to pretrained weights and 150,000 steps is changed, and said."""
    stage = authors(arg)
    stage.update(target_hw=SIZE_HW, **seg_base.SCENES_ADAPTATION)
    stage.optimizer = seg_base.scenes_optimizer(5e-4)
    stage.discriminator_optimizer.horizon_steps = 0
    stage.adversarial.update(seg_base.SCENES_ADVERSARY)
    return stage
