"""Digits-Five (Peng et al., "Moment Matching for Multi-Source Domain Adaptation", ICCV 2019) as
downloaded from M3SDA's repository, files of MATLAB:

    <root>/mnist_data.mat          train_32, test_32; label_train, label_test
    <root>/mnistm_with_label.mat   train, test; label_train, label_test
    <root>/svhn_train_32x32.mat    X, y; and svhn_test_32x32.mat
    <root>/syn_number.mat          train_data, test_data; train_label, test_label
    <root>/usps_28x28.mat          dataset, two by two: images and labels

The protocol is the authors': of each domain 25,000 training images, chosen at random, and the first
9,000 test images, all of them where there are fewer (USPS). Every image is brought to 32 x 32
pixels in three channels.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_pipeline.classification.image_set import ImageSet
from data_pipeline.decode import describe_error
from data_pipeline.errors import DataError
from data_pipeline.files.names import data_root, hint, is_file, names_in
from data_pipeline.preprocess import resize
from data_pipeline.sampling import make_key, permuted

CLASS_NAMES = tuple("0123456789")
SIDE = 32
# M3SDA's datasets/*.py; which 25,000 its code draws anew for each run, here they are always the
# same.
MOST = {"train": 25_000, "test": 9_000}


class _Source(NamedTuple):
    """Where a split of a domain lies: a file and its variables of images and labels."""

    file: str
    images: str
    labels: str


FILES = {
    "mnist": {
        "train": _Source("mnist_data.mat", "train_32", "label_train"),
        "test": _Source("mnist_data.mat", "test_32", "label_test"),
    },
    "mnistm": {
        "train": _Source("mnistm_with_label.mat", "train", "label_train"),
        "test": _Source("mnistm_with_label.mat", "test", "label_test"),
    },
    "svhn": {
        "train": _Source("svhn_train_32x32.mat", "X", "y"),
        "test": _Source("svhn_test_32x32.mat", "X", "y"),
    },
    "syn": {
        "train": _Source("syn_number.mat", "train_data", "train_label"),
        "test": _Source("syn_number.mat", "test_data", "test_label"),
    },
    "usps": {
        "train": _Source("usps_28x28.mat", "dataset", "dataset"),
        "test": _Source("usps_28x28.mat", "dataset", "dataset"),
    },
}
DOMAINS = tuple(FILES)


def read_domains(
    root: str | os.PathLike,
    sources: Sequence[str],
    target: str,
    *,
    source_split: str,
    target_split: str,
    evaluation_split: str,
) -> tuple[tuple[ImageSet, ...], ImageSet, ImageSet]:
    """Labelled sources, the target to adapt to and the target images to measure on; all in memory,
    uint8 [N, 32, 32, 3]. The last two are one object where both are of one split.

    Args:
      source_split, target_split, evaluation_split: "train" or "test".
    Raises: DataError for a missing or broken file, another content than above, an unknown split.
    """
    for key, split in (
        ("source_split", source_split),
        ("target_split", target_split),
        ("evaluation_split", evaluation_split),
    ):
        if split not in MOST:
            raise DataError(
                f"config.data.{key}={split!r}: no split of that name; known: {', '.join(MOST)}"
            )
    root = data_root(root)
    adapted_to = _read_set(root, target, target_split)
    is_one = target_split == evaluation_split
    measured_on = adapted_to if is_one else _read_set(root, target, evaluation_split)
    return (
        tuple(_read_set(root, source, source_split) for source in sources),
        adapted_to,
        measured_on,
    )


def _read_set(root, domain, split) -> ImageSet:
    source = FILES[domain][split]
    path = root / source.file
    variables = _load(path, {source.images, source.labels})
    if domain == "usps":
        images, labels = _of_usps(variables["dataset"], split, path)
    else:
        images, labels = variables[source.images], variables[source.labels]
    if domain == "svhn" and images.ndim == 4:
        images = images.transpose(3, 0, 1, 2)  # [32, 32, 3, N]
    labels = _class_ids(labels, path)
    if images.ndim not in (3, 4) or len(images) != len(labels):
        raise DataError(
            f"{path}: {source.images} is {list(images.shape)}, with {len(labels)} labels; expected"
            " an image for each: use the file as downloaded"
        )
    rows = np.arange(min(len(images), MOST[split]))
    if split == "train":
        rows = np.sort(permuted(rows, len(images), make_key(0, "digits_five", domain)))
    pixels = np.stack([_as_rgb(image, path) for image in _as_bytes(images[rows])])
    return ImageSet(f"digits_five/{domain}/{split}", CLASS_NAMES, labels[rows], pixels)


def _load(path, names) -> dict[str, np.ndarray]:
    """Variables of a file of MATLAB."""
    from scipy.io import loadmat  # takes a while

    if not is_file(path):
        raise DataError(
            f"{path}: no such file{hint(path.name, names_in(path.parent))}; put the files of"
            " M3SDA's download of Digits-Five there"
        )
    try:
        found = loadmat(path, variable_names=sorted(names))
    # of a broken file scipy raises anything: ValueError, zlib.error, struct.error ...
    except Exception as error:
        raise DataError(
            f"{path}: cannot be read: {describe_error(error)}; download it again"
        ) from error
    for name in sorted(names):
        if name not in found:
            raise DataError(f"{path}: has no variable {name!r}; use the file as downloaded")
    return {name: found[name] for name in names}


def _of_usps(dataset, split, path):
    """Images [N, 28, 28] and labels of a cell array: of each split its images and its labels."""
    if dataset.shape != (2, 2):
        raise DataError(
            f"{path}: dataset is {list(dataset.shape)}; expected 2 x 2 cells: use the file as"
            " downloaded"
        )
    images, labels = dataset[("train", "test").index(split)]
    return np.asarray(images).reshape(len(images), 28, 28), labels


def _class_ids(labels, path) -> np.ndarray:
    """int32 [N] of one column, or of ten with a 1 in the class's; 10 stands for 0 in SVHN."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == len(CLASS_NAMES):
        return labels.argmax(axis=1).astype(np.int32)
    ids = labels.ravel().astype(np.int32)
    ids = np.where(ids == len(CLASS_NAMES), 0, ids)
    if len(ids) and not 0 <= ids.min() <= ids.max() < len(CLASS_NAMES):
        raise DataError(
            f"{path}: labels are {ids.min()} to {ids.max()}; expected 0 to 10: use the file as"
            " downloaded"
        )
    return ids


def _as_bytes(images) -> np.ndarray:
    """uint8 of pixels that are 0..255, or 0..1 as USPS' are."""
    if images.dtype == np.uint8:
        return images
    scale = 255.0 if np.issubdtype(images.dtype, np.floating) and images.max() <= 1.0 else 1.0
    return np.clip(np.rint(images * scale), 0, 255).astype(np.uint8)


def _as_rgb(image, path) -> np.ndarray:
    """uint8 [32, 32, 3] of one image, [H, W] or [H, W, 1 or 3]; enlarged bilinearly, as M3SDA's
    loader does.
    """
    image = image[:, :, None] if image.ndim == 2 else image
    if image.shape[2] not in (1, 3):
        raise DataError(
            f"{path}: an image is {list(image.shape)}; expected one or three channels: use the file"
            " as downloaded"
        )
    if image.shape[:2] != (SIDE, SIDE):
        image = resize(image, (SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.broadcast_to(image, (SIDE, SIDE, 3))
