"""Opens the sets of a segmentation run. See dajax.tasks for what the functions are asked."""

import os

from dajax import console
from dajax.errors import UserError
from dajax.tasks.common import Domains, strong_view_settings, with_fast_reading
from data_pipeline.appearance import Appearance
from data_pipeline.errors import DataError
from data_pipeline.scenes import sets as scenes
from data_pipeline.segmentation import class_csv
from data_pipeline.segmentation import readers as seg_readers
from data_pipeline.segmentation import transforms as seg_transforms
from data_pipeline.segmentation.held_out import split_source
from data_pipeline.segmentation.image_list import listed_in

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


def is_oracle(stage_config):
    """Whether a stage trains on the target's labels, which nothing but a bound may do: bool."""
    return stage_config.method == "source_only_seg" and stage_config.domain == "target"
