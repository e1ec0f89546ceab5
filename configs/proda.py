"""ProDA (Zhang, Zhang, Zhang, Chen, Wang, Wen, CVPR 2021), its warm-up and its first stage.

  python run.py --config=proda                embedded scenes with every control
  python run.py --config=proda:own,source=DIR,target=DIR,size=96x128       own folders, too
  python run.py --config=proda:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE

The scenes take minutes on two cores. FILE is
https://download.pytorch.org/models/resnet101-5d3b4d8f.pth, whose sha256 begins with 5d3b4d8f;
weights=none stands for random ones.

warm_up (AdaptSegNet with least squares) -> proda (its prototypes first): one command, restartable
anywhere.

Published, ResNet-101, README: GTA5 -> Cityscapes warm-up 43.3 mIoU, stage 1 53.7; SYNTHIA ->
Cityscapes, 16 classes, 41.4 and 51.9; with two stages of distillation, which are not here, 57.5;
55.5 over 16 classes, 62.0 over 13. Not reproduced here yet; 62,412 steps of 4 + 4 images in each
stage: some days on one modern GPU, estimated, not measured.

Not as in the released code: its head is an ASPP of 5 branches with GroupNorm, channel attention, a
layer of 256 channels, which are its features, and dropout; here DeepLab-v2's, whose features are
the 2,048 channels before it. The strong view is DACS's jitter and blur, where it has RandAugment
and cutout, and moves no pixel. Its teacher sees whole frames, here the crop. Target terms are at
stride 8, there at 4, so that min_pixels counts larger pixels. The warm-up learns the source as it
is, there a strong view at stride 8. The teacher's momentum grows to 0.999 with the steps, as every
teacher's of dajax. Soft labels come from a copy of the network and not from files.
"""

