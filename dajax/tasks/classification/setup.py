"""One label an image: digits, and folders of photos. See dajax.tasks for what the functions are
asked.
"""

from dajax.models.build import build_model as build_network
from dajax.models.build import load_pretrained as load_backbone
from dajax.tasks.classification.domains import describe, domains_to_check, open_data, problems
from dajax.tasks.classification.feed import Feed
from dajax.tasks.classification.measure import (
    check_result,
    evaluate,
    judge_refresh,
    table,
    warn_of_refresh,
)

__all__ = (
    "build_model",
    "check_result",
    "describe",
    "domains_to_check",
    "evaluate",
    "judge_refresh",
    "load_pretrained",
    "make_feed",
    "open_data",
    "problems",
    "table",
    "warn_of_refresh",
)


def make_feed(domains, config, name, *, directory, devices, stop):
    """See dajax.tasks."""
    del directory
    return Feed(
        domains.sources,
        domains.target,
        domains.evaluation,
        transforms=domains.transforms,
        seed=config.seed,
        stage=name,
        devices=devices,
        stop=stop,
        strong_view=domains.strong_view,
        held_out=domains.held_out,
    )


def build_model(config, stage_config, domains):
    """See dajax.tasks."""
    return build_network(config.model, stage_config, num_classes=len(domains.class_names))


def load_pretrained(config, state):
    """See dajax.tasks."""
    return load_backbone(config.model, state)
