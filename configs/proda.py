"""ProDA (Zhang, Zhang, Zhang, Chen, Wang, Wen, CVPR 2021), its warm-up and its first stage.

  python run.py --config=proda                embedded scenes with every control
  python run.py --config=proda:own,source=DIR,target=DIR,size=96x128       own folders, too
  python run.py --config=proda:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE

The scenes take minutes on two cores. FILE is DeepLab_resnet_pretrained_init-f81d91e8.pth:
configs/adaptsegnet.py says where it is to be had; weights=none stands for random ones.

warm_up (AdaptSegNet with least squares) -> proda (its prototypes first): one command, restartable
anywhere.

Published, ResNet-101, README: GTA5 -> Cityscapes warm-up 43.3 mIoU, stage 1 53.7; SYNTHIA ->
Cityscapes, 16 classes, 41.4 and 51.9; with two stages of distillation, which are not here, 57.5;
55.5 over 16 classes, 62.0 over 13. Not reproduced here yet; 90,000 steps of stage 1 and the
warm-up's: about three days on one modern GPU, estimated, not measured.

Not as in the released code: features are the 2,048 channels before the head, where it has a layer
of 256; the strong view is DACS's jitter and blur, where it has RandAugment and cutout, and moves no
pixel; soft labels come from a copy of the network and not from files; a crop of 512x896 at a fixed
scale.
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
CROP_HW = (512, 896)
# the long side 2,200 of 1914x1052, 1280x760 and 2048x1024
SOURCE_EDGE = {"gta5": 1209, "synthia": 1306, "synscapes": 1100}
TARGET_EDGE, EVALUATION_HW = 1100, (1100, 2200)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("proda", arg, VARIANTS, **KEYS)
    if arg.is_small:
        return with_small_network(arg)
    model = deeplab.network(arg.backbone, "single", arg.weights, size_hw=arg.size_hw)
    config = seg_base.segmentation(arg.name, model=model, data=frames(arg))
    warm_up = adaptsegnet.authors(arg)
    warm_up.target_hw = config.data.transforms.target.size
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
    """Crops of frames whose long side is 2,200, mirrored."""
    edge = seg_base.by_source(SOURCE_EDGE, arg)
    whole = seg_base.whole_frames(arg.size_hw or EVALUATION_HW)
    source = whole | seg_base.crops(arg, CROP_HW, (edge, edge)) | dict(flip=True)
    target = whole | seg_base.crops(arg, CROP_HW, (TARGET_EDGE, TARGET_EDGE)) | dict(flip=True)
    return dict(
        sets.domains(arg, synthia_space="synthia"),  # n_class 16
        transforms=dict(source=source, target=target, evaluation=whole),
    )


def authors(transform):
    """train.py, parser_train.py and README: the released settings of stage 1.

    Args:
      transform: of the target, for how images are normalised.
    """
    return seg_base.stage(
        "proda",
        init_from="warm_up",
        steps=90_000,  # train_iters
        batch_size=4,  # bs
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
        optimizer=deeplab.poly_sgd(1e-4, head_multiplier=1.0) | dict(weight_decay=2e-4),
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
    full.update(**scenes.ADAPTATION)
    full.optimizer = scenes.optimizer(5e-4)
    # 0.99 (ours): of 500 steps 0.999 would average all
    full.update(init_from="warm_up", teacher=dict(momentum=0.99))
    scenes.add_stages(config, arg, control(warm_up, full), warm_up=warm_up, proda=full)
    return config
