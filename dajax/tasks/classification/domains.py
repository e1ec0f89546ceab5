"""Opens the sets of a classification run, describes them, and finds what is wrong with them before
anything is spent on training. See dajax.tasks for what the functions are asked.
"""

from collections import Counter

from dajax.errors import UserError
from dajax.tasks.common import (
    Domains,
    left_out_lines,
    small_set_lines,
    strong_view_settings,
    with_fast_reading,
)
from data_pipeline import sources
from data_pipeline.check.check_images import classes_without_images, listed_twice
from data_pipeline.check.official import describe_other_count
from data_pipeline.check.start_checks import image_set_problems
from data_pipeline.classification.held_out import split_source
from data_pipeline.classification.image_set import merged
from data_pipeline.classification.kept_images import keep_small_sets
from data_pipeline.classification.list_files import left_out_of
from data_pipeline.classification.transforms import from_config as make_transform
from data_pipeline.errors import DataError, printable

HELD_OUT_KEY = "config.evaluation.source_held_out"
MAX_CLASSES_LISTED = 31  # at the head of a run; Office-31 has so many, DomainNet 345


def open_data(config):
    """See dajax.tasks."""
    opened = _with_fast_reading(config, sources.load_domains(config.data))
    opened, held_out = _without_held_out(config, opened)
    transform = make_transform(config.data.transform)
    strong_view = _strong_view(config, transform.size_hw)
    sizes_hw = [transform.resize_hw, *([] if strong_view is None else [strong_view.resize_hw])]
    *kept_sources, target, evaluation = keep_small_sets(
        [*opened.sources, opened.target, opened.evaluation],
        sizes_hw,
        config.runtime.keep_images_mib,
    )
    source = merged(kept_sources)
    return Domains(
        source=source,
        target=target,
        evaluation=evaluation,
        sources=tuple(kept_sources),
        held_out=held_out,
        transforms={"train": transform, "eval": transform.for_evaluation()},
        image_shape=(*transform.size_hw, source.channels),
        class_names=tuple(source.class_names),
        strong_view=strong_view,
    )


def _with_fast_reading(config, opened):
    *kept, target, evaluation = with_fast_reading(
        config, [*opened.sources, opened.target, opened.evaluation]
    )
    return sources.Opened(tuple(kept), target, evaluation)


def _without_held_out(config, opened):
    """(the sets, the sources without their held-out parts; these parts, () for none)."""
    share = config.evaluation.source_held_out
    if not share:
        return opened, ()
    parts = [split_source(images, share, HELD_OUT_KEY) for images in opened.sources]
    kept, held_out = zip(*parts, strict=True)
    return opened._replace(sources=kept), held_out


def _strong_view(config, size_hw):
    """The transform of a second view, or None.

    Raises:
      UserError: it has another size than the first view's.
    """
    settings = strong_view_settings(config)
    if settings is None:
        return None
    strong_view = make_transform(settings, "config.data.strong_view")
    if strong_view.size_hw != size_hw:
        raise UserError(
            f"config.data.strong_view.size is {strong_view.size_hw}, config.data.transform.size"
            f" {size_hw} (height, width); a network sees both views, so make them equal"
        )
    return strong_view


def domains_to_check(config):
    """See dajax.tasks."""
    try:
        opened = sources.load_domains(config.data)
    except DataError as error:  # itself a finding of the check
        return [("source and target", error)]
    apart = [] if opened.evaluation is opened.target else [("evaluation", opened.evaluation)]
    return [*(("source", images) for images in opened.sources), ("target", opened.target), *apart]


def describe(config, domains):
    """See dajax.tasks."""
    lines, walked = [], set()
    for domain, images in _sets(domains):
        found = f"{len(images)} images, no labels"
        if images.labels is not None:
            counts = _describe_counts(images)
            found = (
                f"{len(images)} images"
                f" ({counts}){'' if domain == 'source' else ' - labels for evaluation only'}"
            )
        lines.append(f"{domain}: {images.name}, {found}")
        # splits of one domain have one folder, and a walk takes seconds
        if images.listed is None or images.listed not in walked:
            lines += left_out_lines(domain, left_out_of(images))
        walked.add(images.listed)
        lines += _notes(images)
    for images in domains.sources:
        twice = [
            role
            for role, other in _sets(domains)[len(domains.sources) :]
            if other.name == images.name
        ]
        if twice:
            lines.append(
                f"note: {images.name} is source and {twice[0]}: its labels are trained on, so no"
                " figure of this run is one of adaptation"
            )
    lines += _held_out(config, domains)
    lines += _kept_in_memory(config, domains)
    lines += _mirrored_characters(domains)
    sizes = {"source": len(domains.source), "target": len(domains.target)}
    lines += small_set_lines(
        config,
        lambda stage_config: _DRAWN_FROM.get(stage_config.method, ("source", "target")),
        sizes,
    )
    return [printable(line) for line in lines]


