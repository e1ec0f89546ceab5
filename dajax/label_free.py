"""Choosing a snapshot without a label of the target: the rules, the keys under which an evaluation
reports their figures, and which snapshot each rule picks. What the figures are: ops.selection.
"""

from typing import Any, NamedTuple

PREFIX = "label_free_"  # of the figures' keys in a report


class Rule(NamedTuple):
    """A rule: `title` for tables; `sign` 1 where the largest figure is picked, -1 the smallest."""

    title: str
    sign: int


RULES = {
    "entropy": Rule("lowest mean entropy of the predictions", -1),
    "im": Rule("largest mutual information of images and predictions", 1),
    "snd": Rule("largest soft neighbourhood density", 1),
    "dev": Rule("lowest importance-weighted risk on held-out source images", -1),
}
LAST = "last"
CHOICES = (LAST, *RULES)  # what `select` may be


def key_of(rule):
    """The key of a rule's figure: "label_free_snd"."""
    return PREFIX + rule


def is_measured(result):
    """Whether a stage's result, or a row of metrics.jsonl, holds a figure that labels gave."""
    return any(key not in ("step", "kind") and not key.startswith(PREFIX) for key in result)


def measured(rows, rule):
    """{step: the rule's figure} of the evaluations among the rows of a metrics.jsonl."""
    key = key_of(rule)
    return {
        row["step"]: row[key]
        for row in rows
        if row["kind"] == "evaluation" and isinstance(row.get(key), (int, float))
    }


def pick(figures: dict[int, Any], rule):
    """The step that a rule picks among {step: figure}; of equals the latest."""
    return max(figures, key=lambda step: (RULES[rule].sign * figures[step], step))
