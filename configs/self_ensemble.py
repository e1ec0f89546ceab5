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
    return tllib.recipe("self_ensemble", arg, stage(arg), control=dict(weight=0.0))


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
        steps=10_000,  # ours
        **(of_digits() if is_digits else of_photos()),
    )
    settings.update(teacher=dict(momentum=0.99), predict_with="teacher")
    if cls_base.from_scratch(arg):  # ours: as the other baselines
        settings.batch_size = 32
        settings.optimizer = ConfigDict(tllib.sgd(lr=0.01, alpha=0.0, weight_decay=5e-4))
    else:
        settings.stop_gradient_after = "layer1"  # conv1, bn1 and layer1 are fixed
    return tllib.fit(settings, arg)
