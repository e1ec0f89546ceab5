"""What the classification recipes share: the variants, their data, and a network to start from.

VARIANTS, with the arguments that each takes (configs/base/arguments.py explains them):

  digits       source: the rendered worlds, "type"
  folder       root, source, target, weights, backbone, size; flip, affine, jitter, invert, erase,
               the views of configs/base/views.py; evaluation, a domain that is measured on in place
               of the target; held_out=0.2, the share of the target's images, chosen without their
               labels, that is measured on and not adapted to
  tfds         the same but for evaluation and held_out; root is its data_dir
  digits_five  root, source, target, and the views
  office31, visda2017, domainnet, officehome, pacs, imageclef    root, source, target, weights

WHOSE SETTINGS. Of officehome those of thuml/Transfer-Learning-Library where a method is theirs (the
recipes' comments say which differ from Office-31's), or of a method's authors where their code has
some: mcc.py, bnm.py, shot.py, mdd.py. All else of officehome, pacs and imageclef has Office-31's
settings. digits_five trains the embedded digits' network with their settings; 25,000 images a
domain make its loops long.

`size` is of pixels a side: 64 from scratch, 224 with weights, where no other is given. With a file
of weights, `folder` and `tfds` are fine-tuned as Office-31 is, with `backbone` resnet50 or
resnet101; without, they train a small network from scratch, as the digits do.

WEIGHTS. CAN's authors and tllib take torchvision's ImageNet weights of their time, to be had as
https://download.pytorch.org/models/NAME; the name holds the first eight digits of the file's
SHA-256 (`sha256sum FILE`):

  resnet50-19c8e357.pth    resnet101-5d3b4d8f.pth    the authors' files
  resnet50-0676ba61.pth    resnet101-63fe2227.pth    torchvision's IMAGENET1K_V1 of today: the same
                                                     networks, stored anew in 2020

Not IMAGENET1K_V2 (resnet50-11ad3fa6.pth, resnet101-cd907fc2.pth), which was trained otherwise.
"""

from ml_collections import ConfigDict

from dajax.recipes.base import arguments, views
from dajax.recipes.base import common as base

_NAMED_SET = ("root", "source", "target", "weights")  # its settings are published
_ANY_PHOTOS = (*_NAMED_SET, "backbone", "size", *views.NAMES)
VARIANTS = {
    "digits": ("source",),
    "folder": (*_ANY_PHOTOS, "evaluation", "held_out"),
    "tfds": _ANY_PHOTOS,
    "office31": _NAMED_SET,
    "visda2017": _NAMED_SET,
    "domainnet": _NAMED_SET,
    "officehome": _NAMED_SET,
    "pacs": _NAMED_SET,
    "imageclef": _NAMED_SET,
    "digits_five": ("root", "source", "target", *views.NAMES),
}
PRETRAINED = ("office31", "visda2017", "domainnet", "officehome", "pacs", "imageclef")
LARGE = ("visda2017", "domainnet")  # ResNet-101; CAN's source-only row with ablations alone
# {key: its value where it is not given, or all values}; "" and 0 stand for the variant's own.
KEYS = dict(
    ablations=False,
    root="",
    source="",
    target="",
    weights="",
    backbone=("", "resnet50", "resnet101"),
    size=0,
    network=("own", "can"),
    bsa=("", "batch", "average", "source"),
    evaluation="",
    held_out=0.0,
    **views.KEYS,
)
# Variants that take all other domains as sources where none is named.
DOMAINS = {
    "domainnet": ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
    "digits_five": ("mnist", "mnistm", "svhn", "syn", "usps"),
}
# of the digits; printed type, the fourth, is what recipes of one source have
THREE_WORLDS = "outline+stencil+noise"
SIZE_FROM_SCRATCH, SIZE_WITH_WEIGHTS = 64, 224


def with_keys(*keys):
    """VARIANTS, each of which takes further keys or words."""
    return {variant: (*takes, *keys) for variant, takes in VARIANTS.items()}


def parse(arg, variants=VARIANTS):
    """The argument of a recipe: a variant and a value for each of KEYS.

    Args:
      arg: what follows the colon of --config, or None.
      variants: {variant: the keys that it takes}.

    Raises:
      ValueError: see arguments.parse_arg; in one line.
    """
    parsed = arguments.parse_arg(arg, variants, pretrained=PRETRAINED, **KEYS)
    if parsed.variant == "officehome":  # a blank need not be typed
        for key in ("source", "target"):
            parsed[key] = parsed[key].replace("Real_World", "Real World")
    if parsed.size < 0:
        raise ValueError(f"configuration argument 'size={parsed.size}': expected pixels, above 0")
    if not 0 <= parsed.held_out < 1:
        raise ValueError(
            f"configuration argument 'held_out={parsed.held_out}': expected a share of the target's"
            " images, from 0 to below 1"
        )
    if parsed.evaluation and parsed.held_out:
        raise ValueError(
            f"configuration argument 'held_out={parsed.held_out}': evaluation={parsed.evaluation}"
            " is measured on already; leave one of them out"
        )
    if parsed.evaluation and parsed.evaluation == parsed.target:
        raise ValueError(
            f"configuration argument 'evaluation={parsed.evaluation}': this is the target, which is"
            " measured on anyway; leave it out"
        )
    if parsed.backbone and from_scratch(parsed):
        raise ValueError(
            f"configuration argument 'backbone={parsed.backbone}': variant {parsed.variant} uses"
            " backbone with weights=FILE only; without, it trains a small network"
        )
    return parsed


