"""SE, self-ensembling (French et al., ICLR 2018): a mean teacher on target images in two views.

  python run.py --config=self_ensemble                      rendered digits -> handwriting
  python run.py --config=self_ensemble:digits,network=can   with CAN's network
  python run.py --config=self_ensemble:digits_five,root=DIR,source=svhn,target=mnist
  python run.py --config=self_ensemble:visda2017,root=DIR,weights=FILE

FILE is resnet101-5d3b4d8f.pth, of the tasks of other photos resnet50-19c8e357.pth:
configs/base/classification.py says where they are to be had, and has the other variants. `control`
is the same stage with weight 0, evaluated with its teacher too.

WHOSE SETTINGS. The authors have a repository for digits and one for photos, which differ in all
that `of_digits` and `of_photos` list; digits and digits_five take the first, all others the second.

THE VIEWS. Two views of an image must differ, so digits_five has affine=yes here, where the other
recipes have no random view of it. Not theirs: its ranges (theirs: a matrix with N(0, 0.1) added, 2
pixels' shift, and noise of 0.1, which is not here). Of photos: CAN's views at 224 pixels (theirs:
160, padded by 16, scaled by 0.75 to 1.333 in size and intensity, colours turned, moved and made
grey).

Published, the epoch of the highest share of confident images, which takes no labels: MNIST -> USPS
98.2, USPS -> MNIST 99.5, SVHN -> MNIST 99.3, VisDA-2017's test server 92.8 (quoted from memory);
its validation set, ResNet-152, mean class 84.3, 16 views averaged. Not reproduced here.
"""

from ml_collections import ConfigDict

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    if arg.variant == "digits_five":
        arg.affine = arg.affine or "yes"
    settings = stage(arg), network(arg)
    return tllib.recipe("self_ensemble", arg, *settings, control=dict(weight=0.0), views=False)


def network(arg):
    """The photos' network_architectures.py with --use_dropout: new_fc5, and new_fc6 as the head,
    both of torch's own first values. Digits, and photos from scratch, have CAN's network (ours).
    """
    if cls_base.from_scratch(arg):
        return None
    return dict(bottleneck=512, bottleneck_norm=False, dropout=0.5, head_init="torch")


def of_digits():
    """The defaults of self-ensemble-visual-domain-adapt (a9808a1)."""
    return dict(
        threshold=0.96837722,
        weight=3.0,
        balance="bce",
        balance_weight=0.005,
        supervised="logits",
        statistics="own",  # --fix_ema: "averaged"
        batch_size=64,
        optimizer=base.adam(lr=0.001, schedule="constant"),
    )


def of_photos():
    """VisDA's and Office's of self-ensemble-visual-domain-adapt-photo (77fe106)."""
    return of_digits() | dict(
        threshold=0.9,
        weight=10.0,
        balance="bug",  # theirs, and kept: mended it lowered their figures
        balance_weight=0.01,
        supervised="probabilities",  # --double_softmax, kept for the same reason
        batch_size=56,
        # of new layers; a tenth of it for the pretrained ones
        optimizer=base.adam(lr=1e-5, schedule="constant", lr_multipliers=(("/backbone/", 0.1),)),
    )


def stage(arg):
    """SE for a variant; a comment names what is not the authors'."""
    is_digits = arg.variant in ("digits", "digits_five")
    settings = cls_base.stage(
        "self_ensemble",
        # run_office_*.sh: 100 epochs of 28,000 images, by batches of 56
        steps=50_000,
        **(of_digits() if is_digits else of_photos()),
    )
    if arg.variant == "visda2017":
        # run_visda17_trainval_resnet152.sh: 150 epochs of the target, by batches of 56
        settings.steps = 150 * (55_388 // 56)
    settings.update(teacher=dict(momentum=0.99), predict_with="teacher")
    if cls_base.from_scratch(arg):  # ours: as the other baselines
        settings.batch_size = 32
        settings.optimizer = ConfigDict(tllib.sgd(lr=0.01, alpha=0.0, weight_decay=5e-4))
    else:
        settings.stop_gradient_after = "layer1"  # conv1, bn1 and layer1 are fixed
    return tllib.fit(settings, arg)
