"""SPCL (Xie, Li, Li, Liu, Huang, Wang, 2021): semantic prototype-based contrastive learning, then
self-training.

  python run.py --config=configs/spcl.py                           embedded scenes with every control; about 15 minutes on two cores
  python run.py --config=configs/spcl.py:ablations                 also without contrast, and with the source's alone (the paper's table 6)
  python run.py --config=configs/spcl.py:gta5_to_cityscapes,source=DIR,target=DIR,weights=resnet101-5d3b4d8f.pth
  ...,settings=paper       the paper's values where its released code has others, see below
  Weights: https://download.pytorch.org/models/resnet101-5d3b4d8f.pth, sha256 begins with 5d3b4d8f.
  weights=none: random ones.

warm-up (AdaptSegNet) -> pseudo-labels -> SPCL (its prototypes first) -> pseudo-labels ->
self-training: one command, restartable anywhere.

settings=paper: flips in every stage, weight decay 1e-4, source labels as they are (code: where
predicted right), target labels from the current output (code: files of the warm-up), logits not
divided by 1.8, no class-balanced drawing, which the
paper does not mention. Not covered: its sums over pixels (here, as in the code, means), prototypes
over all images (here over those that have the class), labels strictly above the threshold in
self-training; the paper gives no temperature.

Published, ResNet-101, best snapshot on the validation set: GTA5 -> Cityscapes 52.1 mIoU, SYNTHIA ->
Cityscapes 47.2 over 16 classes and 54.4 over 13, Synscapes -> Cityscapes 57.1. Not reproduced here
yet; 100,000 steps: about three days on one modern GPU, estimated, not measured.
"""

from dajax.recipes import adaptsegnet
from dajax.recipes.base import common as base
from dajax.recipes.base import segmentation as seg_base
from dajax.recipes.base.scenes import scenes

VARIANTS = {"scenes": ("settings",), "ablations": ("settings",)} | dict.fromkeys(
    seg_base.REAL_VARIANTS, (*seg_base.REAL_KEYS, "settings")
)
# SOURCE_INPUT_SIZE_TRAIN of configs/*.yaml. SPCL ships none for SYNTHIA; its authors' next code,
# SDCA, has this one.
SOURCE_HW = dict.fromkeys(seg_base.REAL_VARIANTS, (720, 1280)) | {
    "synthia_to_cityscapes": (760, 1280)
}
TARGET_HW = (512, 1024)
JITTER = dict(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2, before_geometry=True)
# of poly: SOLVER.MAX_ITER; the stages stop at 40,000 and 20,000
HORIZON, SELF_TRAINING_HORIZON = 62_500, 31_250
# Of the scenes. The control takes as many steps as all stages of the recipe together.
SCENES_STEPS = dict(warm_up=500, spcl=300, self_training=400)


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = seg_base.parse(arg, VARIANTS, settings=("code", "paper"))
    name = seg_base.run_name("spcl", arg, "paper" if arg.settings == "paper" else "")
    if arg.variant in ("scenes", "ablations"):
        return on_scenes(name, arg)
    model = seg_base.deeplab("resnet101", "single", arg.weights) | dict(
        topology="torchvision", norm="frozen_no_eps"
    )
    config = seg_base.segmentation(name, model=model, data=frames(arg))
    config.evaluation.reestimate_batches = 0  # frozen statistics
    recipe = stages(arg)
    config.update(recipe)
    config.stages = tuple(recipe)
    return config


def frames(arg):
    """RGB with ImageNet's mean and deviation; jitter where the code has it: on the source, and on
    the target in self-training.
    """
    normal = dict(channels="rgb", divisor=255.0, mean=base.IMAGENET_MEAN, std=base.IMAGENET_STD)
    source, target = (
        seg_base.whole_frames(size) | normal for size in (SOURCE_HW[arg.variant], TARGET_HW)
    )
    return dict(
        seg_base.domains(arg, synthia_space="synthia"),
        transforms=dict(
            source=source | dict(color_jitter=JITTER, flip=arg.settings == "paper"),
            target=target | dict(flip=arg.settings == "paper"),
            self_training=target | dict(scale_range=(0.5, 1.5), flip=True, color_jitter=JITTER),
            evaluation=target,
        ),
    )


