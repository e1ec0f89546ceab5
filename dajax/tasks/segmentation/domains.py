"""Opens the sets of a segmentation run, describes them, and finds what is wrong with them before
anything is spent on training. See dajax.tasks for what the functions are asked.
"""

import os

from dajax import console
from dajax.errors import UserError
from dajax.ops import sliding_window
from dajax.tasks.common import (
    Domains,
    left_out_lines,
    small_set_lines,
    strong_view_settings,
    with_fast_reading,
)
from data_pipeline.appearance import Appearance
from data_pipeline.check.official import describe_other_count
from data_pipeline.check.start_checks import segmentation_problems
from data_pipeline.decode import image_size_hw
from data_pipeline.errors import DataError, printable
from data_pipeline.scenes import sets as scenes
from data_pipeline.segmentation import class_csv, pseudo_label_files
from data_pipeline.segmentation import readers as seg_readers
from data_pipeline.segmentation import transforms as seg_transforms
from data_pipeline.segmentation.held_out import split_source
from data_pipeline.segmentation.image_list import listed_in
from data_pipeline.segmentation.labels import CITYSCAPES
from data_pipeline.segmentation.margins import from_config as read_margins

HELD_OUT_KEY = "config.evaluation.source_held_out"
CLASSES_FILE = "classes.csv"  # in a workdir
ROLES = ("source", "target", "evaluation")


def open_data(config):
    """See dajax.tasks."""
    sets = {
        role: seg_readers.read_domain(domain, f"config.data.{role}")
        for role, domain in _domain_configs(config).items()
    }
    sets = dict(zip(sets, with_fast_reading(config, [*sets.values()]), strict=True))
    if "target_list" in config.data and config.data.target_list:
        key = "config.data.target_list"
        sets["target"] = listed_in(sets["target"], config.data.target_list, key)
    names = {role: tuple(images.class_names) for role, images in sets.items()}
    for role in ("target", "evaluation"):
        if names[role] != names["source"]:
            raise UserError(
                f"config.data.{role}: its classes ({', '.join(names[role])}) are not the source's"
                f" ({', '.join(names['source'])})"
            )
    if sets["source"].label_paths is None:
        raise UserError(
            f"config.data.source.root={config.data.source.root}: has images and no labels; training"
            " needs the source's labels"
        )
    transforms = {
        name: seg_transforms.from_config(settings, f"config.data.transforms.{name}")
        for name, settings in config.data.transforms.items()
    }
    transforms["evaluation"] = transforms["evaluation"].for_evaluation()
    sets["source"], held_out = _without_held_out(config, sets["source"])
    return Domains(
        **sets,
        held_out=held_out,
        transforms=transforms,
        image_shape=(*transforms["source"].size_hw, 3),
        class_names=names["source"],
        strong_view=_strong_view(config),
    )


def _without_held_out(config, source):
    """(the source without its held-out frames, a tuple of the set of these; () for none)."""
    share = config.evaluation.source_held_out
    if not share:
        return source, ()
    kept, apart = split_source(source, share, HELD_OUT_KEY)
    return kept, (apart,)


def _strong_view(config):
    """How a second view looks, which lies where the first does, or None."""
    settings = strong_view_settings(config)
    return None if settings is None else Appearance.from_config(settings, "config.data.strong_view")


def _domain_configs(config):
    """{role: mapping for segmentation.readers}. Draws the embedded scenes once, where the config
    asks for them, and fills in where they are.
    """
    found = {role: dict(config.data[role]) for role in ROLES}
    if "scenes" not in config.data:
        return found
    for role, domain in found.items():
        if domain["root"]:
            raise UserError(
                f"config.data.{role}.root={domain['root']}: variant scenes draws its own pictures"
                " and would not read this folder; use variant own, as in"
                " --config=NAME:own,source=DIR,target=DIR, or leave it out"
            )
    settings = config.data.scenes
    counts = {
        "source": settings.source,
        "target_train": settings.target,
        "target_val": settings.evaluation,
    }
    # A folder for every choice of settings, so that two runs with different ones do not fight over
    # it.
    name = "-".join(
        map(str, (f"v{scenes.VERSION}", *settings.size, *counts.values(), f"seed{settings.seed}"))
    )
    root = os.path.join(os.path.expanduser(settings.root), name)
    counter = console.Counter(f"drawing the scenes into {root}")
    try:
        source, target = scenes.ensure(
            root,
            size_hw=tuple(settings.size),
            counts=counts,
            seed=settings.seed,
            progress=counter.update,
        )
    except DataError as error:
        raise UserError(
            f"config.data.scenes.root={settings.root}: {error} (--config.data.scenes.root=FOLDER)"
        ) from error
    counter.close()
    return {role: found[role] | {"root": source if role == "source" else target} for role in ROLES}


