"""Which sets of street images a segmentation recipe reads: published ones, by the variant
SOURCE_to_TARGET, and a user's own folders, by the variant own.

OWN FOLDERS. DIR/images and DIR/labels, with subfolders or without; see docs/data/segmentation.md.
The arguments of variant own:

  source       the folder of the labelled source
  target       the folder of the target, whose labels need not be there
  evaluation   a folder with labels to measure on; left out, the target, if it has labels
  classes      the CSV of the classes, in each of these folders or absolute; "classes.csv". A target
               without labels may lack it, and has the source's then
  size         HEIGHTxWIDTH of what the network sees, "96x128". Every other size follows from it
  network      "small", from random weights; "resnet101" or "vgg16", with the authors' settings;
               of plca, bicl, clan, adaptsegnet and source_only_seg also "mit_b0" to "mit_b5" and
               "mit_tiny", with DAFormer's, see base/mit.py, and "dinov2_vitb14" and its like, with
               VFM-UDA's, see base/vit.py
  weights      a file for a network that is not small, or none
  image_name, label_name    what files are called, NAME standing for what an image and its label
               share: label_name=NAME_L.png
"""

import os
import re

SOURCES = ("gta5", "synthia", "synscapes", "cityscapes", "bdd100k", "idd", "mapillary", "acdc")
# {set: its splits to adapt to and to measure on}
TARGETS = {
    "cityscapes": ("train", "val"),
    "acdc": ("train", "val"),
    "dark_zurich": ("train", "val"),
    "bdd100k": ("train", "val"),
    "idd": ("train", "val"),
    "mapillary": ("training", "validation"),
    "camvid": ("train", "test"),
}
_PAIR = re.compile("([a-z0-9_]+)_to_([a-z0-9_]+)")

OWN_KEYS = (
    *("source", "target", "evaluation", "classes", "size", "network", "weights"),
    *("image_name", "label_name"),
)
# Of those the ones that say where files lie and what they are called, which names no run.
OWN_PLACES = ("source", "target", "evaluation", "classes", "weights", "image_name", "label_name")
NETWORKS = ("small", "resnet101", "vgg16")
OWN_DEFAULTS = dict(
    source="",
    target="",
    evaluation="",
    classes="classes.csv",
    size="",
    network=NETWORKS,
    image_name="NAME",
    label_name="NAME",
)
# Where size= is not given: of the scenes, and AdaptSegNet's and CLAN's INPUT_SIZE_TARGET.
SMALL_HW, LARGE_HW = (64, 128), (512, 1024)
# A side that is halved five times by a discriminator (AdaptSegNet's and CLAN's) leaves a pixel.
SMALLEST_SIDE = 32


def with_pair(arg, variants):
    """`variants`, and the one that `arg` names where it is another pair of known sets.

    Args:
      arg: what follows the colon of --config, or None.
      variants: {variant: keys}; pairs of a recipe take what its first published pair takes.

    Raises:
      ValueError: SOURCE_to_TARGET with a set that is not known, or one set twice.
    """
    published = [variant for variant in variants if _PAIR.fullmatch(variant)]
    pairs = [pair for item in (arg or "").split(",") if (pair := _PAIR.fullmatch(item))]
    others = [pair for pair in pairs if pair[0] not in variants]
    if not published or not others:
        return variants
    pair, name = others[0], others[0][0]
    source, target = pair.groups()
    if source not in SOURCES or target not in TARGETS or source == target:
        raise ValueError(
            f"unknown variant '{name}'; known: {', '.join(variants)}, and SOURCE_to_TARGET of two"
            f" different sets, SOURCE one of {', '.join(SOURCES)}, TARGET one of"
            f" {', '.join(TARGETS)}"
        )
    return variants | {name: variants[published[0]]}


def source_set(variant):
    """ "gta5" of gta5_to_cityscapes; "" of a variant that names no published sets."""
    pair = _PAIR.fullmatch(variant)
    return pair[1] if pair else ""


