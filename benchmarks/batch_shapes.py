"""The shapes of a batch of any method, for programs that are compiled and not run."""

import jax
import jax.numpy as jnp

from dajax.ops.class_blocks import batch_sizes
from data_pipeline.segmentation.readers import read_space

CLASSES = {"office31": 31, "visda2017": 12, "domainnet": 345}  # of published sets


class Shapes:
    """What a method's plan asks of a feed (dajax/tasks), answered with the shapes of one batch.

    Args:
      config: of a run.
      num_classes: K.
    """

    def __init__(self, config, num_classes):
        self._data, self._task, self._num_classes = config.data, config.task, num_classes

    def _images(self, count, domain, *, with_labels):
        is_photo = self._task == "classification"
        transform = self._data.transform if is_photo else self._data.transforms[domain]
        height_width = tuple(transform.size)
        part = {
            "image": jax.ShapeDtypeStruct((count, *height_width, 3), jnp.float32),
            "mask": jax.ShapeDtypeStruct((count,), jnp.bool_),
        }
        if with_labels:
            shape = (count,) if is_photo else (count, *height_width)
            part["label"] = jax.ShapeDtypeStruct(shape, jnp.int32)
        return part

    def shuffled(self, domain, batch_size, accumulate=1, margins=()):
        has_labels = self._task == "classification" and domain.startswith("source")
        part = self._images(batch_size * accumulate, domain, with_labels=has_labels)
        if margins:
            part["trusted"] = jax.ShapeDtypeStruct(part["image"].shape[:3], jnp.bool_)
        return part

    @property
    def num_sources(self):
        return len(self._data.source.split("+"))

    def with_index(self, part):
        return part | {"index": jax.ShapeDtypeStruct(part["mask"].shape, jnp.int32)}

    def with_second_view(self, part):
        return part | {"strong_image": part["image"]}

    def rare_classes(self, domain, batch_size, _settings):
        return self._images(batch_size, domain, with_labels=True)

    def normalisation(self, domain):
        transform = self._data.transforms[domain]
        return {key: transform[key] for key in ("channels", "divisor", "mean", "std")}

    def shuffled_with_labels(self, domain, batch_size, accumulate=1, transform=""):
        return self._images(batch_size * accumulate, transform or domain, with_labels=True)

    def class_balanced(self, batch_size):
        return self._images(batch_size, "source", with_labels=True)

    def with_pseudo_labels(self, batch_size, _labels_from, transform="target"):
        return self._images(batch_size, transform, with_labels=True)

    def mixed_with_pseudo_labels(self, batch_size, _labels_from, transform, _source_share):
        parts = {"source": "source", "target": transform}
        return {
            part: self._images(batch_size, name, with_labels=True) for part, name in parts.items()
        }

    def with_crops_of_rare_classes(self, part, _labels_from, _settings):
        return part

    def easy_and_hard(self, batch_size, _labels_from, _share, _favoured):
        parts = {"source": True, "target": False}
        return {
            part: self._images(batch_size, "target", with_labels=labels)
            for part, labels in parts.items()
        }

    def class_aware(self, sources, _target_labels, _kept_classes, settings, **_):
        sizes = batch_sizes(settings, self._num_classes)
        source, target = (
            self._images(sizes.classes * count, "source", with_labels=True)
            for count in (sizes.source_per_class, sizes.target_per_class)
        )
        del target["label"]
        return [source for _ in sources], target


def num_classes(config):
    """K of a run's published sets."""
    if config.task == "classification":
        return CLASSES[config.data.dataset]
    return len(read_space(config.data.source).class_names)
