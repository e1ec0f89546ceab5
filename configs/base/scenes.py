"""The embedded street scenes, drawn once and read like GTA5 and Cityscapes; and the settings of a
small network that is trained on them, or on own folders, from random weights. No download.

Own folders take the scenes' settings as they are, sizes apart. STEPS on the source are 6,400 frames
and ADAPTATION 2,000 of each domain: with a few hundred frames, for which a network this small is
meant, some twenty and some six passes over them. Less than a hundred frames are learnt by heart,
and thousands want more steps: `--config.source_only.steps`, and the same for the other stages.
"""

from dajax.recipes.base import common as base
from dajax.recipes.base import deeplab
from dajax.recipes.base import domains as sets
from dajax.recipes.base import segmentation as seg_base

SIZE_HW = (64, 128)
# Training from random weights, chosen on source only, AdaBN and the oracle, before any method ran.
STEPS, BATCH_SIZE = 800, 8
ADAPTATION = dict(init_from="source_only", steps=500, batch_size=4)  # of every method
# AdaptSegNet's and CLAN's adversary. The authors' weight: 0.003, 0.01 and 0.03 were tried with seed
# 0 and ended lower and lower. Half the authors' width, since at 64 the discriminator took twice the
# segmenter's time.
ADVERSARY = dict(weight=0.001, width=32)


def start(arg, heads):
    """A run with the small network, without its stages.

    Args:
      arg: as seg_base.parse returns it.
      heads: "single", "twin" or "multi".
    """
    model = seg_base.small_network(heads)
    # of a stride of 4; the rates are for the scenes' map of 16 x 32
    model["aspp_rates"] = seg_base.fitting_rates(
        model["aspp_rates"], 4, SIZE_HW[0] // 4, size_hw(arg)
    )
    return seg_base.segmentation(arg.name, model=model, data=data(arg))


def size_hw(arg):
    """(height, width) of what the network sees."""
    return arg.size_hw or SIZE_HW


def data(arg):
    """`config.data` of the scenes or of own folders; target labels serve evaluation, and an oracle
    stage, only.
    """
    # RGB with ImageNet's mean and deviation: for a network from random weights any will do that
    # brings the values near 1.
    view = seg_base.whole_frames(size_hw(arg)) | base.IMAGENET_RGB
    training = seg_base.whole_frames(size_hw(arg), flip=True) | base.IMAGENET_RGB
    transforms = dict(source=training, target=training, evaluation=view)
    if arg.variant == "own":
        # own folders have no space of SYNTHIA's
        return dict(sets.domains(arg, synthia_space=""), transforms=transforms)
    return dict(
        # Pictures of each split; seed: of the drawing, not the run's, so that runs differ in
        # training only.
        scenes=dict(
            root="~/.cache/dajax/scenes",
            size=SIZE_HW,
            source=400,
            target=400,
            evaluation=100,
            seed=0,
        ),
        source=sets.domain("scenes_source", ""),
        target=sets.domain("scenes_target", "", "train"),
        evaluation=sets.domain("scenes_target", "", "val"),
        transforms=transforms,
    )


def optimizer(lr, **settings):
    """Adam, since SGD leaves this small network at twice the loss after so few steps; one rate for
    all of it, since all of it begins at random. Arguments as deeplab.poly_adam.
    """
    return deeplab.poly_adam(lr, **settings) | dict(betas=(0.9, 0.999))  # Adam's usual ones


def supervised(domain, heads):
    """Training on the labels of one world.

    Args:
      domain: "source", or "target" for the oracle, which knows what no method may know.
      heads: config.model's.
    """
    # AdaptSegNet's lambda_seg; twin heads are equals, whose predictions are summed
    aux_weight = 1.0 if heads == "twin" else 0.1
    return seg_base.supervised(
        steps=STEPS,
        batch_size=BATCH_SIZE,
        domain=domain,
        loss=dict(kind="cross_entropy", aux_weight=aux_weight),
        optimizer=optimizer(2e-3),
    )


def adabn():
    """Source only with the statistics of target images, nothing trained."""
    return seg_base.stage("adabn", init_from="source_only", steps=100, batch_size=BATCH_SIZE)


def add_stages(config, arg, control, **methods):
    """The rows that every table has: source only, AdaBN, the step-matched control, the methods, the
    oracle where the target has labels.

    Args:
      config: the run's, with its network.
      arg: as seg_base.parse returns it.
      control: a method with its target loss at weight 0: same network, steps, passes and schedules;
        None for a recipe without a method.
      **methods: {stage: settings}.
    """
    heads = config.model.heads
    rows = dict(source_only=supervised("source", heads), adabn=adabn())
    if control is not None:
        rows["control"] = control
    rows |= methods
    if sets.target_has_labels(arg):
        rows["oracle"] = supervised("target", heads)
    config.update(rows)
    config.stages = tuple(rows)
