"""SPCL (Xie, Li and Li, 2021): semantic prototype-based contrastive learning, then
self-training.

  python run.py --config=spcl                embedded scenes with every control
  python run.py --config=spcl:ablations      also without contrast, and with the source's alone
  python run.py --config=spcl:own,source=DIR,target=DIR,size=96x128      own folders, too
  python run.py --config=spcl:ablations_gta5,source_root=DIR,target_root=DIR,weights=FILE
  python run.py --config=spcl:gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=FILE
  ...,backbone=vgg16       AdaptSegNet's VGG-16 with the settings of the authors' next code, SDCA;
                           SPCL ships none. FILE is vgg16-00b39a1b.pth (configs/adaptsegnet.py)
  ...,settings=paper       the paper's values where its released code has others, see below
  ...,vary=decay           of published sets and the scenes, see below

The scenes take about 15 minutes on two cores. ablations are the paper's table 4; vary=decay and
vary=weight its tables 5 and 6: the prototypes' decay (alpha), the contrast's weight (lambda), each
value with labels and self-training of its own after one warm-up.
FILE is https://download.pytorch.org/models/resnet101-5d3b4d8f.pth, whose sha256 begins with
5d3b4d8f; weights=none stands for random ones.

warm-up (AdaptSegNet) -> pseudo-labels -> SPCL (its prototypes first) -> pseudo-labels ->
self-training: one command, restartable anywhere.

settings=paper: flips in every stage, weight decay 1e-4, source labels as they are (code: where
predicted right), target labels from the current output (code: files of the warm-up), logits not
divided by 1.8, no class-balanced drawing, which the paper does not mention. Not covered: its sums
over pixels (here, as in the code, means), prototypes over all images (here over those that have the
class), labels strictly above the threshold in self-training; the paper gives no temperature.

Published, ResNet-101, best snapshot on the validation set: GTA5 -> Cityscapes 52.1 mIoU, SYNTHIA ->
Cityscapes 47.2 over 16 classes and 54.4 over 13, Synscapes -> Cityscapes 57.1. Not reproduced here
yet; 100,000 steps: about three days on one modern GPU, estimated, not measured.
"""

from dajax.recipes import adaptsegnet
from dajax.recipes.base import deeplab, scenes
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

VARIANTS = {
    "scenes": ("ablations", "settings", "vary"),
    "own": (*sets.OWN_KEYS, "ablations", "settings"),
} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "backbone", "ablations", "settings", "vary")
)
# SOURCE_INPUT_SIZE_TRAIN of configs/*.yaml. SPCL ships none for SYNTHIA; its authors' next code,
# SDCA, has this one.
SOURCE_HW = {"gta5": (720, 1280), "synthia": (760, 1280)}
TARGET_HW = (512, 1024)
JITTER = dict(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2, before_geometry=True)
# Of poly: SOLVER.MAX_ITER. The stages stop before, at SOLVER.STOP_ITER: 40,000 and 20,000.
HORIZON, SELF_TRAINING_HORIZON = 62_500, 31_250
# Of the scenes. The control takes as many steps as all stages of the recipe together.
SCENES_STEPS = dict(warm_up=500, spcl=300, self_training=400)
# What vary= varies: a key of stage spcl, and the values of the paper's tables 5 and 6.
VARIED = {
    "decay": ("prototype_decay", (0.0, 0.1, 0.2, 0.5, 0.8, 1.0)),
    "weight": ("contrast_weight", (0.01, 0.1, 0.5, 1.0, 2.0, 10.0)),
}


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse("spcl", arg, VARIANTS, backbone=("resnet101", "vgg16"), vary=("", *VARIED))
    if arg.ablations and arg.vary:
        raise ValueError(
            f"ablations, vary={arg.vary}: the rows of two tables; leave one of them out"
        )
    if arg.is_small:
        return with_small_network(arg)
    model = deeplab.network(arg.backbone, "single", arg.weights, size_hw=arg.size_hw)
    # core/models/resnet.py, layers.py; a VGG has neither
    model |= dict(topology="torchvision", norm="frozen_no_eps")
    config = seg_base.segmentation(arg.name, model=model, data=frames(arg))
    config.evaluation.reestimate_batches = 0  # frozen statistics
    recipe = stages(arg)
    if arg.variant == "own":
        steps = sum(stage.steps for stage in recipe.values() if stage.method != "pseudo_labels")
        add_rows(deeplab.add_stages, config, arg, recipe, steps)
        return config
    if arg.vary:
        recipe = varied(recipe, arg.vary)
    elif arg.ablations:
        recipe |= dict(contrast_source=source_alone(recipe), **self_training_alone(recipe))
    config.update(recipe)
    config.stages = tuple(recipe)
    seg_base.evaluate_every(config, 2000)  # as often as the code saves a snapshot
    return config