def check_own(parsed, networks=NETWORKS):
    """Completes the parsed argument of variant own: size_hw, (height, width), and the backbone.

    Args:
      parsed: changed. networks: that the recipe knows, the small one first.

    Raises:
      ValueError: in one line: no source or target, a size that is none, weights that nothing reads,
        an evaluation folder without labels.
    """
    for key in ("source", "target"):
        if not parsed[key]:
            raise ValueError(
                f"variant own needs source=DIR and target=DIR; {key} is missing: the folder that"
                " holds images/"
            )
    default = SMALL_HW if parsed.network == "small" else LARGE_HW
    size = re.fullmatch(r"(\d+)x(\d+)", parsed.size or f"{default[0]}x{default[1]}")
    if not size or min(map(int, size.groups())) < SMALLEST_SIDE:
        raise ValueError(
            f"configuration argument 'size={parsed.size}': expected HEIGHTxWIDTH in pixels, such as"
            f" 96x128, each at least {SMALLEST_SIDE}"
        )
    parsed.size_hw = tuple(map(int, size.groups()))
    parsed.size = "" if parsed.size_hw == default else "{}x{}".format(*parsed.size_hw)
    if parsed.network == "small" and parsed.weights:
        raise ValueError(
            f"configuration argument 'weights={parsed.weights}': network=small trains from random"
            f" weights; choose network={' or network='.join(networks[1:])}, or leave it out"
        )
    if parsed.evaluation and _is_folder(parsed.evaluation) and not _has_labels(parsed.evaluation):
        raise ValueError(
            f"configuration argument 'evaluation={parsed.evaluation}': has no folder labels, so"
            " there is nothing to measure on; add it, or leave evaluation out"
        )
    if parsed.network != "small":
        parsed.backbone = parsed.network


def target_has_labels(arg):
    """Whether an oracle can be trained: only the existence of the folder is looked at."""
    return arg.variant != "own" or _has_labels(arg.target)


def _is_folder(path):
    return os.path.isdir(os.path.expanduser(path))


def _has_labels(root):
    return _is_folder(os.path.join(root, "labels"))


def domain(dataset, root, split="", space="", **own):
    """One set of images for data_pipeline.segmentation.readers.

    Args:
      dataset: the reader.
      root: its folder.
      split: where the set has several.
      space: the classes, where the set has several spaces of them.
      **own: classes, image_name, label_name, which are read by dataset="own" only.
    """
    unread = dict(classes="", image_name="NAME", label_name="NAME")
    return dict(dataset=dataset, root=root, split=split, space=space) | unread | own


def domains(arg, *, synthia_space):
    """`source`, `target` and `evaluation` of config.data for own folders and published pairs.

    Args:
      arg: as segmentation.parse returns it.
      synthia_space: "synthia", 16 classes, with which the target has the same 16; or
        "synthia_clan", whose 19 are Cityscapes' own.
    """
    if arg.variant == "own":
        return _own_domains(arg)
    dataset, target = arg.variant.split("_to_")
    has_16_classes = (dataset, synthia_space) == ("synthia", "synthia")
    space = "cityscapes_16" if has_16_classes else "cityscapes"
    split, space_of_source = TARGETS.get(dataset, ("",))[0], space
    if dataset in ("gta5", "synthia", "synscapes"):
        # SPCL's core/datasets/synscapes.py
        split = "rgb-2k" if dataset == "synscapes" else ""
        space_of_source = synthia_space if dataset == "synthia" else ""
    adapted, measured = TARGETS[target]
    return dict(
        source=domain(dataset, arg.source_root, split, space_of_source),
        target=domain(target, arg.target_root, adapted, space),
        evaluation=domain(target, arg.target_root, measured, space),
    )


def _own_domains(arg):
    names = dict(image_name=arg.image_name, label_name=arg.label_name)

    def own(root):
        return domain("own", root, classes=_classes_for(root, arg), **names)

    return dict(
        source=own(arg.source),
        target=own(arg.target),
        evaluation=own(arg.evaluation or arg.target),
        draft=True,  # of large photos, see base/common.py
    )


def _classes_for(root, arg):
    """`classes` for a folder: the source's file where the folder has no such file of its own."""
    of_source = os.path.join(arg.source, arg.classes)
    here = os.path.expanduser(os.path.join(root, arg.classes))
    if (
        _is_folder(root)
        and not os.path.exists(here)
        and os.path.exists(os.path.expanduser(of_source))
    ):
        return os.path.abspath(os.path.expanduser(of_source))
    return arg.classes
