"""What both tasks hand to the engine."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Domains:
    """The sets of a run.

    Attributes:
      source: labelled, all sources in one; sources: each of them, in classification.
      target: for training, its labels are taken away by the feed.
      evaluation: the labelled target images that figures are measured on (in classification the target itself, or a set's test part).
      transforms: of data_pipeline, by view; the task's own business.
      image_shape: (H, W, C), an example of what the model sees.
      class_names: K names.
    """

    source: Any
    target: Any
    evaluation: Any
    transforms: dict
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    sources: tuple = ()


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Figures of one evaluation.

    Attributes:
      report: {name: per cent, ...}, JSON-able; None when the target has no labels.
      headline: the report in a few words, for the log.
      pictures: {name: uint8 [H, W, 3]}, to be looked at.
    """

    report: dict | None
    headline: str = ""
    pictures: dict = dataclasses.field(default_factory=dict)
