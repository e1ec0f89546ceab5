"""PLCA (Kang, Wei, Yang, Zhuang, Hauptmann, NeurIPS 2020): pixel-level cycle association.

  python run.py --config=plca                embedded scenes with every control
  python run.py --config=plca:ablations      the rows of the paper's Table 1 on the scenes
  python run.py --config=plca:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=plca:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  python run.py --config=plca:synthia_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  python run.py --config=plca:ablations_gta5,source_root=DIR,target_root=DIR,weights=FILE
  ...,backbone=mit_b5      SegFormer's encoder, DAFormer's decoder, AdamW (ours; no paper has it);
                           backbone=dinov2_vitb14: with VFM-UDA's head and AdamW
  ...,settings=paper       Lovasz weight 0.75, where the released code's gradient has 3; no other
                           number of the paper differs but its "about" 11,000 and 3,000 steps

The scenes take minutes on two cores. FILE is the ResNet-101 (resnet101-imagenet.pth) that
https://github.com/kgl-prml/Pixel-Level-Cycle-Association links under "Pre-trained Model"; no
checksum is published. weights=none stands for random ones.

Published, ResNet-101, last step, with spatial aggregation at test time: GTA5 -> Cityscapes 47.7
mIoU (47.8 in the released README), SYNTHIA -> Cityscapes 46.8 over 16 classes (46.9). Not
reproduced here yet. The authors used two GPUs of 32 GB; the association itself takes memory linear
in the pixels here. 10,416 steps of 8 + 8 crops of 730x730: about a day on one modern GPU,
estimated, not measured.
"""

from dajax.recipes.base import deeplab, scenes, transformers
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