from dajax.recipes import adaptsegnet
from dajax.recipes.base import deeplab, mixing, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": (), "own": sets.OWN_KEYS} | dict.fromkeys(
    seg_base.REAL_VARIANTS, seg_base.REAL_KEYS
)
# of adaptsegnet.authors; lambda 0.01
KEYS = dict(levels=("single",), gan=("least_squares",), network=seg_base.RESNETS)
CROP_HW = (512, 896)  # rcrop
# resize: the long side 2,200 of 1914x1052, 1280x760 and 2048x1024, times 0.5 to 1.5 (RandomSized)
SOURCE_EDGE = {"gta5": (604, 1813), "synthia": (653, 1959), "synscapes": (550, 1650)}
TARGET_EDGE = (550, 1650)
EVALUATION_HW = (1024, 2048)  # data/cityscapes_dataset.py img_size, without augmentations
# An epoch has 743 batches of 4 of the 2,975 target images (drop_last); train.py goes through
# `epochs` of them and never stops at train_iters, over which the rate falls.
STEPS, HORIZON_STEPS = 84 * 743, 90_000
WEIGHT_DECAY = 2e-4  # adaptation_modelv2.py
PIXELS = dict(channels="rgb", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # data/


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("proda", arg, VARIANTS, **KEYS)
    if arg.is_small:
        return with_small_network(arg)
    model = deeplab.network(arg.backbone, "single", arg.weights, size_hw=arg.size_hw)
    config = seg_base.segmentation(arg.name, model=model, data=frames(arg))
    warm_up = released_warm_up(arg, config.data.transforms.target)
    full = authors(config.data.transforms.target)
    if arg.source_set == "synthia":
        full.kld_weight = 0.0  # README: its command has no regular_w
    if arg.variant == "own":
        deeplab.add_stages(config, arg, control(warm_up, full), warm_up=warm_up, proda=full)
        return config
    config.update(dict(warm_up=warm_up, proda=full))
    config.stages = ("warm_up", "proda")
    seg_base.evaluate_every(config, 2000)  # ours
    return config


def frames(arg):
    """Crops of frames whose long side is 1,100 to 3,300, mirrored."""
    edges = seg_base.by_source(SOURCE_EDGE, arg)
    whole = seg_base.whole_frames(arg.size_hw or EVALUATION_HW) | PIXELS
    source = whole | seg_base.crops(arg, CROP_HW, edges) | dict(flip=True)
    target = whole | seg_base.crops(arg, CROP_HW, TARGET_EDGE) | dict(flip=True)
    return dict(
        sets.domains(arg, synthia_space="synthia"),  # n_class 16
        transforms=dict(source=source, target=target, evaluation=whole),
    )


def released_warm_up(arg, transform):
    """README, `--stage warm_up --freeze_bn --lr 2.5e-4`: AdaptSegNet's stage with ImageNet's
    statistics throughout. The code does not halve the discriminator's losses, which Adam does not
    notice.

    Args:
      transform: of the target.
    """
    stage = adaptsegnet.authors(arg)
    stage.update(
        steps=STEPS,
        batch_size=4,  # bs
        target_hw=transform.size,
        norm="frozen",
        norm_affine="frozen",
    )
    # the generator of get_1x_lr_params lists a block's parameters as AdaptSegNet's does
    stage.optimizer.update(horizon_steps=HORIZON_STEPS, weight_decay=WEIGHT_DECAY)
    stage.discriminator_optimizer.horizon_steps = HORIZON_STEPS
    return stage


def authors(transform):
    """train.py, parser_train.py and README: the released settings of stage 1.

    Args:
      transform: of the target, for how images are normalised.
    """
    return seg_base.stage(
        "proda",
        init_from="warm_up",
        steps=STEPS,
        batch_size=4,  # bs
        norm_affine="trained",  # stage 1 has no --freeze_bn
        loss=dict(kind="cross_entropy"),
        ce_weight=0.1,  # README: --ema --proto_rectify ... of symmetric cross-entropy
        rce_weight=1.0,
        kld_weight=0.1,  # README: regular_w of GTA5
        consistency_weight=10.0,  # proto_consistW
        temperature=1.0,  # proto_temperature
        threshold=0.0,  # train_thred
        smallest_probability=1e-7,  # rce
        smallest_label=1e-4,  # rce
        min_pixels=10,  # calculate_mean_vector
        prototype_decay=0.9999,  # of the old value: 1 - proto_momentum
        init_batch_size=4,  # of the pass that makes the first prototypes
        teacher=dict(momentum=0.999),  # ema
        color_jitter=dict(  # ours, DACS's
            kind="kornia",
            **dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.25),
            probability=0.8,
        ),
        blur=dict(probability=0.5, sigma=(0.15, 1.15)),
        strong_for="image",
        normalisation={key: transform[key] for key in mixing.NORMALISATION},
        # lr; one rate, since stage 1 has no --finetune; weight_decay of adaptation_modelv2.py
        optimizer=deeplab.poly_sgd(1e-4, horizon_steps=HORIZON_STEPS, head_multiplier=1.0)
        | dict(weight_decay=WEIGHT_DECAY),
    )


def control(warm_up, full):
    """The step-matched control: no adversary, no pseudo-labels, as many steps as both stages."""
    stage = adaptsegnet.without_adversary(warm_up)
    stage.steps = warm_up.steps + full.steps
    return stage


def with_small_network(arg):
    """For the small network from random weights."""
    config = scenes.start(arg, "single")
    warm_up, full = adaptsegnet.authors(arg), authors(config.data.transforms.target)
    adaptsegnet.for_small_network(warm_up, arg)
    full.update(**scenes.ADAPTATION, norm_affine="")  # the small network trains them
    full.optimizer = scenes.optimizer(5e-4)
    # 0.99 (ours): of 500 steps 0.999 would average all
    full.update(init_from="warm_up", teacher=dict(momentum=0.99))
    scenes.add_stages(config, arg, control(warm_up, full), warm_up=warm_up, proda=full)
    return config