def source_only(arg, _config):
    """{stage: settings} of source only with SPCL's data and schedule: its warm-up with the
    adversary at 0. The target's passes move no statistics, which are frozen, or none in a VGG.
    """
    return {"source_only": seg_base.without(warm_up(arg), **{"adversarial.weight": 0.0})}


def frames(arg):
    """RGB with ImageNet's mean and deviation, or of VGG-16, for which SPCL ships no file, SDCA's
    pixels; jitter where the code has it: on the source, and on the target in self-training.
    """
    pixels = deeplab.imagenet_pixels(arg.backbone)
    source = seg_base.whole_frames(arg.size_hw or seg_base.by_source(SOURCE_HW, arg)) | pixels
    target = seg_base.whole_frames(arg.size_hw or TARGET_HW) | pixels
    scales = dict(scale_range=(0.5, 1.5))
    if arg.variant == "own":
        # Frames of any size: 0.5 to 1.5 of Cityscapes' height, of which a crop takes half.
        scales = seg_base.crops(arg, TARGET_HW, (TARGET_HW[0], 3 * TARGET_HW[0]))
    return dict(
        sets.domains(arg, synthia_space="synthia"),
        transforms=dict(
            source=source | dict(color_jitter=JITTER, flip=arg.settings == "paper"),
            target=target | dict(flip=arg.settings == "paper"),
            self_training=target | scales | dict(flip=True, color_jitter=JITTER),
            evaluation=target,
        ),
    )


def stages(arg):
    """{stage: settings}: the authors' configs/*.yaml, for four GPUs with one source and one target
    image each.
    """
    recipe = dict(
        warm_up=warm_up(arg),
        warm_up_labels=label_stage("warm_up"),
        spcl=contrast(arg),
        spcl_labels=label_stage("spcl"),
        self_training=self_training(arg),
    )
    if arg.settings == "paper":
        del recipe["warm_up_labels"]  # nobody reads them
    return recipe


def sgd(arg, lr, horizon_steps):
    """DeepLab's; the code's weight decay is 5e-4 (core/configs/defaults.py), the paper's 1e-4."""
    weight_decay = 1e-4 if arg.settings == "paper" else 5e-4
    return deeplab.poly_sgd(lr, horizon_steps=horizon_steps) | dict(weight_decay=weight_decay)


def is_class_balanced(arg):
    """Whether the stages that see the source draw its rare classes more often: core/datasets does
    for GTA5 and SYNTHIA; the paper does not mention it.
    """
    return arg.source_set != "synscapes" and arg.settings == "code"


def source_temperature(arg):
    """Divides the logits in the cross-entropy: warmup.py, train_ours.py; the paper has none."""
    return 1.0 if arg.settings == "paper" else 1.8


def warm_up(arg):
    """AdaptSegNet with one head: warmup.py, configs/deeplabv2_r101_adv.yaml."""
    return seg_base.stage(
        "adaptsegnet",
        steps=40_000,  # STOP_ITER
        batch_size=4,  # BATCH_SIZE 8, half of it source
        target_hw=arg.size_hw or TARGET_HW,
        class_balanced=is_class_balanced(arg),
        loss=dict(kind="cross_entropy", aux_weight=0.1),  # aux_weight: read with two heads only
        source_temperature=source_temperature(arg),
        adversarial=dict(
            kind="vanilla",
            input="softmax",
            weight=0.001,  # LAMBDA_ADV_TARGET
            aux_weight=0.0002,  # read with two heads only
            width=64,
        ),
        optimizer=sgd(arg, 2.5e-4, HORIZON),  # BASE_LR
        discriminator_optimizer=deeplab.poly_adam(1e-4, horizon_steps=HORIZON),
    )


def contrast(arg):
    """SPCL itself: train_ours.py, configs/deeplabv2_r101_cl.yaml."""
    is_paper = arg.settings == "paper"
    return seg_base.stage(
        "spcl",
        init_from="warm_up",
        steps=40_000,  # STOP_ITER
        batch_size=4,  # BATCH_SIZE 8, half of it source
        class_balanced=is_class_balanced(arg),
        labels_from="warm_up_labels",
        source_mask="labels" if is_paper else "correct",
        target_mask="online" if is_paper else "files",
        logit_temperature=source_temperature(arg),
        init_batch_size=4,  # of the pass that makes the first prototypes
        contrast_weight=1.0,  # CL_LOSS; the paper's lambda
        contrast_source=True,  # the paper's table 4
        contrast_target=True,
        temperature=100.0,  # the code, and its author in SPCL issue 3
        prototype_decay=0.1,  # of the old value: alpha of eq. 3
        absent_classes="keep",  # eq. 3; the code shrinks them
        proportion=0.5,  # eq. 5; it and cap: read by target_mask="online" only
        cap=0.9,
        optimizer=sgd(arg, 2.5e-4, HORIZON),  # BASE_LR
    )


