"""FADA (Wang, Shen, Zhang, Duan, Mei, ECCV 2020): class-wise adversarial alignment of features,
then self-distillation.

  python run.py --config=fada                embedded scenes with every control
  python run.py --config=fada:own,source=DIR,target=DIR,size=96x128       own folders, too
  python run.py --config=fada:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,backbone=vgg16       AdaptSegNet's VGG-16 with caffe's pixels, as in the code's vgg16 files.
                           FILE is vgg16-00b39a1b.pth (configs/adaptsegnet.py)

The scenes take minutes on two cores. FILE is
https://download.pytorch.org/models/resnet101-5d3b4d8f.pth, whose sha256 begins with 5d3b4d8f;
weights=none stands for random ones.

source_only -> fada -> labels of every pixel -> self_distillation, which begins with FILE again: one
command, restartable anywhere.

Published, ResNet-101: GTA5 -> Cityscapes 46.9 mIoU, with self-distillation 49.2; SYNTHIA ->
Cityscapes 45.2 over 16 classes, 52.5 over 13; VGG-16 43.8, 39.5 and 46.0. Not reproduced here yet;
80,000 steps: about two days on one modern GPU, estimated, not measured.

Not as in the released code: self-distillation is tested at 512x1024 as the other stages are, where
the code tests it at 1024x2048 (INPUT_SIZE_TEST of *_self_distill.yaml);
--config.data.transforms.evaluation.size=(1024,2048) does, for every stage and for pseudo-labels.
"""

from dajax.recipes import spcl
from dajax.recipes.base import deeplab, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {"scenes": (), "own": sets.OWN_KEYS} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone")
)
# Of poly: SOLVER.MAX_ITER; the stages stop before, at SOLVER.STOP_ITER.
SOURCE_HORIZON, HORIZON = 31_250, 62_500
SCENES_STEPS = dict(fada=500, self_distillation=400)  # ours


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("fada", arg, VARIANTS, backbone=("resnet101", "vgg16"))
    if arg.is_small:
        return with_small_network(arg)
    model = deeplab.network(arg.backbone, "single", arg.weights, size_hw=arg.size_hw)
    # SPCL, whose code is this one's, has its network and views; a VGG has neither of these two
    model |= dict(topology="torchvision", norm="frozen_no_eps")
    config = seg_base.segmentation(arg.name, model=model, data=frames(arg))
    config.evaluation.reestimate_batches = 0  # frozen statistics
    source_only, recipe = authors(arg)
    if arg.variant == "own":
        deeplab.add_stages(config, arg, control(recipe), source_only=source_only, **recipe)
        return config
    config.source_only = source_only
    config.update(recipe)
    config.stages = ("source_only", *recipe)
    seg_base.evaluate_every(config, 2000)  # SOLVER.CHECKPOINT_PERIOD
    return config


def frames(arg):
    """SPCL's, but for the jitter: the source's training has none (deeplabv2_*_src*.yaml), nor has a
    VGG's self-distillation (deeplabv2_vgg16_tgt_*self_distill.yaml).
    """
    data = spcl.frames(arg)
    views = data["transforms"]
    views["source_only"] = views["source"] | dict(color_jitter=None)
    if arg.backbone == "vgg16":
        views["self_training"] |= dict(color_jitter=None)
    return data


def authors(arg):
    """(source_only, {stage: settings}): configs/deeplabv2_r101_{src,adv,tgt_self_distill}.yaml, and
    deeplabv2_vgg16_*.yaml, which have the same numbers.
    """
    source_only = seg_base.supervised(
        transform="source_only",
        steps=20_000,  # STOP_ITER
        batch_size=8,  # BATCH_SIZE
        loss=dict(kind="cross_entropy", aux_weight=0.0),
        optimizer=spcl.sgd(arg, 5e-4, SOURCE_HORIZON),  # BASE_LR
    )
    fada = seg_base.stage(
        "fada",
        init_from="source_only",
        steps=40_000,  # STOP_ITER
        batch_size=4,  # BATCH_SIZE 8, half of it source
        target_hw=arg.size_hw or spcl.TARGET_HW,
        loss=dict(kind="cross_entropy"),
        temperature=1.8,  # train_adv.py
        cap=0.9,  # train_adv.py: of soft labels
        adversarial=dict(weight=0.001, width=256),  # train_adv.py; core/models/discriminator.py
        optimizer=spcl.sgd(arg, 2.5e-4, HORIZON),  # BASE_LR
        discriminator_optimizer=deeplab.poly_adam(1e-4, horizon_steps=HORIZON),  # BASE_LR_D
    )
    self_distillation = seg_base.self_training(
        init_from="",  # ImageNet again
        labels_from="fada_labels",
        transform="self_training",
        steps=20_000,  # STOP_ITER
        batch_size=8,  # BATCH_SIZE
        **spcl.normalisation_trained(arg),  # FREEZE_BN False
        optimizer=spcl.sgd(arg, 5e-4, SOURCE_HORIZON),  # BASE_LR
    )
    labels = seg_base.every_pixel_labelled(init_from="fada", statistics="running")
    return source_only, dict(fada=fada, fada_labels=labels, self_distillation=self_distillation)


def control(recipe):
    """The step-matched control: FADA without its adversary, for as many steps as all stages."""
    steps = sum(stage.steps for stage in recipe.values() if stage.method != "pseudo_labels")
    return seg_base.without(recipe["fada"], **{"adversarial.weight": 0.0, "steps": steps})


def with_small_network(arg):
    """For the small network from random weights, whose statistics are trained throughout. There are
    no pretrained weights to begin the last stage with, so it goes on from FADA's.
    """
    config = scenes.start(arg, "single")
    _, recipe = authors(arg)
    recipe["fada"].update(target_hw=scenes.size_hw(arg), **scenes.ADAPTATION)
    recipe["fada"].adversarial.width = scenes.ADVERSARY["width"]
    recipe["fada"].discriminator_optimizer.horizon_steps = 0
    recipe["fada_labels"].statistics = "reestimated"  # as in configs/spcl.py
    recipe["self_distillation"].update(
        init_from="fada", transform="target", batch_size=4, norm="", norm_affine=""
    )
    for stage, steps in SCENES_STEPS.items():
        recipe[stage].update(steps=steps, optimizer=scenes.optimizer(5e-4))
    scenes.add_stages(config, arg, control(recipe), **recipe)
    return config
