"""What every recipe starts from. A recipe is a delta on this; code reads config.x and has no
defaults of its own.
"""

import pathlib
import re

from ml_collections import ConfigDict

# Published means and deviations of ImageNet, as torchvision and all released code in this field use
# them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# Of every stage. momentum above 0: a teacher, the moving average of the networks, is kept
# (0.999: mean teacher, DAFormer). predict_with: "student" or "teacher" is evaluated, predicts in
# dajax.load, and is what a stage after it begins with.
NO_TEACHER = dict(teacher=dict(momentum=0.0), predict_with="student")


def parse_arg(arg, variants, *, pretrained=(), **defaults):
    """ "variant,key=value,..." -> ConfigDict(variant=..., key=...), with a value for every key of
    `defaults`.

    Args:
      arg: what follows the colon of --config, or None.
      variants: {variant: the keys that it uses}, or names alone, each of which then uses every key;
        the first is the default.
      pretrained: the variants whose settings need pretrained weights: `weights=FILE`, or
        `weights=none` to go without.
      **defaults: of each key. A tuple holds all values that are known, the first being the default;
        of the others the type is kept. weights=none becomes "".

    Raises:
      ValueError: in one line: an unknown variant, key or value, a key that the variant does not
        use, no weights.
    """
    uses = (
        dict(variants) if isinstance(variants, dict) else dict.fromkeys(variants, tuple(defaults))
    )
    values = {
        key: known[0] if isinstance(known, tuple) else known for key, known in defaults.items()
    }
    parsed, given = ConfigDict({"variant": next(iter(uses)), **values}), {}
    for i, item in enumerate(filter(None, (arg or "").split(","))):
        key, equals, value = item.partition("=")
        if i == 0 and not equals:
            parsed.variant = item
        elif not equals or key not in defaults:
            known = ", ".join(defaults) or "none"
            raise ValueError(
                f"configuration argument '{item}': expected key=value with a key among {known}"
            )
        else:
            given[key] = value
    if parsed.variant not in uses:
        raise ValueError(f"unknown variant '{parsed.variant}'; known: {', '.join(uses)}")
    takes = uses[parsed.variant]
    for key, value in given.items():
        if key not in takes:
            raise ValueError(
                f"configuration argument '{key}={value}': variant {parsed.variant} does not use"
                f" {key}; it takes {', '.join(takes) or 'none'}"
            )
        parsed[key] = _value_of(key, value, defaults[key])
    if parsed.variant in pretrained and not parsed.weights:
        raise ValueError(
            f"variant {parsed.variant} trains from pretrained weights: add weights=FILE (the"
            " recipe's docstring says which and where it is to be had), or weights=none to train"
            " from random ones"
        )
    if "weights" in defaults and parsed.weights == "none":
        parsed.weights = ""
    return parsed


def _value_of(key, text, default):
    """The value that `text` stands for, of the type of `default`, or one of them where it is a
    tuple.
    """
    if isinstance(default, tuple):
        if text not in default:
            raise ValueError(f"configuration argument '{key}={text}': known: {', '.join(default)}")
        return text
    try:
        return type(default)(text)
    except ValueError:
        expected = f"expected a value of type {type(default).__name__}"
        raise ValueError(f"configuration argument '{key}={text}': {expected}") from None


def run_name(*parts):
    """The default workdir's, a folder's: the parts that are not empty."""
    return re.sub(r"[/:\\\s]", "_", "-".join(filter(None, parts)))


def weights_name(path, *, is_pretrained):
    """What a run's name says of its weights: the file's name, not its folder; is_pretrained: the
    variant wants a file.
    """
    return pathlib.PurePath(path).stem if path else "random_weights" if is_pretrained else ""


