"""Small sets are decoded once: the batches are the same bits with and without, whatever asks for
them, and the bound is on bytes that are known before anything is decoded.
"""

import dataclasses
import threading

import numpy as np
import pytest
from PIL import Image

from data_pipeline import DataError, ImageSet
from data_pipeline.classification import image_set as image_sets
from data_pipeline.classification.folder import read_folder
from data_pipeline.classification.image_set import merged
from data_pipeline.classification.kept_images import keep_small_sets
from data_pipeline.classification.pipeline import Part, batches
from data_pipeline.classification.transforms import ResizedCrop, Transform, from_config
from data_pipeline.sampling import make_key, random_rows, sequential_rows

SIZE = (20, 20)
MIB = 2**20
VIEWS = from_config(
    dict(
        size=16,
        resize=SIZE,
        crop="random",
        flip=True,
        affine=dict(rotate_rad=0.2, shear=0.1, scale=0.1, shift_px=1.0),
        appearance=dict(
            color_jitter=dict(
                brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, probability=0.8
            ),
            blur=None,
        ),
        invert=0.3,
        erase=dict(probability=0.5, area=(0.02, 0.33), ratio=(0.3, 3.3)),
        mean=(0.5,),
        std=(0.25,),
    )
)


@pytest.fixture
def photos(tmp_path):
    """{domain: ImageSet} of 9 and 5 photos of several sizes."""
    generator = np.random.default_rng(0)
    for domain, count in (("a", 9), ("b", 5)):
        for i in range(count):
            path = tmp_path / domain / "xy"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (21 + i, 30 - i, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    return {domain: read_folder(tmp_path, domain) for domain in "ab"}


@pytest.fixture
def decoded(monkeypatch):
    """The files that have been decoded, in order."""
    paths, decode = [], image_sets.read_picture

    def counted(path, needed_hw=None):
        paths.append(path)
        return decode(path, needed_hw)

    monkeypatch.setattr(image_sets, "read_picture", counted)
    return paths


def keep(*sets, sizes_hw=(SIZE,), max_mib=1.0):
    return keep_small_sets(sets, sizes_hw, max_mib)


def shuffled(images, transform=VIEWS, strong_view=None):
    def rows(step):
        return random_rows(step, 4, len(images), make_key(0, "order"))

    return Part(images, rows, transform, make_key(0, "views"), True, strong_view=strong_view)


def in_order(images):
    def rows(step):
        return sequential_rows(step, 4, len(images))

    return Part(images, rows, VIEWS.for_evaluation(), 0, images.has_labels)


def all_of(parts, steps=3):
    return [
        {(part, key): value for part, of in batch.items() for key, value in of.items()}
        for batch in batches(parts, 0, steps)
    ]


def assert_same(found, expected):
    for batch, other in zip(found, expected, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key], err_msg=str(key))


@pytest.mark.parametrize(
    "transform",
    [
        VIEWS,
        Transform(SIZE, (0.5,), (0.5,), resize_hw=SIZE),  # nothing cropped: a copy all the same
    ],
)
def test_shuffled_batches_and_sequences_are_the_same_bits_with_and_without(photos, transform):
    images = photos["a"]
    (kept,) = keep(images)
    expected = all_of({"x": shuffled(images, transform), "y": in_order(images)})
    for _ in range(2):  # as it fills, and when it is full
        assert_same(all_of({"x": shuffled(kept, transform), "y": in_order(kept)}), expected)


def test_every_file_is_decoded_once_for_every_part_and_every_stage(photos, decoded):
    a, b = keep(*photos.values())
    for _ in range(2):  # each stage merges its sources and takes the target's labels away anew
        source, target = merged([a, b]), b.without_labels()
        assert not target.has_labels
        all_of({"source": in_order(source), "a": shuffled(a), "target": in_order(target)}, steps=4)
    assert sorted(decoded) == sorted([*a.paths, *b.paths])


