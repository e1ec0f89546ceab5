"""What both tasks hand to the engine, and what both say of a run's data."""

import dataclasses
import math
import os
from typing import Any

from dajax.label_free import is_measured, key_of
from data_pipeline.files.folder_scan import describe
from data_pipeline.files.resized_cache import ResizedCache


@dataclasses.dataclass(frozen=True)
class Domains:
    """The sets of a run.

    Attributes:
      source: labelled, all sources in one.
      target: for training, its labels are taken away by the feed.
      evaluation: the labelled target images that figures are measured on (in classification the
        target itself, or a set's test part).
      transforms: {name: transform of data_pipeline}; the task's own business.
      image_shape: (H, W, C), an example of what the model sees.
      class_names: K names.
      sources: in classification, each of the sources.
      held_out: labelled source images that no stage trains on: in classification a set for each of
        the sources, in segmentation one set; () where config.evaluation.source_held_out is 0.
      strong_view: what config.data.strong_view describes, in classification a Transform, in
        segmentation an Appearance; None where the recipe has no such key.
    """

    source: Any
    target: Any
    evaluation: Any
    transforms: dict
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    sources: tuple = ()
    held_out: tuple = ()
    strong_view: Any = None


def strong_view_settings(config):
    """config.data.strong_view; None in a recipe without the key. Only methods that train on two
    views of an image need it.
    """
    return config.data.strong_view if "strong_view" in config.data else None


def with_fast_reading(config, sets):
    """The sets (ImageSet or SegmentationSet) with a cache of resized images where config.runtime
    has one, and drafts of large photos where the recipe allows them: config.data.draft, which only
    own folders have.
    """
    draft = bool(config.data.draft) if "draft" in config.data else False
    runtime, cache = config.runtime, None
    if runtime.cache_gb:
        cache = ResizedCache(runtime.cache_dir, int(runtime.cache_gb * 1e9))
    # a set that serves twice stays one object
    made = {id(one): dataclasses.replace(one, draft=draft, cache=cache) for one in sets}
    return [made[id(one)] for one in sets]


def image_folder(images):
    """The folder that all image files of a set lie below; None of a set that is no files.

    Args:
      images: ImageSet or SegmentationSet.
    """
    paths = images.image_paths if hasattr(images, "image_paths") else images.paths
    return os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else None


def left_out_lines(role, left_out):
    """A line for each reason why files of a set are not used, see files.folder_scan.describe."""
    return [f"{role}: {line}" for line in describe(left_out)]


def small_set_lines(config, sets_of_stage, sizes):
    """A line for each stage whose batch is larger than a set that it draws from.

    Args:
      sets_of_stage: stage's config -> names of the sets that its shuffled batches come from.
      sizes: {name: number of images}.
    """
    lines = []
    for name in config.stages:
        for which in sets_of_stage(config[name]):
            # an unknown set is the stage's own mistake
            if config[name].batch_size > sizes.get(which, math.inf):
                lines.append(
                    f"note: config.{name}.batch_size={config[name].batch_size} is more than the"
                    f" {sizes[which]} {which} images: a batch holds some of them more than once"
                )
    return lines


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Figures of one evaluation.

    Attributes:
      report: {name: per cent, ...}, JSON-able; where the target has no labels, of what
        dajax.label_free has keys for alone.
      headline: the report in a few words, for the log.
      pictures: {name: uint8 [H, W, 3]}, to be looked at.
    """

    report: dict
    headline: str = ""
    pictures: dict = dataclasses.field(default_factory=dict)


def label_free_headline(figures):
    """An evaluation without labels in a few words.

    Args:
      figures: {"label_free_<rule>": float}.
    """
    names = {"entropy": "entropy", "im": "information", "snd": "neighbourhood density"}
    names |= {"dev": "risk by DEV"}
    told = [
        f"{name} {figures[key_of(rule)]:.4g}"
        for rule, name in names.items()
        if key_of(rule) in figures
    ]
    return f"measured without labels: {', '.join(told)}"


def check_figures(result, numbers, per_class, class_names):
    """Whether a stage's result, read from a file, is one that a table can be made of.

    Args:
      result: dict with "step".
      numbers: keys whose values are numbers, or None where nothing could be measured.
      per_class: key of {class name: number or None}.
      class_names: K names.

    Raises:
      ValueError: what is missing or of another kind.
    """
    if not isinstance(result["step"], int):
        raise ValueError(f"'step' is {result['step']!r}, expected a number")
    if not is_measured(result):
        return
    for key in numbers:
        if key not in result or not isinstance(result[key], (int, float, type(None))):
            raise ValueError(f"'{key}' is {result.get(key)!r}, expected a number")
    figures = result.get(per_class)
    if not isinstance(figures, dict) or set(figures) != set(class_names):
        raise ValueError(f"'{per_class}' does not hold the classes")
    for name, figure in figures.items():
        if figure is not None and not isinstance(figure, (int, float)):
            raise ValueError(f"'{per_class}': '{name}' is {figure!r}, expected a number")