def write_classes(domains, workdir):
    """See dajax.tasks: classes.csv, as data_pipeline.segmentation.class_csv has it, of the
    evaluation images.
    """
    path = workdir / CLASSES_FILE
    unfinished = path.with_name(path.name + ".tmp")
    class_csv.write_classes(unfinished, domains.evaluation.space)
    os.replace(unfinished, path)


def label_space(config, workdir):
    """The LabelSpace of a run's evaluation images, without the images: from its workdir, or of one
    that has no classes.csv, since it was begun before, from what its config names.

    Raises:
      DataError: the CSV file is damaged, or of own data gone.
    """
    path = workdir / CLASSES_FILE
    if path.exists():
        return class_csv.read_classes(path)
    return seg_readers.read_space(dict(config.data.evaluation), "config.data.evaluation")


def domains_to_check(config):
    """See dajax.tasks."""
    return list(_domain_configs(config).items())


def describe(config, domains):
    """See dajax.tasks."""
    lines = []
    for role in ROLES:
        images = getattr(domains, role)
        labelled = "no labels" if images.label_paths is None else "labelled"
        use = (
            " - labels for evaluation, and for an oracle stage, only"
            if role != "source" and images.label_paths is not None
            else ""
        )
        lines.append(
            f"{role}: {images.name}, {len(images)} images, {labelled}{use}; ids of"
            f" {images.space.name}"
        )
        lines += left_out_lines(role, images.left_out)
        official = describe_other_count(images.name, len(images))
        lines += [f"note: {images.name}: {official}"] if official else []
    for apart in domains.held_out:
        lines.append(
            f"held out: {len(apart):,} of the {len(apart) + len(domains.source):,} images of"
            f" {domains.source.name} are not trained on, for the rule dev"
            f" ({HELD_OUT_KEY}={config.evaluation.source_held_out:g})"
        )
    if not set(domains.evaluation.image_paths).isdisjoint(domains.source.image_paths):
        lines.append(
            "note: source and evaluation share images: their labels are trained on, so no figure of"
            " this run is one of adaptation"
        )
    lines += [
        f"note: config.{name} trains on labels of the evaluation images, since no others are given"
        " (evaluation=DIR): its figures are of pictures that it knows"
        for name in config.stages
        if is_oracle(config[name])
        and not set(domains.evaluation.image_paths).isdisjoint(domains.target.image_paths)
    ]
    lines += _lines_of_things(config, domains.class_names)
    height, width = domains.transforms["evaluation"].size_hw
    resize = "corners aligned" if config.evaluation.align_corners else "half-pixel centres"
    alpha = config.evaluation.aggregation_alpha
    window = sliding_window.from_config(config.evaluation, (height, width))
    lines.append(
        f"protocol: evaluation images at {height}x{width} (height x width){_through(window)},"
        f" scores brought to each"
        f" label's own size (bilinear, {resize}), argmax; {len(domains.class_names)} classes, one"
        " confusion matrix over all pixels, 255 not counted"
        + (f"; once more with spatial aggregation, alpha {alpha:g}" if alpha else "")
    )
    sizes = {"source": len(domains.source), "target": len(domains.target)}
    return [printable(line) for line in lines + small_set_lines(config, _drawn_from, sizes)]


def _lines_of_things(config, class_names):
    """Of stages that hold the features of some classes, by default those of Cityscapes' things:
    which those are, where the run has other classes.
    """
    lines = []
    for name in config.stages:
        settings = config[name].get("feature_distance")
        if settings is None or not settings.weight or class_names == CITYSCAPES.class_names:
            continue
        held = [class_names[i] for i in settings.classes if i < len(class_names)]
        lines.append(
            f"note: {name} holds the features of {', '.join(held) or 'no class'}:"
            f" config.{name}.feature_distance.classes, train ids from 0 to {len(class_names) - 1}"
        )
    return lines


