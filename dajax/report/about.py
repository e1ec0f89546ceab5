"""What was run: settings, data, versions, and what it cost."""

import json
import math
import re
import statistics

import jax

from dajax.analysis.html import Section, Table, Text
from dajax.engine import tensorboard
from dajax.engine.config_check import flatten
from dajax.settings import starts_of

_THROUGHPUT = ("images_per_second", "data_wait_percent")  # of console.Progress


def about(context):
    """Section: recipe, data, devices, versions; the stages and their cost; every setting."""
    blocks = [_runs(context), _stages(context)]
    if context.networks_left_out:
        blocks.append(
            Text(
                "Looked at are the networks of "
                + ", ".join(network.label for network in context.networks)
                + "; not, for want of space: "
                + ", ".join(context.networks_left_out)
                + "."
            )
        )
    settings = {run.label: flatten(json.loads(run.config.to_json())) for run in context.runs}
    if len(context.runs) > 1:
        blocks.append(_differences(settings))
    for label, flat in settings.items():
        rows = [[key, _plain(value)] for key, value in sorted(flat.items())]
        title = f"Every setting{f' of {label}' if label else ''} ({len(rows)})"
        blocks.append(Table(["key", "value"], rows, title=title, folded=True))
    return Section("about", "What was run", blocks)


def _runs(context):
    """A column for each run."""
    columns = [_facts(run) for run in context.runs]
    names = list(dict.fromkeys(name for facts in columns for name in facts))
    rows = [[name, *(facts.get(name) for facts in columns)] for name in names]
    return Table(["", *(run.label or "this run" for run in context.runs)], rows)


def _facts(run):
    """{what: text} of a run."""
    results, sets = run.results, run.dataset
    facts = {"recipe": run.config.name, "task": run.task, "seed": str(run.config.seed)}
    for role in ("source", "target", "evaluation"):
        if isinstance(sets.get(role), dict):
            facts[role] = f"{sets[role].get('name')}, {sets[role].get('count'):,} images"
    facts["classes"] = str(len(run.class_names))
    facts["image"] = (
        "x".join(map(str, sets.get("image_shape", ()))) + " (height x width x channels)"
    )
    facts["network"] = str(run.config.model.backbone)
    if not results:
        return facts | {"finished": "no: some stage is not done, so versions are not known"}
    facts["devices"] = results.get("devices")
    versions = results.get("versions", {})
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    found = {k: v for k, v in results.get("environment", {}).items() if v not in (None, False)}
    facts["environment"] = ", ".join(f"{name}={value}" for name, value in found.items())
    return {name: text for name, text in facts.items() if text}


def _stages(context):
    """A row for each stage and what it cost."""
    parameters = {network.label: _parameters(network.trained) for network in context.networks}
    rows = []
    for stage in context.stages:
        config = stage.config
        steps = stage.result["step"] if stage.result else (stage.snapshots or [0])[-1]
        size = config.batch_size if "batch_size" in config else None
        total, frozen = parameters.get(stage.label, (None, None))
        speed, waited = _throughput(stage.directory)
        rows.append(
            [
                stage.label,
                config.method,
                ", ".join(starts_of(config.init_from)) or "the start",
                "finished" if stage.result else "unfinished",
                steps,
                size,
                None if size is None else steps * size,
                speed,
                waited,
                total,
                frozen,
            ]
        )
    head = ["stage", "method", "begins with", "state", "steps", "batch", "steps x batch"]
    head += ["images/s, median", "data wait %", "parameters", "of them frozen"]
    return Table(head, rows, title="Stages and their cost")


def _throughput(directory):
    """Medians of images a second and of the share of waiting, which the boards alone have; None
    where the event files are gone.
    """
    found = tensorboard.read_scalars(directory, "throughput")
    return [statistics.median(found[name]) if name in found else None for name in _THROUGHPUT]


def _parameters(trained):
    """(number of parameters, how many of them are frozen)."""
    patterns, total, still = trained.model.frozen_parameters(), 0, 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained.params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        size = math.prod(leaf.shape)
        total += size
        still += size if any(re.search(pattern, name) for pattern in patterns) else 0
    return total, still


def _differences(settings):
    """The settings that the runs do not share."""
    keys = sorted({key for flat in settings.values() for key in flat})
    rows = [
        [key, *(_plain(flat.get(key, "–")) for flat in settings.values())]
        for key in keys
        if len({json.dumps(flat.get(key, "–")) for flat in settings.values()}) > 1
    ]
    return Table(["key", *settings], rows, title="Settings that differ")


def _plain(value):
    """A setting as text, so that it is not taken for a figure."""
    return value if isinstance(value, str) else json.dumps(value)