def stages(arg):
    """The authors' configs/*.yaml, for four GPUs with one source and one target image each."""
    is_paper = arg.settings == "paper"
    weight_decay = dict(weight_decay=1e-4) if is_paper else {}  # the code: 5e-4
    optimizer = seg_base.poly_sgd(2.5e-4, horizon_steps=HORIZON) | weight_decay
    # core/datasets: of GTA5 and SYNTHIA, in both stages that see the source; the paper does not
    # mention it
    class_balanced = arg.variant != "synscapes_to_cityscapes" and not is_paper
    warm_up = adaptsegnet.authors()
    warm_up.update(
        steps=40_000,
        batch_size=4,
        target_hw=TARGET_HW,
        source_temperature=1.0 if is_paper else 1.8,
        optimizer=optimizer,
        class_balanced=class_balanced,
    )
    warm_up.discriminator_optimizer = seg_base.poly_adam(1e-4, horizon_steps=HORIZON)
    self_training = seg_base.stage(
        "self_training",
        init_from="spcl",
        steps=20_000,
        batch_size=8,
        labels_from="spcl_labels",
        transform="self_training",
        loss=dict(kind="cross_entropy"),
        source_weight=0.0,  # train_ssl.py does not show the source
        optimizer=seg_base.poly_sgd(5e-4, horizon_steps=SELF_TRAINING_HORIZON) | weight_decay,
    )
    # FREEZE_BN False; train_ssl.py gives all parameters to SGD
    self_training.update(norm="train", norm_affine="trained")
    recipe = dict(
        warm_up=warm_up,
        warm_up_labels=label_stage("warm_up"),
        spcl=contrast_stage(
            init_from="warm_up",
            steps=40_000,
            batch_size=4,
            optimizer=optimizer,
            class_balanced=class_balanced,
            source_mask="labels" if is_paper else "correct",
            target_mask="online" if is_paper else "files",
            logit_temperature=1.0 if is_paper else 1.8,
        ),
        spcl_labels=label_stage("spcl"),
        self_training=self_training,
    )
    if is_paper:
        del recipe["warm_up_labels"]  # nobody reads them
    return recipe


def label_stage(init_from):
    """SPCL's pseudo_label.py: the median of each class's confidence, 0.9 at most."""
    return seg_base.stage(
        "pseudo_labels",
        init_from=init_from,
        steps=1,
        batch_size=4,
        rule="quantile",
        proportion=0.5,
        cap=0.9,
        share=0.1,
        image_share=0.1,
        keep_every=5,
        never=(),  # read by rule="top" only
        statistics="running",  # frozen ones
        reestimate_batches=50,  # read by statistics="reestimated" only
    )


def contrast_stage(**settings):
    """The contrast's constants, the same everywhere."""
    return seg_base.stage(
        "spcl",
        labels_from="warm_up_labels",
        init_batch_size=4,
        # LAMBDA; table 6 of the paper
        contrast_weight=1.0,
        contrast_source=True,
        contrast_target=True,
        temperature=100.0,  # the code, and its author in SPCL issue 3
        prototype_decay=0.1,  # of the old value: alpha of eq. 3
        absent_classes="keep",  # eq. 3; the code shrinks them
        proportion=0.5,
        cap=0.9,  # read by target_mask="online" only
        **settings,
    )


def on_scenes(name, arg):
    """For the small network from random weights, whose statistics are trained throughout: there are
    no pretrained ones to freeze.
    """
    config = seg_base.segmentation(name, model=seg_base.small_network("single"), data=scenes())
    # Mirrored only. With seed 0, labels and start from AdaBN and the source-only network, 400 steps
    # ended at 38.6 so, at 38.3 with scales of
    # 1 to 1.5, at 38.3 with the jitter, which as trained cost 1.5: a network this small does not
    # get round to colours that it never meets.
    config.data.transforms.self_training = config.data.transforms.target
    optimizer, recipe = seg_base.scenes_optimizer(5e-4), stages(arg)
    for stage in recipe.keys() & {"warm_up_labels", "spcl_labels"}:
        # what training left is a mixture of both domains', which is 6 points worse
        recipe[stage].statistics = "reestimated"
    for stage, steps in SCENES_STEPS.items():
        recipe[stage].update(
            steps=steps, batch_size=4, optimizer=optimizer, norm="", norm_affine=""
        )
    recipe["warm_up"].update(
        adaptsegnet.get_config().adaptsegnet,
        source_temperature=recipe["warm_up"].source_temperature,
    )
    recipe["spcl"].class_balanced = False  # every scene has nearly every class
    control = seg_base.without(
        recipe["warm_up"], **{"adversarial.weight": 0.0, "steps": sum(SCENES_STEPS.values())}
    )
    if arg.variant == "ablations":
        recipe["no_contrast"] = seg_base.without(recipe["spcl"], contrast_weight=0.0)
        recipe["contrast_source"] = seg_base.without(recipe["spcl"], contrast_target=False)
    seg_base.add_scenes_stages(config, control, **recipe)
    return config