def self_training(arg):
    """Training on the last labels: train_ssl.py, configs/deeplabv2_r101_tgt_ssl.yaml."""
    return seg_base.self_training(
        init_from="spcl",
        steps=20_000,  # STOP_ITER
        batch_size=8,  # BATCH_SIZE, all of it target
        labels_from="spcl_labels",
        transform="self_training",  # train_ssl.py does not show the source
        # FREEZE_BN False; train_ssl.py gives all parameters to SGD
        **normalisation_trained(arg),
        optimizer=sgd(arg, 5e-4, SELF_TRAINING_HORIZON),  # BASE_LR
    )


def normalisation_trained(arg):
    """`norm` and `norm_affine` of a stage that trains both; a VGG normalises nothing."""
    if arg.backbone == "vgg16":
        return dict(norm="", norm_affine="")
    return dict(norm="train", norm_affine="trained")


def label_stage(init_from):
    """Pseudo-labels of every target image: pseudo_label.py, the median of each class's confidence,
    0.9 at most.
    """
    return seg_base.pseudo_labels(
        init_from=init_from,
        rule="quantile",
        proportion=0.5,
        cap=0.9,
        statistics="running",  # which are frozen
    )


def with_small_network(arg):
    """For the small network from random weights, whose statistics are trained throughout: there are
    no pretrained ones to freeze.
    """
    config = scenes.start(arg, "single")
    # Mirrored only. With seed 0, labels and start from AdaBN and the source-only network, 400 steps
    # ended at 38.6 so, at 38.3 with scales of 1 to 1.5, at 38.3 with the jitter, which as trained
    # cost 1.5: a network this small does not get round to colours that it never meets.
    config.data.transforms.self_training = seg_base.copy_of(config.data.transforms.target)
    optimizer = scenes.optimizer(5e-4)
    recipe = stages(arg)
    for stage in recipe.keys() & {"warm_up_labels", "spcl_labels"}:  # paper: the second alone
        # the statistics that training left are a mixture of both domains', which is 6 points worse
        recipe[stage].statistics = "reestimated"
    for stage, steps in SCENES_STEPS.items():
        recipe[stage].update(
            steps=steps, batch_size=4, optimizer=optimizer, norm="", norm_affine=""
        )
    recipe["warm_up"].update(
        adaptsegnet.get_config().adaptsegnet,
        source_temperature=recipe["warm_up"].source_temperature,
        target_hw=scenes.size_hw(arg),
    )
    recipe["spcl"].class_balanced = False  # every scene has nearly every class
    add_rows(scenes.add_stages, config, arg, recipe, sum(SCENES_STEPS.values()))
    return config


def add_rows(add_stages, config, arg, recipe, steps):
    """SPCL's stages with their control, which takes as many steps as all of them.

    Args:
      add_stages: of the network's size.
      recipe: {stage: settings}, changed.
    """
    control = seg_base.without(recipe["warm_up"], **{"adversarial.weight": 0.0, "steps": steps})
    if arg.vary:
        recipe = varied(recipe, arg.vary)
    if not arg.ablations:
        add_stages(config, arg, control, **recipe)
        return
    more = dict(
        no_contrast=seg_base.without(recipe["spcl"], contrast_weight=0.0),
        contrast_source=source_alone(recipe),
    )
    add_stages(config, arg, control, **recipe, **more)
    # the last, since a workdir of the version without them takes further stages at its end only
    last = self_training_alone(recipe)
    config.update(last)
    config.stages += tuple(last)


def source_alone(recipe):
    """Of the paper's table 4: SPCL without the target's contrast."""
    return seg_base.without(recipe["spcl"], contrast_target=False)


def self_training_alone(recipe):
    """Of the paper's table 4: self-training from the warm-up."""
    labels = seg_base.without(recipe["spcl_labels"], init_from="warm_up")
    start = dict(init_from="warm_up", labels_from="ssl_labels")
    return dict(ssl_labels=labels, ssl_only=seg_base.without(recipe["self_training"], **start))


def varied(recipe, vary):
    """The warm-up, and SPCL, labels and self-training with each value of VARIED.

    Args:
      recipe: as `stages` gives it.
    """
    key, values = VARIED[vary]
    rows = {name: recipe[name] for name in ("warm_up", "warm_up_labels") if name in recipe}
    for value in values:
        name = f"{vary}_{value:g}".replace(".", "_")
        start = dict(init_from=name, labels_from=f"{name}_labels")
        rows |= {
            name: seg_base.without(recipe["spcl"], **{key: value}),
            f"{name}_labels": seg_base.without(recipe["spcl_labels"], init_from=name),
            f"{name}_trained": seg_base.without(recipe["self_training"], **start),
        }
    return rows
