"""The data sets that a config can name."""

import os
from typing import NamedTuple

from data_pipeline.classification import (
    digits_five,
    domainnet,
    folder,
    held_out,
    imageclef,
    office31,
    officehome,
    pacs,
    tfds_sets,
    visda2017,
)
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.digits import sets as digits
from data_pipeline.errors import DataError
from data_pipeline.files.names import check_below

# Published sets whose domains have fixed names: of each its reader, and of the second kind those
# with splits.
WHOLE = {
    "office31": office31,
    "visda2017": visda2017,
    "officehome": officehome,
    "pacs": pacs,
    "imageclef": imageclef,
}
WITH_SPLITS = {"domainnet": domainnet, "digits_five": digits_five}
KNOWN = ("digits", "folder", *WHOLE, *WITH_SPLITS, "tfds")


class Opened(NamedTuple):
    """The sets of a config: labelled sources, the target to adapt to, and the target images that
    figures are measured on.

    `evaluation` is the object `target` where the same images serve both.
    """

    sources: tuple[ImageSet, ...]
    target: ImageSet
    evaluation: ImageSet


def load_domains(data_config) -> Opened:
    """The source sets and the target sets of a config.

    The target keeps its labels where it has any, for evaluation; training must take
    `target.without_labels()`.

    Args:
      data_config: with `dataset`, `source` (one domain or several, "amazon+dslr"), `target`, and

        digits                        seed, per_class, size
        folder, those of WHOLE        root
        folder, where it has them     evaluation (a domain to measure on, "" for the target),
                                      held_out (share of the target), held_out_seed
        those of WITH_SPLITS          root, source_split, target_split, evaluation_split
        tfds                          these and download; root may be ""

    Raises: DataError for an unknown name, and whatever the reader finds wrong.
    """
    dataset = data_config.dataset
    if dataset not in KNOWN:
        raise DataError(
            f"unknown data set {dataset!r}; known: {', '.join(KNOWN)}; set config.data.dataset"
        )
    names = _names(data_config.source)
    if dataset == "digits":
        sources, target = digits.read_domains(
            names, data_config.seed, data_config.per_class, data_config.size
        )
        return Opened(sources, target, target)
    if dataset in WITH_SPLITS:
        reader = WITH_SPLITS[dataset]
        _check_domains(dataset, names, data_config.target, reader.DOMAINS)
        return Opened(
            *reader.read_domains(
                data_config.root, names, data_config.target, **_splits(data_config)
            )
        )
    if dataset == "tfds":
        splits = _splits(data_config)
        return Opened(
            *tfds_sets.read_domains(
                data_config.root, names, data_config.target, **splits, download=data_config.download
            )
        )
    if dataset == "folder":
        return _folders(data_config, names)
    reader = WHOLE[dataset]
    _check_domains(dataset, names, data_config.target, reader.DOMAINS)
    sources, target = reader.read_domains(data_config.root, names, data_config.target)
    return Opened(sources, target, target)


def _folders(data_config, names) -> Opened:
    """The sets of class folders."""
    # a recipe of the user's own may lack the keys
    evaluation_name = getattr(data_config, "evaluation", "")
    share = getattr(data_config, "held_out", 0.0)
    named = [("target", data_config.target), ("evaluation", evaluation_name)]
    for key, name in (*(("source", name) for name in names), *named):
        check_below(name, f"config.data.{key}")
    names, target_name = tuple(map(_plain, names)), _plain(data_config.target)
    _check_different(data_config.source, names)
    if evaluation_name and share:
        raise DataError(
            f"config.data.evaluation={evaluation_name!r} and config.data.held_out={share:g}: a run"
            " measures on another domain or on a part of the target; leave one of them out"
        )
    sources, target = folder.read_domains(data_config.root, names, target_name)
    if share:
        return Opened(sources, *held_out.split(target, share, data_config.held_out_seed))
    if not evaluation_name:
        return Opened(sources, target, target)
    evaluation = folder.read_folder(
        data_config.root,
        _plain(evaluation_name),
        sources[0].class_names,
        f"the classes of domain {names[0]!r}",
    )
    if not evaluation.has_labels:
        raise DataError(
            f"config.data.evaluation={evaluation_name!r}: this domain has no labels to measure"
            " with; sort its images into a folder for each class"
        )
    return Opened(sources, target, evaluation)


def _check_domains(dataset, sources, target, known):
    for key, name in (*(("source", name) for name in sources), ("target", target)):
        if name not in known:
            raise DataError(
                f"config.data.{key}: {dataset} has no domain {name!r}; known: {', '.join(known)}"
            )


def _splits(data_config):
    return dict(
        source_split=data_config.source_split,
        target_split=data_config.target_split,
        evaluation_split=data_config.evaluation_split,
    )


def _names(source) -> tuple[str, ...]:
    """ "a+b" -> ("a", "b")."""
    names = tuple(name.strip() for name in source.split("+"))
    _check_different(source, names)
    return names


def _check_different(source, names):
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(
                f"config.data.source={source!r}: {name!r} stands there twice; name each source once"
            )


def _plain(folder) -> str:
    """The one spelling of a folder that "a/", "./a" and "a" are."""
    return os.path.normpath(folder) if folder else folder