REAL_VARIANTS = ("gta5_to_cityscapes", "synthia_to_cityscapes")
VARIANTS = {
    "scenes": ("ablations",),
    "own": (*sets.OWN_KEYS, "ablations"),
} | dict.fromkeys(REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone", "ablations", "settings"))
CROP_HW, EVALUATION_HW = (730, 730), (730, 1460)  # CROPSIZE; INPUT_SIZE_T
TEST_ALPHA = 0.5  # tools/test.py aggregates with the alpha of training
# 760 and 988 = 760 * 1.3, both ends included
SHORTER_EDGE = (760, 988)
# Optimiser steps and the horizon of poly: epochs of 372 steps over the target, 28 of 30 and 8 of 10
# (MAX_EPOCHS, POLY.MAX_EPOCHS).
STEPS = {"gta5": (28 * 372, 30 * 372), "synthia": (8 * 372, 10 * 372)}
NO_PREDICTION = {"association.prediction_level": False}
NO_SMOOTHING = {"label_smoothing.weight": 0.0}


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse(
        "plca",
        arg,
        VARIANTS,
        backbone=("resnet101", *transformers.BACKBONES),
        network=(*sets.NETWORKS, *transformers.BACKBONES),
    )
    if arg.is_small:
        config = with_small_network(arg)
    else:
        config = seg_base.segmentation(arg.name, model=network(arg), data=frames(arg))
        config.evaluation.align_corners = False  # tools/test.py
        stage = authors(arg)
        if arg.variant == "own":
            add_rows(deeplab.add_stages, config, arg, stage)
        else:
            rows = {"plca": stage}
            if arg.ablations:
                rows = source_only(arg, config) | ablations(stage) | rows
            config.update(rows)
            config.stages = tuple(rows)
            # five epochs, after which the authors' code saves; they choose no snapshot
            seg_base.evaluate_every(config, 5 * 372)
        transformers.in_place(config, arg)
    config.evaluation.aggregation_alpha = TEST_ALPHA
    return config


def network(arg):
    """DeepLab-v2 of the authors' repository: trained normalisation, a head without bias at torch's
    default initialisation.
    """
    model = deeplab.network(arg.backbone, "single", arg.weights, size_hw=arg.size_hw) | dict(
        train_norm_affine=True, head_bias=False, head_init="torch"
    )
    if arg.source_set:
        # ours: a micro-batch of 4 + 4 crops takes 20 GiB so, and 30 without (benchmarks/
        # memory_plans.py); the authors share it between two GPUs of 32 GB
        model["remat"] = "layer3"
    return model


def frames(arg):
    """Random shorter edge, flip, crop (data/, yamls); SYNTHIA with its 16 classes, and its target
    with the same.
    """
    crop = seg_base.crops(arg, CROP_HW, SHORTER_EDGE)
    whole = seg_base.whole_frames(arg.size_hw or EVALUATION_HW) | dict(resize="bilinear")
    training = whole | crop | dict(flip=True)
    transforms = dict(source=training, target=training, evaluation=whole)
    return dict(sets.domains(arg, synthia_space="synthia"), transforms=transforms)


def association_stage(**settings):
    """What the scenes and the real data share: the authors' config/config.py and yamls."""
    return seg_base.stage(
        "plca",
        association=dict(
            weight=0.1,  # ASSO_W
            feature_level=True,
            prediction_level=True,
            kind="contrast",
            contrast_normalisation=True,
            aggregation_alpha=0.5,  # SPAGG_ALPHA
            implementation="auto",  # "dense" or "blocked"
        ),
        label_smoothing=dict(weight=0.01, threshold=10.0),  # LSR_W, LSR_THRES
        **settings,
    )


def authors(arg):
    """The yamls of the released code; with settings=paper the paper's Lovasz weight."""
    steps, horizon = seg_base.by_source(STEPS, arg)
    return association_stage(
        steps=steps,
        batch_size=4,  # TRAIN_BATCH_SIZE
        accumulate=2,  # ITER_SIZE
        # LOV_W, which the code multiplies by GPUs (2 in its published command) and ITER_SIZE
        lovasz_weight=0.75 if arg.settings == "paper" else 0.75 * 2 * 2,
        # BASE_LR; LR_MULT
        optimizer=deeplab.poly_sgd(2.5e-4, horizon_steps=horizon, head_multiplier=1.0),
    )


def source_only(arg, _config):
    """{stage: settings} of the first rows of Table 1: METHOD source_only of the code, whose loss is
    cross-entropy and Lovasz, and the first of these alone.
    """
    full = authors(arg)
    settings = dict(
        steps=full.steps,
        batch_size=full.batch_size,
        accumulate=full.accumulate,
        half_pixel=True,  # F.interpolate's default; see evaluation.align_corners
        loss=dict(kind="cross_entropy", aux_weight=0.0),
        optimizer=full.optimizer,
    )
    return dict(
        cross_entropy=seg_base.supervised(**settings),
        source_only=seg_base.supervised(lovasz_weight=full.lovasz_weight, **settings),
    )


def ablations(full):
    """{stage: settings} of the further rows of Table 1.

    Args:
      full: the stage of PLCA.
    """
    return dict(
        feature_level=seg_base.without(full, **NO_PREDICTION, **NO_SMOOTHING),
        both_levels=seg_base.without(full, **NO_SMOOTHING),
        similarity=seg_base.without(full, **{"association.kind": "similarity"}),
        no_aggregation=seg_base.without(full, **{"association.aggregation_alpha": 0.0}),
    )


def with_small_network(arg):
    """For the small network from random weights."""
    config = scenes.start(arg, "single")
    # One device and no accumulation: here the released code's Lovasz weight is the paper's.
    full = association_stage(
        accumulate=1,
        lovasz_weight=0.75,
        optimizer=scenes.optimizer(5e-4),
        **scenes.ADAPTATION,
    )
    add_rows(scenes.add_stages, config, arg, full)
    return config


def add_rows(add_stages, config, arg, full):
    """PLCA with its control. Ablations: the rows of the paper's Table 1, each from the network that
    PLCA starts from.

    Args:
      add_stages: of the network's size.
      full: the stage.
    """
    control = seg_base.without(
        full, **{"association.feature_level": False}, **NO_PREDICTION, **NO_SMOOTHING
    )
    rows = {}
    if arg.ablations:
        cross_entropy = seg_base.without(control, lovasz_weight=0.0)
        rows = dict(cross_entropy=cross_entropy, **ablations(full))
    add_stages(config, arg, control, **rows, plca=full)
