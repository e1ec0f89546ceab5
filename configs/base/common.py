"""What every recipe starts from: its argument, its name, and the settings of every run. A recipe is
a delta on this; code reads config.x and has no defaults of its own.

THE ARGUMENT OF A RECIPE is what follows the colon, in every recipe the same:

  --config=configs/NAME.py:VARIANT,WORD,KEY=VALUE,...      or --config=NAME:...

  VARIANT      the data, and with them the settings: digits, office31, scenes, gta5_to_cityscapes;
               left out, the embedded data: digits or scenes
  ablations    a word alone: also the rows of the method's ablation table

The order of the items does not matter. Keys that many recipes have:

  source       the name of a domain, or of several, "amazon+dslr"; a folder in segmentation's
               variant own, whose further keys are in configs/base/domains.py
  target       the name of the domain to adapt to; in that variant a folder
  root         the folder that holds all domains (classification)
  source_root  the folder of the source (segmentation, whose variant names the domains)
  target_root  the folder of the target (segmentation)
  weights      a file of pretrained weights, or "none" for random ones
  settings     whose numbers, where a method's authors have two: "code" for those of their released
               code, "paper" (in bicl.py "slides") for those that they published
  backbone     the network that `weights` fits

A recipe may have keys of its own, which its docstring explains. Its `VARIANTS` says which keys each
variant uses; any other key is refused in one line. Of a key given twice the last one counts, since
`--tasks` of a sweep appends.

THE NAME OF A RUN names its default workdir. It holds all that changes the network or the data and
is not the default, and never where files lie.
"""

import pathlib
import re

from ml_collections import ConfigDict, config_dict

from dajax.recipes.base import views

# Published means and deviations of ImageNet, as torchvision and all released code in this field use
# them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EMBEDDED = ("digits", "scenes")  # variants whose data come with the repository
WORDS = ("ablations",)


# Of every stage. momentum above 0: a teacher, the moving average of the networks, is kept
# (0.999: mean teacher, DAFormer). predict_with: "student" or "teacher" is evaluated, predicts in
# dajax.load, and is what a stage after it begins with.
NO_TEACHER = dict(teacher=dict(momentum=0.0), predict_with="student")