def test_two_views_of_an_image_decode_it_once_and_keep_both_sizes(photos, decoded):
    part_of_it = ResizedCrop((0.2, 1.0), (0.75, 1.5))
    strong = dataclasses.replace(VIEWS, resize_hw=(24, 24), crop=part_of_it)
    expected = all_of({"x": shuffled(photos["a"], strong_view=strong)}, steps=2)
    assert len(decoded) == 8 == len(set(decoded)), "without a place: once for each row"
    decoded.clear()
    (kept,) = keep(photos["a"], sizes_hw=(SIZE, (24, 24)))
    assert_same(all_of({"x": shuffled(kept, strong_view=strong)}, steps=2), expected)
    assert len(decoded) == 8
    assert kept.kept.num_bytes == 9 * 3 * (20 * 20 + 24 * 24)


def test_the_smallest_sets_that_fit_together_are_kept(photos, decoded):
    a, b = photos["a"], photos["b"]
    of_one = 20 * 20 * 3 / MIB
    for images, expected in ((14, "ab"), (13, "b"), (5, "b"), (4.9, ""), (0, "")):
        found = keep(a, b, max_mib=images * of_one)
        assert "".join(one.name for one in found if one.kept is not None) == expected, images
    assert not decoded, "nothing need be decoded to know"
    part = keep(a, b, max_mib=13 * of_one)
    for row in [*range(14), *range(14)]:
        source = merged(part)
        source.resized(row, SIZE, lambda _, r=row, s=source: s.read(r))
    assert len(decoded) == 9 + 9 + 5, "of a merged set, the part that fits"


def test_a_set_that_serves_twice_stays_one_object_and_counts_once(photos):
    target, evaluation = keep(photos["a"], photos["a"], max_mib=9 * 20 * 20 * 3 / MIB)
    assert target is evaluation and target.kept is not None


def test_a_set_of_images_that_are_not_resized_or_lie_in_memory_is_left_alone(photos):
    assert keep(photos["a"], sizes_hw=(SIZE, None)) == (photos["a"],)
    pixels = np.zeros((3, 8, 8, 3), np.uint8)
    memory = ImageSet("m", ("x",), np.zeros(3, np.int32), pixels)
    assert keep(memory)[0] is memory


def test_records_are_kept_as_files_are(photos, decoded, monkeypatch):
    records = tuple(open(path, "rb").read() for path in photos["b"].paths)
    plain = ImageSet("r", ("x", "y"), photos["b"].labels, records=records)
    (kept,) = keep(plain)
    assert_same(all_of({"x": shuffled(kept)}), all_of({"x": shuffled(plain)}))
    monkeypatch.setattr(image_sets, "decode_picture", None)
    all_of({"x": shuffled(kept)})


def test_a_kept_image_cannot_be_written_to(photos):
    (kept,) = keep(photos["b"])
    for _ in range(2):
        image = kept.resized(0, SIZE, lambda _: kept.read(0))
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 1
    kept.resized(1, SIZE, lambda _: kept.read(1))
    assert kept.kept.find(1, SIZE) is not None


def test_many_threads_find_the_same_pixels(photos):
    (kept,) = keep(photos["a"])
    expected = [
        photos["a"].resized(row, SIZE, lambda _, r=row: photos["a"].read(r)) for row in range(9)
    ]
    wrong = []

    def read_all():
        for row in [*range(9), *range(9)]:
            found = kept.resized(row, SIZE, lambda _, r=row: kept.read(r))
            if not np.array_equal(found, expected[row]):
                wrong.append(row)

    threads = [threading.Thread(target=read_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_broken_file_of_a_kept_set_is_named_each_time(photos):
    (kept,) = keep(photos["b"])
    with open(kept.paths[2], "wb") as file:
        file.write(b"nothing")
    for _ in range(2):
        with pytest.raises(DataError, match=kept.paths[2]):
            all_of({"x": in_order(kept)}, steps=2)