def from_scratch(arg):
    """Whether the variant trains a small network from random weights, a source-only stage first."""
    return arg.variant not in PRETRAINED and not arg.weights


def domains(arg):
    """(source, target) of the photos of a variant: the argument's, or those that it has by default.

    The defaults are the first task of CAN's table (Office-31), the one task of VisDA-2017, and for
    DomainNet MSCAN's first: all other domains together -> clipart. Of the others they are the first
    of the tables that are usual: CDAN's (Office-Home, ImageCLEF-DA), M3SDA's (Digits-Five); of PACS
    photo -> art_painting (ours).
    """
    source, target = {
        "office31": ("amazon", "webcam"),
        "visda2017": ("train", "validation"),
        "domainnet": ("", "clipart"),
        "officehome": ("Art", "Clipart"),
        "pacs": ("photo", "art_painting"),
        "imageclef": ("i", "p"),
        "digits_five": ("", "mnistm"),
    }.get(arg.variant, ("", ""))
    source, target = arg.source or source, arg.target or target
    if arg.variant in DOMAINS and not source:
        source = "+".join(name for name in DOMAINS[arg.variant] if name != target)
    return source, target


def num_sources(arg):
    """Number of source domains of a variant."""
    return len(domains(arg)[0].split("+"))


def start(recipe, arg):
    """A config with the name, the data and the backbone of a variant; where nothing is pretrained,
    also with stage source_only, the first of its stages.
    """
    config = base.base(run_name(recipe, arg))
    if arg.variant != "digits":
        config.data = ConfigDict(base.settable(_photos(arg)))
        config.data.transform.update(views.settings(arg, side=config.data.transform.size[0]))
    elif arg.source:
        config.data.source = arg.source
    if from_scratch(arg):
        config.source_only = source_only_from_scratch()
        config.stages = ("source_only",)
        return config
    config.model.weights = arg.weights
    config.runtime.eval_batch_size = 100  # of large images; memory only
    # CAN's yaml files; for DomainNet MSCAN's slides
    config.model.backbone = arg.backbone or ("resnet101" if arg.variant in LARGE else "resnet50")
    if arg.variant == "visda2017":
        config.metric = "mean-class accuracy"  # CAN's VisDA-2017 yaml
    return config


def start_with_several(recipe, arg):
    """`start` of a recipe for several sources; of the digits three worlds where none is named.

    Raises:
      ValueError: there are fewer than two.
    """
    if arg.variant == "digits" and not arg.source:
        arg.source = THREE_WORLDS
    config = start(recipe, arg)
    if "+" not in config.data.source:
        raise ValueError(
            f"{recipe}: source={config.data.source}: name two sources or more, joined by '+'"
        )
    return config


def run_name(recipe, arg):
    """The run's name: see arguments.run_name."""
    source, target = domains(arg)
    if arg.variant in DOMAINS and not arg.source:
        source = "others"
    return arguments.run_name(
        recipe,
        arg,
        source,
        target,
        "network_can" if arg.network == "can" else "",
        "" if arg.backbone == "resnet50" else arg.backbone,
        arguments.weights_name(arg.weights, is_pretrained=arg.variant in PRETRAINED),
        f"size{arg.size}" if arg.size not in (0, _default_size(arg)) else "",
        *views.run_name(arg),
        f"on_{arg.evaluation}" if arg.evaluation else "",
        f"held_out{arg.held_out}" if arg.held_out else "",
    )


def _default_size(arg):
    return SIZE_WITH_WEIGHTS if arg.weights else SIZE_FROM_SCRATCH


def _photos(arg):
    """The data of a variant, with CAN's views."""
    size = arg.size or _default_size(arg)
    sizes = dict(resize=size * 8 // 7, crop=size)  # CAN's and tllib's 256 : 224
    source, target = domains(arg)
    if arg.variant == "folder":
        data = base.folder(arg.root, source, target, **sizes)
        return data | dict(evaluation=arg.evaluation, held_out=arg.held_out)
    if arg.variant == "tfds":
        return base.tfds(source, target, arg.root, **sizes)
    if arg.variant == "office31":
        return base.office31(arg.root, source, target)
    if arg.variant == "visda2017":
        return base.visda2017(arg.root, source, target)
    if arg.variant == "domainnet":
        return base.domainnet(arg.root, source, target)
    if arg.variant == "digits_five":
        return base.digits_five(arg.root, source, target)
    return base.published(arg.variant, arg.root, source, target)


def stage(method, **settings):
    """A stage: the keys that every stage of classification has, and the method's.

    Args:
      method: its module in dajax.methods, or a dotted name.
      **settings: the method's keys; those that differ from the values below.
    """
    common = dict(
        method=method,
        init_from="",  # a stage whose network this one starts from; "": config.model's
        target_bn=0,  # 1: the target has normalisation parameters and statistics of its own
        stop_gradient_after="",  # "layer1": what lies before in the backbone is frozen
        evaluate_every=0,  # steps between two evaluations; 0: at the end only
        **base.NO_TEACHER,
    )
    return ConfigDict(common | settings)


def source_only_from_scratch():
    """A small network on labelled images, from random weights; the numbers are ours."""
    return stage(
        "source_only",
        steps=300,
        batch_size=64,
        label_smoothing=0.0,  # SHOT's 0.1
        optimizer=base.sgd(lr=0.05, schedule="cosine"),
    )


def adabn():
    """The source-only network with statistics of the target. Nothing is trained; the numbers are
    ours.
    """
    return stage("adabn", init_from="source_only", steps=100, batch_size=64)
