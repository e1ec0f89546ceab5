"""What the baselines of thuml/Transfer-Learning-Library (tllib) share: its optimiser, its views,
its bottleneck. Each method's numbers stand in its recipe.

tllib's files are *.py and *.sh of examples/domain_adaptation/image_classification, and the networks
of tllib/alignment; tests/configs/test_published_classification.py holds the recipes to them.

WHAT IS NOT TLLIB'S

  from scratch         digits, digits_five, folder, tfds: a small network, after a source-only
                       stage, 1,000 steps at one rate for all of it (ours); tllib's own head and
                       bottleneck
  folder, tfds         with weights: steps and weights of Office-31 (ours), tllib has no such task;
  pacs, imageclef      the same
  the reported figure  the last step's; tllib keeps the best by target labels, and of MCD's
                       classifiers the better
  network=can          CAN's network, views and optimiser in place of tllib's, as
                       configs/compare_cls.py has them: base/cans_network.py
"""

from ml_collections import ConfigDict

from dajax.recipes.base import cans_network
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base

VARIANTS = cls_base.with_keys("network")


def recipe(name, arg, stage, network=None, control=None, *, views=True):
    """The config of a baseline: the data of a variant, and one stage, after source_only where
    nothing is pretrained.

    Args:
      name: of the recipe and of its stage.
      arg: the parsed argument.
      stage: the stage's settings.
      network: keys of config.model, tllib's or the authors' network, which network=own takes;
        None: network and views are CAN's in any case.
      control: keys of the stage that leave its loss on the target out, {"weight": 0.0}, for a row
        `control` before it; None for no such row.
      views: whether that network comes with tllib's views; False: CAN's, a random crop.
    """
    config = cls_base.start(name, arg)
    if network and arg.network == "own":
        if views:
            use_views(config, arg)
        config.model.update(network)
    rows = {name: stage}
    if control:
        rows = {"control": control_of(stage, **control)} | rows
    config.update(rows)
    config.stages += tuple(rows)
    return config


def control_of(stage, **changes):
    """A stage's control: the same network, steps, batches and passes with other keys."""
    control = stage.copy_and_resolve_references()
    control.update(changes)
    return control


def sgd(*, lr, alpha, weight_decay):
    """tllib's SGD: the backbone at a tenth of the rate of what is new (modules/classifier.py,
    get_parameters), "inv" with exponent 0.75 (*.py --lr-decay).

    Args:
      lr: rate of the new layers, *.py --lr.
      alpha: of the schedule, *.py --lr-gamma.
      weight_decay: *.py --wd.
    """
    return base.sgd(
        lr=lr,
        schedule="inv",
        alpha=alpha,
        beta=0.75,
        nesterov=True,
        weight_decay=weight_decay,
        lr_multipliers=(("/backbone/", 0.1),),
    )


def bottleneck(arg, *, norm, dropout):
    """Keys of config.model: the hidden layer between backbone and classifier (tllib/alignment,
    ImageClassifier).

    Args:
      norm: whether the layer is normalised (BatchNorm1d).
      dropout: the share of its units that is dropped in training.
    """
    return dict(
        head_init="torch",  # nn.Linear's own
        bottleneck=1024 if arg.variant == "domainnet" else 256,  # *.sh, *.py: --bottleneck-dim
        bottleneck_norm=norm,
        dropout=dropout,
    )


def use_views(config, arg):
    """Gives photos tllib's training views, of the image resized to a square (utils.py,
    get_train_transform); evaluation takes the centre.
    """
    if cls_base.from_scratch(arg):
        return
    crop = dict(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))  # RandomResizedCrop: *.py and torchvision
    if arg.variant == "visda2017":
        crop = "center"  # *.sh: --train-resizing cen.crop
    config.data.transform = ConfigDict(config.data.transform.to_dict() | dict(crop=crop))


def domainnet_steps(arg):
    """30 epochs of 2,500 steps; from several sources 40 of 5,000 (dann.sh, cdan.sh, dan.sh, jan.sh:
    --epochs, -i).
    """
    return 75_000 if cls_base.num_sources(arg) == 1 else 200_000


def fit(stage, arg):
    """Fits a stage to the network that the argument names: CAN's, or a small one from scratch.

    The small one has been trained by a source-only stage: one rate for all of it, ten times
    fine-tuning's, as configs/can.py has it; about as long as CAN's eight loops (ours).
    """
    if arg.network == "can":
        cans_network.fit(stage, arg)
    if cls_base.from_scratch(arg):
        stage.init_from = "source_only"
        stage.steps = 1000
        stage.optimizer.update(lr=0.01, lr_multipliers=())
    return stage
