"""Batches as the feeds give them, for train steps and losses."""

import jax
import numpy as np

IGNORED = 255


def part(images, label=None, mask=None):
    """One part of a batch, of numpy arrays: image, mask (by default all True) and, where there is
    one, label.
    """
    images = np.asarray(images)
    mask = np.ones(len(images), bool) if mask is None else np.array(mask, bool)
    assert mask.shape == (len(images),)
    found = {"image": images, "mask": mask}
    return found if label is None else found | {"label": np.asarray(label, np.int32)}


def images_and_labels(seed, shape, num_classes, *, parts=2):
    """Random images float32 [parts, *shape] and labels int32 [shape without channels]."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(parts, *shape)).astype(np.float32)
    return images, rng.integers(0, num_classes, shape[:-1]).astype(np.int32)


def labelled_source_and_target(seed, shape, num_classes):
    """{"source": with labels, "target": without}; random images of `shape` [N, ..., C], labels of
    its leading axes.
    """
    (source, target), labels = images_and_labels(seed, shape, num_classes)
    return {"source": part(source, labels), "target": part(target)}


def shapes(*sizes_hw):
    """What a feed's `shapes` says of a domain with images of these sizes, labels of the first."""
    struct = jax.ShapeDtypeStruct
    return [
        {
            "image": struct((1, *size_hw, 3), np.float32),
            "label": struct((1, *sizes_hw[0]), np.int32),
            "mask": struct((1,), bool),
        }
        for size_hw in sizes_hw
    ]
