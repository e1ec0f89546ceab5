"""One label a pixel: street scenes. See dajax.tasks for what the functions are asked."""

from dajax.errors import UserError
from dajax.models import mean_of_networks
from dajax.models.build import build_segmenter, load_segmenter_weights
from dajax.ops import sliding_window
from dajax.ops.pictures import NOT_COUNTED, RIGHT, WRONG
from dajax.settings import starts_of
from dajax.tasks.segmentation.describe import describe
from dajax.tasks.segmentation.domains import domains_to_check, is_oracle, open_data, write_classes
from dajax.tasks.segmentation.feed import SegFeed
from dajax.tasks.segmentation.measure import (
    check_result,
    evaluate,
    judge_refresh,
    table,
    view_agreement,
    warn_of_refresh,
)
from dajax.tasks.segmentation.problems import problems
from dajax.tasks.segmentation.rare_classes import check as check_labels

__all__ = (
    "build_model",
    "check_labels",
    "check_result",
    "describe",
    "domains_to_check",
    "evaluate",
    "judge_refresh",
    "legend_of_pictures",
    "load_pretrained",
    "make_feed",
    "open_data",
    "problems",
    "table",
    "view_agreement",
    "warn_of_refresh",
    "write_classes",
)


def make_feed(domains, config, name, *, directory, devices, stop):
    """See dajax.tasks."""
    return SegFeed(
        domains,
        seed=config.seed,
        stage=name,
        directory=directory,
        devices=devices,
        is_oracle=is_oracle(config[name]),
        earlier_rounds=_earlier_rounds(config, name),
        stop=stop,
        window=_window(config),
    )


def legend_of_pictures(data):
    """See dajax.tasks: every class, and the colours of the last panel, where there are labels."""
    classes = [*zip(data.class_names, data.space.palette, strict=True)]
    if not data.has_evaluation_labels:
        return classes
    errors = [("error map: right", RIGHT), ("wrong", WRONG), ("not counted", NOT_COUNTED)]
    return classes + errors


def _earlier_rounds(config, name):
    """The stages that made the pseudo-labels of the rounds before a stage that makes some, oldest
    first: those that its network, and the networks which that began with, were trained on.
    """
    if config[name].method != "pseudo_labels":
        return ()
    found, starts = [], starts_of(config[name].init_from)
    while starts and starts[0] in config.stages:  # of several, which saw the same labels, the first
        before = config[starts[0]]
        if "labels_from" in before:
            found.append(before.labels_from)
        starts = starts_of(before.init_from)
    return tuple(dict.fromkeys(reversed(found)))


def build_model(config, stage_config, domains):
    """See dajax.tasks."""
    model = build_segmenter(config.model, stage_config, num_classes=len(domains.class_names))
    model = mean_of_networks.of_stage(model, starts_of(stage_config.init_from))
    if config.evaluation.aggregation_alpha and not hasattr(model, "classify"):
        raise UserError(
            f"config.evaluation.aggregation_alpha={config.evaluation.aggregation_alpha}:"
            f" {config.model.backbone} has no classifier of one map of features to aggregate; set"
            " it to 0, or choose another config.model.backbone"
        )
    if config.evaluation.align_corners and not model.align_corners:
        raise UserError(
            f"config.evaluation.align_corners=True: {config.model.backbone} is trained with"
            " half-pixel centres (torch's align_corners=False); set it to False"
        )
    _window(config)
    return model


def _window(config):
    """See sliding_window.from_config."""
    return sliding_window.from_config(
        config.evaluation, tuple(config.data.transforms.evaluation.size)
    )


def load_pretrained(config, state):
    """See dajax.tasks."""
    return load_segmenter_weights(config.model, state)
