"""Batches as the feeds give them, for train steps and losses."""

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
