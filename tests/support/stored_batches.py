"""The batches whose checksums tests/golden/stored_batches.npz holds: made of drawn images, through
every path of both pipelines and both feeds.

    PYTHONPATH=.:tests/support python tests/support/stored_batches.py

writes the file anew, for a change that is meant to change batches.
"""

import io
import pathlib
import tempfile
import types
import zlib

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from dajax.tasks.classification.feed import Feed
from dajax.tasks.segmentation.feed import SegFeed
from data_pipeline.classification import pipeline
from data_pipeline.classification.class_aware import ClassAwareSampler
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.transforms import Affine, ResizedCrop, Transform
from data_pipeline.sampling import make_key, random_rows, sequential_rows
from data_pipeline.segmentation import class_balanced, pseudo_label_files
from data_pipeline.segmentation import pipeline as seg_pipeline
from data_pipeline.segmentation import transforms as seg_transforms
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.labels import CITYSCAPES
from data_pipeline.segmentation.segmentation_set import SegmentationSet

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "stored_batches.npz"
# Of a byte: float32 holds (byte / 255 - mean) / std to about 1e-5 of it, and nothing that is half
# a byte off may pass for one.
BYTE_TOLERANCE = 1e-3

IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
WARPED = Transform((16, 16), (0.5,), (0.5,), affine=Affine(0.3, 0.1, 0.1, 2.0))
CROPPED = Transform((24, 24), **IMAGENET, resize_hw=(28, 30), crop="random", flip=True)
RESIZED_CROP = ResizedCrop(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
WHOLE = dict(
    size=(24, 48),
    resize="bicubic",
    image_scales=(),
    shorter_edge=None,
    scale_range=None,
    flip=True,
    color_jitter=None,
    channels="bgr",
    divisor=1.0,
    mean=(104.00698793, 116.66876762, 122.67891434),
    std=(1.0, 1.0, 1.0),
)
JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
DIVIDED = dict(channels="rgb", divisor=255.0, **IMAGENET)
SEG_CASES = {
    "whole": {},
    "jitter_after": dict(color_jitter=dict(**JITTER, before_geometry=False)),
    "jitter_before": dict(
        color_jitter=dict(**JITTER, before_geometry=True), shorter_edge=(26, 34), **DIVIDED
    ),
    "image_scales": dict(image_scales=((0.3, 0.8), (0.7, 1.0), (1.0, 1.1))),
    "shorter_edge": dict(shorter_edge=(24, 40), resize="bilinear", **DIVIDED),
    "scale_range": dict(scale_range=(0.9, 1.6), flip=False),
}


def drawn(number, height, width, channels=3):
    """A picture of stripes and slopes, uint8 [height, width, channels], by integers alone."""
    y, x, c = np.mgrid[:height, :width, :channels]
    return ((5 * x + 3 * y + 40 * c + 17 * number + (x * y * (c + 1)) // 11) % 256).astype(np.uint8)


def drawn_ids(number, height, width):
    """Cityscapes' ids 7..12 in blocks, uint8 [height, width]."""
    y, x = np.mgrid[:height, :width]
    return (7 + (x // 9 + y // 7 + number) % 6).astype(np.uint8)


def encoded(image):
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def image_sets(folder):
    """{"memory": gray of 16x16, "color": RGB of 28x30 in memory, "files": PNG of several sizes}."""
    labels = (np.arange(11) % 3).astype(np.int32)
    paths = []
    for i in range(11):
        paths.append(str(folder / f"photo{i}.png"))
        Image.fromarray(drawn(i, 30 + 3 * i, 52 - 2 * i)).save(paths[-1])
    names = ("a", "b", "c")
    gray = np.stack([drawn(i, 16, 16, 1) for i in range(11)])
    color = np.stack([drawn(i, 31, 33) for i in range(11)])
    return {
        "memory": ImageSet("memory", names, labels, images=gray),
        "color": ImageSet("color", names, labels, images=color),
        "files": ImageSet("files", names, labels, paths=tuple(paths)),
    }


def segmentation_set(folder, count=7):
    """Pairs in Cityscapes' ids; the last two of another size than the others."""
    image_paths, label_paths = [], []
    for i in range(count):
        height, width = (40, 80) if i < count - 2 else (45, 100)
        image_paths.append(str(folder / f"image{i}.png"))
        label_paths.append(str(folder / f"label{i}.png"))
        Image.fromarray(drawn(i, height, width)).save(image_paths[-1])
        Image.fromarray(drawn_ids(i, height, width)).save(label_paths[-1])
    return SegmentationSet("frames", tuple(image_paths), tuple(label_paths), CITYSCAPES, read_ids)


def checksum(array):
    """CRC-32 of an array's type, shape and bytes."""
    array = np.ascontiguousarray(array)
    head = f"{array.dtype.str}{array.shape}".encode()
    return np.uint32(zlib.crc32(array.tobytes(), zlib.crc32(head)))


def as_bytes(image, mean, std, divisor):
    """The uint8 values that a batch of normalised images was made of, which are the same on every
    processor. Raises AssertionError where a value is none of a byte.
    """
    values = image.astype(np.float64) * np.array(std) + np.array(mean)
    values *= divisor
    found = np.rint(values)
    assert np.abs(values - found).max(initial=0) < BYTE_TOLERANCE
    return found.astype(np.uint8)


def checksums(batch, transform, key="image"):
    """{field: checksum} of one part's batch; of its images those of the bytes of real rows, and
    whether padded ones are 0.
    """
    divisor = getattr(transform, "divisor", 255.0)
    mask = batch["mask"]
    found = {name: checksum(value) for name, value in batch.items() if name != key}
    found["pixels"] = checksum(as_bytes(batch[key][mask], transform.mean, transform.std, divisor))
    found["padding"] = np.uint32(np.abs(batch[key][~mask]).sum())
    return found


def stacked(dicts):
    """[{field: value}, ...] -> {field: [steps]}."""
    dicts = list(dicts)
    return {name: np.array([one[name] for one in dicts]) for name in dicts[0]}


def classification_cases(folder):
    """{case: {field: values}} of the classification pipeline."""
    sets, cases = image_sets(folder), {}

    def shuffled(image_set, transform, with_labels=True):
        key, count = make_key(3, "order"), len(image_set)
        return pipeline.Part(
            image_set=image_set,
            rows=lambda step: random_rows(step, 4, count, key),
            transform=transform,
            key=make_key(3, "views"),
            with_labels=with_labels,
        )

    def in_order(image_set, transform):
        return pipeline.Part(
            image_set=image_set,
            rows=lambda step: sequential_rows(step, 4, len(image_set)),
            transform=transform,
            key=make_key(4, "pass"),
            with_labels=True,
        )

    resized_crop = Transform((24, 24), **IMAGENET, crop=RESIZED_CROP, flip=True)
    parts = {
        "memory_cropped": shuffled(sets["color"], CROPPED),
        "files_cropped": shuffled(sets["files"], CROPPED),
        "files_resized_crop": shuffled(sets["files"], resized_crop, with_labels=False),
        "files_padded": in_order(sets["files"], CROPPED),
        "memory_padded": in_order(sets["color"], CROPPED.for_evaluation()),
    }
    with pipeline.batches(parts, 1, 4) as stream:
        batches = list(stream)
    for name, part in parts.items():
        cases[name] = stacked(checksums(batch[name], part.transform) for batch in batches)
    # In both ways at once: one part, and of padded rows, which stay 0 whatever the warp.
    part = in_order(sets["memory"], WARPED)
    with pipeline.batches({"warped": part}, 1, 3) as stream:
        warped = [batch["warped"] for batch in stream]
    cases["memory_warped"] = {
        "image": np.stack([batch["image"] for batch in warped]),
        **stacked(
            {name: checksum(value) for name, value in batch.items() if name != "image"}
            for batch in warped
        ),
    }
    return cases


def segmentation_cases(folder):
    """{case: {field: values}} of the segmentation pipeline."""
    images, cases = segmentation_set(folder), {}
    parts = {
        name: seg_pipeline.SegPart(
            image_set=images,
            rows=lambda step: np.append((np.arange(2) + 2 * step) % 7, -1),
            transform=seg_transforms.from_config(WHOLE | settings),
            key=make_key(5, name),
            with_labels=True,
        )
        for name, settings in SEG_CASES.items()
    }
    parts["unlabelled"] = seg_pipeline.SegPart(
        image_set=images.without_labels(),
        rows=lambda step: random_rows(step, 3, 7, make_key(6, "order")),
        transform=parts["whole"].transform,
        key=make_key(6, "views"),
        with_labels=False,
    )
    with seg_pipeline.batches(parts, 0, 4) as stream:
        batches = list(stream)
    for name, part in parts.items():
        cases[f"seg_{name}"] = stacked(checksums(batch[name], part.transform) for batch in batches)
    transform = parts["jitter_before"].transform.for_evaluation()
    passes = {
        "evaluation": seg_pipeline.evaluation_batches(images, transform, 3),
        "evaluation_unlabelled": seg_pipeline.evaluation_batches(
            images, transform, 3, with_labels=False
        ),
        "one_pass": seg_pipeline.one_pass(images, transform, 3),
    }
    for name, batches in passes.items():
        cases[f"seg_{name}"] = stacked(checksums(batch, transform) for batch in batches)
    return cases


def row_cases():
    """{case: {field: values}} of class-aware and class-balanced rows."""
    number = np.arange(40)
    sampler = ClassAwareSampler.from_labels(
        [number % 5, (number * 7 // 3) % 5],
        np.where(number % 6 == 0, -1, number // 8),
        np.array([True, True, False, True, True]),
        num_selected=3,
        source_per_class=3,
        target_per_class=4,
        update_fraction=0.5,
    )
    steps = [sampler.rows(step, make_key(7, "loop")) for step in (0, 1, 8)]
    present = (number[:, None] * np.array([1, 3, 7, 11])) % (2, 5, 9, 13) == 0
    balanced = [class_balanced.rows(step, 8, present, make_key(8, "rare")) for step in (0, 3, 375)]
    return {
        "class_aware": {
            "sources": np.stack([sources for sources, _, _ in steps]),
            "target": np.stack([target for _, target, _ in steps]),
            "classes": np.stack([classes for _, _, classes in steps]),
        },
        "class_balanced": {"rows": np.stack(balanced)},
    }


def part_case(part, steps=(0, 1, 9)):
    """Rows and key of a part that a feed has made."""
    return {"rows": np.stack([part.rows(step) for step in steps]), "key": np.uint64(part.key)}


def feed_cases(folder):
    """{case: {field: values}} of what methods ask the two feeds for."""
    sets = image_sets(folder)
    feed = Feed(
        (sets["files"], sets["files"]),
        sets["files"],
        sets["files"],
        transforms={"train": CROPPED, "eval": CROPPED.for_evaluation()},
        seed=9,
        stage="can",
        devices=jax.devices()[:1] * 2,
    )
    settings = ConfigDict(
        dict(
            num_classes=2,
            source_per_class=2,
            target_per_class=3,
            max_share=1.0,
            update_fraction=0.5,
        )
    )
    sources, target = feed.class_aware(
        ("source0", "source1"),
        np.arange(11, dtype=np.int32) % 3,
        np.array([True, False, True]),
        settings,
        first_step=0,
        name="loop1",
    )
    parts = {name: feed.shuffled(name, 4) for name in ("source", "source1", "target")}
    parts |= {"class_source1": sources[1], "class_target": target}
    cases = {f"feed_{name}": part_case(part) for name, part in parts.items()}
    for name, batches in {
        "sequence": feed.sequence("target", 3, views="train", name="clustering1"),
        "sequence_eval": feed.sequence("source1", 3, views="eval", name="clustering1"),
        "evaluation": feed.evaluation(5),
    }.items():
        cases[f"feed_{name}"] = stacked(checksums(batch, CROPPED) for batch in batches)
    return cases | seg_feed_cases(folder)


def seg_feed_cases(folder):
    """Those of the feed of segmentation."""
    images = segmentation_set(folder)
    transforms = {
        name: seg_transforms.from_config(WHOLE | SEG_CASES[case])
        for name, case in (
            ("source", "image_scales"),
            ("target", "shorter_edge"),
            ("strong", "jitter_before"),
        )
    }
    transforms["evaluation"] = transforms["target"].for_evaluation()
    domains = types.SimpleNamespace(
        source=images,
        target=images,
        evaluation=images,
        class_names=images.class_names,
        transforms=transforms,
        strong_view=None,
        held_out=(),
    )
    feed = SegFeed(
        domains,
        seed=9,
        stage="spcl",
        directory=folder / "spcl",
        devices=jax.devices()[:1] * 2,
        is_oracle=False,
    )
    labels = [images.read_label(index) for index in range(len(images))]
    made = folder / "warm_up_labels" / "pseudo_labels"
    pseudo_label_files.write(made, images.without_labels(), labels, origin={"rule": "itself"})
    parts = {
        "source": feed.shuffled_with_labels("source", 2),
        "source_strong": feed.shuffled_with_labels("source", 2, transform="strong"),
        "target": feed.shuffled("target", 2),
        "accumulated": feed.shuffled("target", 2, 3),
        "balanced": feed.class_balanced(2),
        "pseudo": feed.with_pseudo_labels(2, "warm_up_labels"),
    }
    cases = {f"seg_feed_{name}": part_case(part) for name, part in parts.items()}
    for name, transform, batches in (
        ("source_pass", transforms["source"], feed.source_pass(3)),
        ("target_pass", transforms["evaluation"], feed.target_pass(3)),
        ("evaluation", transforms["evaluation"], feed.evaluation(3)),
    ):
        cases[f"seg_feed_{name}"] = stacked(checksums(batch, transform) for batch in batches)
    with feed.steps({"pseudo": parts["pseudo"]}, 0, 2) as stream:
        cases["seg_feed_pseudo"] |= stacked(
            {
                name: value
                for name, value in checksums(batch["pseudo"], transforms["target"]).items()
                if name != "index"
            }
            for batch in stream
        )
    return cases


def all_cases(folder):
    """{"case/field": values} of everything here, in a folder that is empty."""
    cases = classification_cases(folder) | segmentation_cases(folder) | row_cases()
    cases |= feed_cases(folder)
    return {
        f"{case}/{name}": value for case, found in cases.items() for name, value in found.items()
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        np.savez_compressed(GOLDEN, **all_cases(pathlib.Path(folder)))