def base(name):
    """Seed, run-time settings and the embedded digits."""
    return ConfigDict(
        dict(
            name=name,  # names the default workdir
            task="classification",  # or "segmentation", see seg_base.py
            seed=0,
            # named at the start; the table prints overall and mean-class accuracy either way
            metric="accuracy",
            stages=(),
            model=dict(
                # weights: a torch file of the backbone, or none
                backbone="resnet_small",
                widths=(16, 32, 64),
                weights="",
                # hidden layers after the backbone, and in the head: none in CAN
                bottleneck=0,
                bottleneck_norm=True,
                head_widths=(),
                dropout=0.0,  # of the bottleneck and of the head's hidden layers
                head_init="kaiming",  # CAN's (model/model.py); "torch": torch.nn.Linear's own
            ),
            data=digits(),
            runtime=dict(  # may change between two calls on one workdir
                devices=0,  # 0: all
                log_every=10,  # steps between two lines of metrics.jsonl
                report_seconds=10.0,  # between two lines on a terminal that is no terminal
                checkpoint_every=200,  # steps; a killed run repeats at most so many
                keep_checkpoints=2,
                eval_batch_size=256,
                compilation_cache="~/.cache/dajax/xla",  # "" turns it off
            ),
        )
    )


def digits():
    """Rendered type -> real handwriting (UCI optdigits), 32 x 32 grey, nothing to download.

    `transform` is the training view; evaluation is the same without its random parts.
    """
    # The random views of the digits. Chosen before any target figure was looked at: handwriting
    # leans, stretches and wanders by about so much, type does not.
    affine = dict(rotate_rad=0.25, shear=0.3, scale=0.2, shift_px=2.0)
    return dict(
        dataset="digits",
        # or several of digit_worlds.py, "type+outline+stencil+noise": merged, or apart where the
        # method is MSCAN
        source="type",
        target="handwriting",
        seed=0,  # of the rendering; not the run's seed, so that runs differ in training only
        per_class=400,
        size=32,
        transform=dict(
            size=32, resize=None, crop=None, flip=False, affine=affine, mean=(0.5,), std=(0.5,)
        ),
    )


def folder(root, source, target, *, resize, crop):
    """Folders of photos, with CAN's views: resize to a square, random crop and flip (data/utils.py,
    prepare_data.py).
    """
    return dict(
        dataset="folder",
        root=root,
        source=source,
        target=target,
        transform=dict(
            size=(crop, crop),
            resize=(resize, resize),
            crop="random",
            flip=True,
            affine=None,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
    )


def office31(root, source, target):
    """Office-31 as downloaded: "amazon", "dslr", "webcam"; several sources as "amazon+dslr". CAN's
    views.
    """
    return dict(folder(root, source, target, resize=256, crop=224), dataset="office31")


def visda2017(root, source, target):
    """VisDA-2017 as downloaded: "train", "validation", "test". CAN's views."""
    return dict(folder(root, source, target, resize=256, crop=224), dataset="visda2017")


def domainnet(root, source, target):
    """DomainNet as downloaded: "clipart", "infograph", "painting", "quickdraw", "real", "sketch";
    several sources joined by "+". CAN's views.
    """
    return dict(
        folder(root, source, target, resize=256, crop=224),
        dataset="domainnet",
        # "train", "test" or "all". MSCAN's slides do not say which; this is the protocol of
        # DomainNet's authors, who published the lists.
        source_split="train",
        target_split="train",  # adapted to, without its labels
        evaluation_split="test",
    )


def tfds(source, target, root="", *, resize, crop):
    """Sets of tensorflow-datasets by name, "mnist", "domainnet/real:test"; several sources joined
    by "+". CAN's views.
    """
    return dict(
        # root: its data_dir, "" for its default
        folder(root, source, target, resize=resize, crop=crop),
        dataset="tfds",
        source_split="train",  # of a name without ":split"
        target_split="train",
        evaluation_split="test",  # of the target's set; "": the images that are adapted to
        download=False,  # True: a set that is not there is downloaded and prepared first
    )


def sgd(**settings):
    """SGD as every method here uses it; momentum and decay from CAN's config.py, and the same in
    CLAN's and AdaptSegNet's.
    """
    return dict(
        dict(
            kind="sgd",
            momentum=0.9,
            weight_decay=5e-4,
            nesterov=False,
            lr_multipliers=(),
            repeats=(),
        ),
        **settings,
    )