def parse_arg(arg, variants, *, pretrained=(), renamed=None, **defaults):
    """Reads "variant,word,key=value,..." into ConfigDict(variant=..., word=True, key=...), with a
    value for every key of `defaults`.

    Args:
      arg: what follows the colon of --config, or None.
      variants: {variant: the keys and words that it uses}; the first is the default.
      pretrained: the variants whose settings need pretrained weights: `weights=FILE`, or
        `weights=none` to go without.
      renamed: {a key as it was called once: as it is called now}.
      **defaults: of each key. A tuple holds all values that are known, the first being the default;
        False belongs to one of WORDS; of the others the type is kept. weights=none becomes "".

    Raises:
      ValueError: in one line: an unknown variant, key, word or value, a key that the variant does
        not use, no weights.
    """
    known = [key for key in defaults if any(key in takes for takes in variants.values())]
    values = {
        key: choices[0] if isinstance(choices, tuple) else choices
        for key, choices in defaults.items()
    }
    parsed, given = ConfigDict({"variant": next(iter(variants)), **values}), {}
    items = list(filter(None, (arg or "").split(",")))
    parsed.variant = _variant_among(items, variants, parsed.variant)
    for item in items:
        key, equals, value = item.partition("=")
        if key in known and (key in WORDS) != bool(equals):
            given[key] = value
        elif item not in variants:
            problem = _expected(key, value, known, renamed or {})
            or_variant = "" if equals or key in WORDS else f"; variants: {', '.join(variants)}"
            raise ValueError(f"configuration argument '{item}': {problem}{or_variant}")
    takes = variants[parsed.variant]
    for key, value in given.items():
        if key not in takes:
            item = key if key in WORDS else f"{key}={value}"
            now = (renamed or {}).get(key)
            raise ValueError(
                f"configuration argument '{item}': variant {parsed.variant} does not use"
                f" {key}; it takes {', '.join(takes) or 'none'}"
                + (f": write {now}={value}" if now in takes else "")
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


def _variant_among(items, variants, default):
    """The one item that names a variant, wherever it stands; `default` where none does.

    Raises:
      ValueError: two of them; or the first item is neither a variant nor a word nor key=value.
    """
    named = list(dict.fromkeys(item for item in items if item in variants))
    if len(named) > 1:
        raise ValueError(
            f"configuration argument '{named[1]}': the variant is {named[0]} already, and a run has"
            " one: leave one of them out"
        )
    if not named and items and "=" not in items[0] and items[0] not in WORDS:
        raise ValueError(f"unknown variant '{items[0]}'; known: {', '.join(variants)}")
    return named[0] if named else default


def _expected(key, value, known, renamed):
    """What stands in place of an item that is no variant, no word and no key of the recipe."""
    if renamed.get(key) in known:
        return f"{key} is now called {renamed[key]}: write {renamed[key]}={value}"
    if key in WORDS and key not in known:
        return f"this recipe has no rows of {key}, whatever the variant: leave it out"
    keys = [name for name in known if name not in WORDS]
    words = [name for name in known if name in WORDS]
    or_word = f", or the word {' or '.join(words)}" if words else ""
    return f"expected key=value with a key among {', '.join(keys) or 'none'}{or_word}"


def _value_of(key, text, default):
    """The value that `text` stands for, of the type of `default`, or one of them where it is a
    tuple; that of a word is True.
    """
    if key in WORDS:
        return True
    if isinstance(default, tuple):
        if text not in default:
            raise ValueError(
                f"configuration argument '{key}={text}': known: {', '.join(filter(None, default))}"
            )
        return text
    try:
        return type(default)(text)
    except ValueError:
        expected = f"expected a value of type {type(default).__name__}"
        raise ValueError(f"configuration argument '{key}={text}': {expected}") from None


def run_name(recipe, arg, *parts):
    """The run's name, which can be a folder's: recipe, ablations, variant, and the parts that are
    not empty. With ablations the embedded data go without saying: "can-ablations".
    """
    variant = "" if arg.ablations and arg.variant in EMBEDDED else arg.variant
    ablations = "ablations" if arg.ablations else ""
    return re.sub(r"[/:\\\s]", "_", "-".join(filter(None, (recipe, ablations, variant, *parts))))


def weights_name(path, *, is_pretrained):
    """What a run's name says of its weights: the file's name, without its folder.

    Args:
      is_pretrained: whether the variant asks for a file.
    """
    return pathlib.PurePath(path).stem if path else "random_weights" if is_pretrained else ""


def base(name):
    """The settings of every run, with the embedded digits and a small network for them."""
    return ConfigDict(
        dict(
            name=name,  # names the default workdir
            task="classification",  # or "segmentation", see base/segmentation.py
            seed=0,
            # named at the start; the table prints overall and mean-class accuracy either way
            metric="accuracy",
            stages=(),
            model=dict(
                backbone="resnet_small",
                widths=(16, 32, 64),
                weights="",  # a torch file of the backbone, or none
                bottleneck=0,  # width of a hidden layer after the backbone; CAN has none
                bottleneck_norm=True,
                head_widths=(),  # of hidden layers in the head; CAN has none
                dropout=0.0,  # of the bottleneck and of the head's hidden layers
                head_init="kaiming",  # CAN's (model/model.py); "torch": torch.nn.Linear's own
            ),
            data=digits(),
            # Every stage is measured twice: with its BN statistics as trained, and with statistics
            # re-estimated on unlabelled target images (AdaBN); 0 batches: once. Both are ours.
            evaluation=dict(reestimate_batches=50, reestimate_batch_size=32),
            runtime=dict(  # may change between two calls on one workdir
                devices=0,  # 0: all
                log_every=10,  # steps between two lines of metrics.jsonl
                report_seconds=10.0,  # between two lines of output that goes to a file
                checkpoint_every=200,  # steps; a killed run repeats at most so many
                keep_checkpoints=2,
                eval_batch_size=256,
                # Sets of photos that fit in so much memory together, the smallest first, are
                # decoded once; 0 for none. Office-31 takes 770 MiB at 256 pixels. Ours.
                keep_images_mib=1024.0,
                compilation_cache="~/.cache/dajax/xla",  # "" turns it off
            ),
        )
    )


def digits():
    """Rendered type -> real handwriting (UCI optdigits), 32 x 32 grey, nothing to download.

    `transform` is the training view; evaluation is the same without its random parts.
    """
    return dict(
        dataset="digits",
        # One world of data_pipeline/digits, or several: "type+outline+stencil+noise". Several are
        # merged, except by the method MSCAN.
        source="type",
        target="handwriting",
        seed=0,  # of the rendering; not the run's seed, so that runs differ in training only
        per_class=400,
        size=32,
        transform=dict(
            size=32,
            # Neither is done. A plain None could not be set on the command line, which goes by the
            # kind of the value that is there; this None takes any.
            resize=config_dict.placeholder(object),
            crop=config_dict.placeholder(object),
            flip=False,
            **(views.off() | dict(affine=views.affine(32))),
            mean=(0.5,),
            std=(0.5,),
        ),
    )


def folder(root, source, target, *, resize, crop, dataset="folder"):
    """Folders of photos, with CAN's views: resize to a square, random crop and flip (its
    data/utils.py and tools/prepare_data.py).

    Args:
      root: the folder that holds the domains' folders.
      source: a domain, or several: "amazon+dslr".
      target: a domain.
      resize: pixels a side of the square.
      crop: pixels a side of what the network sees.
      dataset: the reader (data_pipeline/classification).
    """
    measured_on = dict(
        evaluation="",  # a domain to measure on; "": the target
        held_out=0.0,  # share of the target's images, not adapted to, to measure on
        held_out_seed=0,  # of which; not the run's seed, so that every run measures on the same
    )
    return dict(
        dataset=dataset,
        root=root,
        source=source,
        target=target,
        **(measured_on if dataset == "folder" else {}),
        transform=dict(
            size=(crop, crop),
            resize=(resize, resize),
            crop="random",
            flip=True,
            **views.off(),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
    )


def office31(root, source, target):
    """Office-31 as downloaded: "amazon", "dslr", "webcam"; as `folder`."""
    return folder(root, source, target, resize=256, crop=224, dataset="office31")


def visda2017(root, source, target):
    """VisDA-2017 as downloaded: "train", "validation", "test"; as `folder`."""
    return folder(root, source, target, resize=256, crop=224, dataset="visda2017")


def published(dataset, root, source, target):
    """Office-Home ("officehome": "Art", "Clipart", "Product", "Real World"), PACS ("pacs":
    "art_painting", "cartoon", "photo", "sketch") or ImageCLEF-DA ("imageclef": "b", "c", "i", "p")
    as downloaded; with Office-31's views, as `folder`.
    """
    return folder(root, source, target, resize=256, crop=224, dataset=dataset)


def digits_five(root, source, target):
    """Digits-Five as M3SDA's authors pass it on: "mnist", "mnistm", "svhn", "syn", "usps", 32 x 32
    pixels in three channels.
    """
    return dict(
        dataset="digits_five",
        root=root,
        source=source,
        target=target,
        source_split="train",
        target_split="train",  # adapted to, without its labels
        evaluation_split="test",
        transform=dict(
            size=(32, 32),
            resize=config_dict.placeholder(object),  # None, see `digits`
            crop=config_dict.placeholder(object),
            flip=False,
            **views.off(),
            mean=(0.5,),
            std=(0.5,),
        ),
    )


def domainnet(root, source, target):
    """DomainNet as downloaded: "clipart", "infograph", "painting", "quickdraw", "real", "sketch";
    as `folder`.
    """
    return dict(
        folder(root, source, target, resize=256, crop=224, dataset="domainnet"),
        # "train", "test" or "all". MSCAN's slides do not say which; this is the protocol of
        # DomainNet's authors, who published the lists.
        source_split="train",
        target_split="train",  # adapted to, without its labels
        evaluation_split="test",
    )


def tfds(source, target, root="", *, resize, crop):
    """Sets of tensorflow-datasets by name, "mnist", "domainnet/real:test"; as `folder`.

    Args:
      root: tensorflow-datasets' data_dir, "" for its default.
    """
    return dict(
        folder(root, source, target, resize=resize, crop=crop, dataset="tfds"),
        source_split="train",  # of a name without ":split"
        target_split="train",
        evaluation_split="test",  # of the target's set; "": the images that are adapted to
        download=False,  # True: a set that is not there is downloaded and prepared first
    )


def sgd(**settings):
    """SGD as the methods here use it. Momentum and decay are those of CAN's config.py, and the same
    in CLAN and AdaptSegNet.

    Args:
      **settings: lr, schedule and the schedule's own keys; and what differs from the values below.
    """
    return dict(
        dict(
            kind="sgd",
            momentum=0.9,
            weight_decay=5e-4,
            nesterov=False,
            lr_multipliers=(),  # (pattern of parameters' names, factor on their rate)
            repeats=(),  # (pattern, times that a step is applied); see base/segmentation.py
        ),
        **settings,
    )
