"""Rare class sampling of a stage: the pixels of every label of a domain, counted once for all
stages of a workdir, and what is drawn by them.
"""

from dajax import console
from dajax.errors import UserError
from data_pipeline.segmentation import rare_class


def drawing(images, settings, *, domain, stage, workdir):
    """What a stage draws.

    Args:
      images: SegmentationSet with labels.
      settings: config.STAGE.rare_classes.
      domain: of the images.
      stage: its name.
      workdir: where the numbers of pixels are kept.

    Returns:
      data_pipeline.segmentation.rare_class.RareClasses.

    Raises:
      DataError: settings that no image fulfils, naming the class.
    """
    counter = console.Counter(f"{stage}: counting the pixels of each {domain} label")
    cache = workdir / f"{domain}_pixels.json"
    counts = rare_class.pixels_per_class(
        images, cache=cache, progress=counter.update, tell=console.say
    )
    counter.close()
    where = f"config.{stage}.rare_classes"
    return rare_class.from_config(
        settings, counts, images.class_names, name=images.name, where=where
    )


def is_drawn(stage_config):
    """Whether a stage draws its source so: temperature 0 is off."""
    return "rare_classes" in stage_config and bool(stage_config.rare_classes.temperature)


def check(config, domains, workdir):
    """See dajax.tasks, check_labels.

    Raises:
      DataError: as `drawing`.
      UserError: crops are asked for that the transform of the images does not make.
    """
    for name in config.stages:
        settings = config[name]
        is_centred = "rare_crops" in settings and settings.rare_crops.probability
        transform = domains.transforms.get(settings.transform) if is_centred else None
        if transform is not None and not transform.crops:
            raise UserError(
                f"config.{name}.rare_crops.probability={settings.rare_crops.probability:g}: images"
                f" of config.data.transforms.{settings.transform} are not cropped, so no crop can"
                " be centred on a rare class; set it to 0, or the transform's shorter_edge"
            )
    for name in filter(lambda name: is_drawn(config[name]), config.stages):
        settings = config[name].rare_classes
        if settings.min_crop_ratio and not domains.transforms["source"].crops:
            raise UserError(
                f"config.{name}.rare_classes.min_crop_ratio={settings.min_crop_ratio:g}: frames of"
                " the source are not cropped, so no crop can be drawn again; set it to 0, or"
                " config.data.transforms.source.fit"
            )
        drawing(domains.source, settings, domain="source", stage=name, workdir=workdir)