def _through(window):
    """What the protocol says of windows."""
    if window is None:
        return ""
    (height, width), (down, right) = window.crop_hw, window.stride_hw
    what = "logits" if window.average == "logits" else "class probabilities"
    return (
        f" through windows of {height}x{width} every {down}x{right} pixels, whose {what} are"
        " brought to the windows' size and averaged"
    )


def _drawn_from(stage_config):
    """Sets that the shuffled batches of a stage come from."""
    if stage_config.method == "source_only_seg":
        return (stage_config.domain,)
    if stage_config.method == "self_training":
        sees_source = stage_config.source_weight or stage_config.source_share
        return ("source", "target") if sees_source else ("target",)
    others = {"adabn": ("target",), "pseudo_labels": ()}
    return others.get(stage_config.method, ("source", "target"))


def problems(config, domains, *, files=True, training=True):
    """See dajax.tasks."""
    found, transforms = [], domains.transforms
    names = {"source": ["source"], "target": ["target"], "evaluation": []}
    for stage_config in (config[name] for name in config.stages if "transform" in config[name]):
        role = stage_config.domain if stage_config.method == "source_only_seg" else "target"
        if role in names:  # an unknown one is _stage_problems' finding
            names[role].append(stage_config.transform)
    for role in names:
        ways = [transforms[name] for name in names[role] if name in transforms]
        if training or role == "evaluation":
            found += segmentation_problems(getattr(domains, role), ways, files=files)
    return list(dict.fromkeys(found + (_stage_problems(config, domains) if training else [])))


def _stage_problems(config, domains):
    """What the stages need of the data and do not find, which would come out hours later, when they
    begin.
    """
    found = []
    for name in config.stages:
        stage_config = config[name]
        if is_oracle(stage_config) and domains.target.label_paths is None:
            found.append(
                f"config.{name}.domain='target': an oracle trains on the target's labels, and"
                f" {domains.target.name} has none; unpack them, or take '{name}' out of"
                " config.stages"
            )
        is_supervised = stage_config.method == "source_only_seg"
        if is_supervised and stage_config.domain not in ("source", "target"):
            domain = stage_config.domain
            found.append(
                f"config.{name}.domain='{domain}': the labels of '{domain}' are not for training;"
                " known: source, target"
            )
        is_its_domains = is_supervised and not stage_config.transform
        if "transform" in stage_config and not is_its_domains:
            transform = stage_config.transform
            if transform not in domains.transforms:
                found.append(
                    f"config.{name}.transform='{transform}' is not in config.data.transforms;"
                    f" known: {', '.join(domains.transforms)}"
                )
        size_hw = domains.transforms["target"].size_hw
        if "target_hw" in stage_config and tuple(stage_config.target_hw) != size_hw:
            found.append(
                f"config.{name}.target_hw={tuple(stage_config.target_hw)}, and"
                f" config.data.transforms.target.size={size_hw} (height, width): a target image is"
                " judged at target_hw, which is the size that the transform gives it; set both"
                " alike"
            )
        found += _margin_problems(name, stage_config, domains)
        if stage_config.method == "pseudo_labels":
            try:
                pseudo_label_files.check_names(domains.target)
            except DataError as error:
                found.append(str(error))
    return found


def _margin_problems(name, stage_config, domains):
    """Margins that are none, or as large as a crop."""
    found, transforms = [], domains.transforms
    try:
        where = f"config.{name}.margins"
        margins = read_margins(stage_config.margins, where) if "margins" in stage_config else None
        if margins is not None:
            for size_hw in {image_size_hw(path) for path in domains.target.image_paths}:
                frame_hw = transforms["target"].largest_hw(size_hw)
                margins.check_crop(frame_hw, transforms["target"].size_hw, where)
    except DataError as error:
        found.append(str(error))
    return found


def is_oracle(stage_config):
    """Whether a stage trains on the target's labels, which nothing but a bound may do: bool."""
    return stage_config.method == "source_only_seg" and stage_config.domain == "target"