def problems(config, domains, *, files=True, training=True):
    """See dajax.tasks."""
    del config
    found = []
    for role, images in _sets(domains):
        if not training and images is not domains.evaluation:
            continue
        transforms = [domains.transforms["eval"]]
        if role != "evaluation":
            transforms = [*domains.transforms.values()]
            transforms += [] if domains.strong_view is None else [domains.strong_view]
        found += image_set_problems(images, transforms, files=files)
    return list(dict.fromkeys(found))


def _sets(domains):
    """[(role, set)] of all the sets of a run, each once."""
    apart = [] if domains.evaluation is domains.target else [("evaluation", domains.evaluation)]
    return [*(("source", images) for images in domains.sources), ("target", domains.target), *apart]


# Sets that the shuffled batches of a method come from, where these are not both.
_DRAWN_FROM = {
    "source_only": ("source",),
    "can": ("source",),
    "mscan": ("source",),
    "adabn": ("target",),
}


def _notes(images):
    """What does not stop a run and should be known: other counts than the official ones, classes
    without an image, doubly listed images.
    """
    notes, official = [], describe_other_count(images.name, len(images))
    if official:
        notes.append(f"{images.name}: {official}")
    absent = classes_without_images(images) if images.labels is not None else []
    if absent:
        more = (
            f" and {len(absent) - MAX_CLASSES_LISTED} more"
            if len(absent) > MAX_CLASSES_LISTED
            else ""
        )
        notes.append(
            f"{images.name}: no image of class {', '.join(absent[:MAX_CLASSES_LISTED])}{more}"
        )
    cases = Counter(name.casefold() for name in images.class_names)
    alike = [name for name in images.class_names if cases[name.casefold()] > 1]
    if alike:
        notes.append(
            f"{images.name}: classes that differ in case alone:"
            f" {', '.join(alike[:MAX_CLASSES_LISTED])}; merge them if they are one"
        )
    twice = listed_twice(images)
    if twice:
        notes.append(f"{len(twice)} images are listed twice: {twice[0]}")
    return [f"note: {line}" for line in notes]


def _held_out(config, domains):
    """A line that says which part of the target is measured on and not adapted to, and one that
    says which part of the source is not trained on; none of parts that are not there.
    """
    lines = [
        f"held out: {len(apart):,} of the {len(apart) + len(images):,} images of {images.name} are"
        f" not trained on, for the rule dev ({HELD_OUT_KEY}={config.evaluation.source_held_out:g})"
        for images, apart in zip(domains.sources, domains.held_out, strict=False)
    ]
    if "held_out" not in config.data or not config.data.held_out:
        return lines
    apart, name = domains.evaluation, domains.target.name
    return lines + [
        f"held out: {len(apart):,} of the {len(apart) + len(domains.target):,} images of {name} are"
        " measured on and not adapted to, chosen without their labels"
        f" (config.data.held_out_seed={config.data.held_out_seed}): {apart.paths[0]} and others"
    ]


def _kept_in_memory(config, domains):
    """A line that says which sets are decoded once, or none."""
    kept = {id(images): images for _, images in _sets(domains) if images.kept is not None}
    if not kept:
        return []
    names = ", ".join(images.name for images in kept.values())
    num_bytes = sum(images.kept.num_bytes for images in kept.values())
    return [
        f"decoded once and kept in memory: {names}, {num_bytes / 2**20:,.0f} MiB"
        f" (config.runtime.keep_images_mib={config.runtime.keep_images_mib:g})"
    ]


def _mirrored_characters(domains):
    """A note where half of the training images are mirrored and the classes are such that a mirror
    makes them others, or none.
    """
    names = domains.class_names
    are_characters = all(len(name) == 1 or name.isdigit() for name in names)
    if not (are_characters and domains.transforms["train"].flip):
        return []
    more = ", ..." if len(names) > 3 else ""
    return [
        f"note: the classes are digits or single characters ({', '.join(names[:3])}{more}), and"
        " half of the training images are mirrored: flip=no in the argument of the recipe turns"
        " that off (config.data.transform.flip=False)"
    ]


def _describe_counts(images):
    counts = images.class_counts()
    if len(counts) > MAX_CLASSES_LISTED:
        return f"{len(counts)} classes of {counts.min()} to {counts.max()}"
    return ", ".join(
        f"{name} {count}" for name, count in zip(images.class_names, counts, strict=True)
    )
