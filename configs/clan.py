"""CLAN (Luo, Zheng, Guan, Yu, Yang, CVPR 2019): category-level adversaries.

  python run.py --config=clan      embedded scenes with every control; minutes on two cores
  python run.py --config=clan:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=clan:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,backbone=vgg16_fcn8s the paper's VGG-16, of which no code was released; backbone=vgg16:
                           AdaptSegNet's. FILE is then vgg16-00b39a1b.pth (configs/adaptsegnet.py)
  ...,backbone=mit_b5      SegFormer's encoder, DAFormer's decoder, AdamW (ours; no paper has it);
                           backbone=dinov2_vitb14: with VFM-UDA's head and AdamW
  ...,settings=paper       the paper's values where its released code has others, see below

FILE is DeepLab_resnet_pretrained_init-f81d91e8.pth, of which https://github.com/RoyalVane/CLAN has
a copy; its sha256 begins with the f81d91e8 of its name. weights=none stands for random ones.

settings=paper: cross-entropy of the summed heads (code: focal, each head), the weight loss on
kernels alone and without the factor 2, nothing damped, no warm-up and the adaptive weight from the
first step, no scale jitter, local weight 40 for SYNTHIA too, the discriminator at a constant 5e-5
with weight decay, every parameter stepped once. Not covered: its crops of 512x1024 (whole frames,
as in the code), weights of ImageNet alone.

Published, ResNet-101: GTA5 -> Cityscapes 43.2 mIoU, SYNTHIA -> Cityscapes 47.8 over 13 classes;
VGG-16 (FCN8s) 36.6 and 39.3. These are best snapshots on the validation set: the released log has
43.68 at 82k, 41.32 at the last step. Users got 41.3 at 100k (CLAN issue 19). Not reproduced here
yet; 100,000 steps: about two days on one modern GPU, estimated, not measured.
"""

from dajax.recipes.base import deeplab, scenes, transformers
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {
    "scenes": ("settings",),
    "own": (*sets.OWN_KEYS, "settings"),
} | dict.fromkeys(seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone", "settings"))
# (height, width) of the whole frame after its resize: CLAN_train.py, INPUT_SIZE_SOURCE and
# INPUT_SIZE_TARGET; Synscapes' are its labels' (ours), and Cityscapes' frames have that shape.
SOURCE_HW = {
    "gta5": (720, 1280),
    "synthia": (760, 1280),
    "synscapes": (720, 1440),
    "cityscapes": (720, 1440),
}
TARGET_HW = (512, 1024)
# (bound of a uniform number, factor on the image's size): gta5_dataset.py and its siblings with
# scale=True. The label keeps its size.
IMAGE_SCALES = ((0.3, 0.8), (0.7, 1.0), (1.0, 1.1))


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    vggs = ("vgg16", "vgg16_fcn8s")
    arg = seg_base.parse(
        "clan",
        arg,
        VARIANTS,
        backbone=("resnet101", *vggs, *transformers.BACKBONES),
        network=("small", "resnet101", *vggs, *transformers.BACKBONES),
    )
    if arg.is_small:
        return with_small_network(arg)
    config = seg_base.segmentation(
        arg.name,
        model=deeplab.network(arg.backbone, "twin", arg.weights, size_hw=arg.size_hw),
        data=seg_base.frames(
            arg,
            source_hw=seg_base.by_source(SOURCE_HW, arg),
            target_hw=TARGET_HW,
            flip=True,
            image_scales=() if arg.settings == "paper" else IMAGE_SCALES,
        ),
    )
    stage = authors(arg)
    if arg.variant == "own":
        deeplab.add_stages(config, arg, without_adversary(stage), clan=stage)
        return transformers.in_place(config, arg)
    config.clan = stage
    config.stages = ("clan",)
    seg_base.evaluate_every(config, 2000)  # as often as the code saves a snapshot
    return transformers.in_place(config, arg)


def authors(arg):
    """CLAN_train.py; with settings=paper the paper's values, which the module's docstring lists."""
    warmup = 5000  # PREHEAT_STEPS
    # Lambda_local; the paper has 40 for both
    local_weight = 10.0 if arg.source_set == "synthia" else 40.0
    stage = seg_base.stage(
        "clan",
        steps=100_000,  # NUM_STEPS
        batch_size=1,
        target_hw=arg.size_hw or TARGET_HW,
        loss=dict(kind="focal", gamma=2.0, on="heads"),  # utils/loss.py; each head's, summed
        adversarial=dict(
            kind="vanilla",  # bce_loss
            weight=0.001,  # Lambda_adv
            epsilon=0.4,  # Epsilon
            local_weight=local_weight,
            width=64,  # model/CLAN_D.py, ndf
        ),
        weight_loss=0.02,  # Lambda_weight 0.01, times the 2 of the code
        weight_loss_with_biases=True,
        differentiate_map=True,  # no detach in the generator's step
        damped=True,
        horizon_steps=0,  # of the damping; 0: the stage's end
        warmup_steps=warmup,  # until then every pixel has the same adversarial weight
        optimizer=deeplab.released_sgd(
            arg.backbone, 2.5e-4, settings=arg.settings, warmup_steps=warmup
        ),
        discriminator_optimizer=deeplab.poly_adam(1e-4, warmup_steps=warmup),
    )
    if arg.settings == "paper":
        stage.loss.update(kind="cross_entropy", on="ensemble")  # eq. 3
        stage.update(weight_loss=0.01, weight_loss_with_biases=False, damped=False, warmup_steps=0)
        stage.adversarial.local_weight = 40.0
        stage.optimizer.warmup_steps = 0
        adam = deeplab.poly_adam(5e-5, weight_decay=5e-4)
        stage.discriminator_optimizer = adam | dict(schedule="constant")
    return stage


def source_only(arg, config):
    """{stage: settings} of source only with CLAN's data, heads and schedule.

    Args:
      config: the recipe's; settings=paper, whose loss is that of the summed heads, has one head.
    """
    stage = authors(arg)
    loss = dict(kind="focal", gamma=stage.loss.gamma, aux_weight=1.0)
    if arg.settings == "paper":
        config.model.heads, loss = "single", dict(kind="cross_entropy", aux_weight=0.0)
    settings = dict(steps=stage.steps, batch_size=stage.batch_size, optimizer=stage.optimizer)
    return {"source_only": seg_base.supervised(loss=loss, **settings)}


def without_adversary(stage):
    """The step-matched control."""
    return seg_base.without(stage, **{"adversarial.weight": 0.0})


def with_small_network(arg):
    """For the small network, with every control: what the authors' settings owe to pretrained
    weights and 100,000 steps is changed, and said.
    """
    stage = authors(arg)
    # the authors' share of the steps
    warmup = 0 if arg.settings == "paper" else scenes.ADAPTATION["steps"] // 20
    stage.update(target_hw=scenes.size_hw(arg), warmup_steps=warmup, **scenes.ADAPTATION)
    stage.optimizer = scenes.optimizer(5e-4, warmup_steps=warmup)
    stage.discriminator_optimizer.warmup_steps = warmup
    stage.adversarial.update(scenes.ADVERSARY)
    config = scenes.start(arg, "twin")
    scenes.add_stages(config, arg, without_adversary(stage), clan=stage)
    return config
