"""From a step number to a batch."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_pipeline import DataError, ImageSet
from data_pipeline.classification.folder import read_domains, read_folder
from data_pipeline.classification.image_set import merged
from data_pipeline.classification.pipeline import Part, batches
from data_pipeline.classification.transforms import (
    Affine,
    ResizedCrop,
    Transform,
    apply_evaluation,
)
from data_pipeline.sampling import (
    make_key,
    num_sequential_steps,
    random_rows,
    sequential_rows,
)

REPOSITORY = pathlib.Path(__file__).parents[3]
AUGMENTED = Transform((16, 16), mean=(0.5,), std=(0.5,), affine=Affine(0.3, 0.1, 0.1, 2.0))
FROM_FILES = Transform(
    (24, 24),
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.3, 0.4),
    resize_hw=(28, 28),
    crop="random",
    flip=True,
)


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].keys() == second[name].keys()
        for field in first[name]:
            np.testing.assert_array_equal(
                first[name][field], second[name][field], err_msg=f"{name}/{field}"
            )


@pytest.fixture
def memory_set():
    images = np.random.default_rng(0).integers(0, 256, (23, 16, 16, 1), dtype=np.uint8)
    return ImageSet("noise", ("a", "b"), (np.arange(23) % 2).astype(np.int32), images)


@pytest.fixture
def file_set(tmp_path):
    """Thirteen images of different sizes in all the formats."""
    generator = np.random.default_rng(0)
    for i in range(13):
        path = tmp_path / "domain" / "ab"[i % 2] / f"{i:02d}.{('jpg', 'png', 'bmp')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((30 + 3 * i, 50 - 2 * i), Image.Resampling.BICUBIC).save(path)
    return read_folder(tmp_path, "domain")


def shuffled(image_set, transform, batch_size=5, with_labels=True, name="part"):
    return Part(
        image_set,
        lambda step: random_rows(step, batch_size, len(image_set), make_key(0, name, "order")),
        transform,
        make_key(0, name, "augmentation"),
        with_labels,
    )


def in_order(image_set, transform, batch_size=5):
    return Part(
        image_set,
        lambda step: sequential_rows(step, batch_size, len(image_set)),
        transform,
        0,
        True,
    )


def test_every_step_can_be_asked_for_directly(memory_set, file_set):
    parts = {
        "source": shuffled(memory_set, AUGMENTED, name="source"),
        "target": shuffled(file_set, FROM_FILES, 3, with_labels=False, name="target"),
    }
    whole = list(batches(parts, 0, 9))
    assert len(whole) == 9
    for start, stop in ((4, 9), (8, 9)):
        for step, batch in zip(range(start, stop), batches(parts, start, stop), strict=True):
            assert_same(batch, whole[step])
    assert list(batches(parts, 3, 3)) == []


def test_the_shapes_and_types_are_those_promised(memory_set, file_set):
    parts = {"memory": shuffled(memory_set, AUGMENTED), "files": shuffled(file_set, FROM_FILES, 3)}
    batch = next(batches(parts, 0, 1))
    for name, rows, shape in (("memory", 5, (16, 16, 1)), ("files", 3, (24, 24, 3))):
        found = {field: (value.dtype, value.shape) for field, value in batch[name].items()}
        assert found == {
            "image": (np.float32, (rows, *shape)),
            "mask": (bool, (rows,)),
            "index": (np.int32, (rows,)),
            "label": (np.int32, (rows,)),
        }


def test_labels_belong_to_their_images(memory_set):
    part = dataclasses.replace(
        shuffled(memory_set, AUGMENTED), transform=dataclasses.replace(AUGMENTED, affine=None)
    )
    for batch in batches({"a": part}, 0, 4):
        batch = batch["a"]
        np.testing.assert_array_equal(batch["label"], memory_set.labels[batch["index"]])
        # float32
        np.testing.assert_allclose(
            batch["image"], memory_set.images[batch["index"]] / 127.5 - 1, atol=1e-6
        )


def test_without_labels_none_enter_the_batch(memory_set):
    batch = next(batches({"target": shuffled(memory_set, AUGMENTED, with_labels=False)}, 0, 1))
    assert set(batch["target"]) == {"image", "mask", "index"}
    with pytest.raises(DataError, match="part 'target' wants labels and noise has none"):
        batches({"target": shuffled(memory_set.without_labels(), AUGMENTED)}, 0, 1)


def test_each_image_is_augmented_anew_at_each_step(memory_set):
    part = dataclasses.replace(
        shuffled(memory_set, AUGMENTED), rows=lambda step: np.zeros(2, np.int64)
    )
    images = np.concatenate([batch["part"]["image"] for batch in batches({"part": part}, 0, 3)])
    assert len({image.tobytes() for image in images}) == 6


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_evaluation_shows_every_image_once_and_pads_the_last_batch(kind, memory_set, file_set):
    image_set, transform = (memory_set, AUGMENTED) if kind == "memory" else (file_set, FROM_FILES)
    part = in_order(image_set, transform.for_evaluation())
    steps = num_sequential_steps(len(image_set), 5)
    rows = [batch["part"] for batch in batches({"part": part}, 0, steps)]
    mask, index, image, label = (
        np.concatenate([row[field] for row in rows])
        for field in ("mask", "index", "image", "label")
    )
    np.testing.assert_array_equal(index[mask], np.arange(len(image_set)))
    assert (~mask).sum() == steps * 5 - len(image_set) > 0
    assert not image[~mask].any() and (label[~mask] == -1).all() and (index[~mask] == -1).all()
    np.testing.assert_array_equal(label[mask], image_set.labels)


def test_files_evaluate_to_what_prediction_computes_without_tensorflow(file_set):
    transform = FROM_FILES.for_evaluation()
    batch = next(batches({"part": in_order(file_set, transform, 13)}, 0, 1))["part"]
    images = [np.asarray(Image.open(path).convert("RGB")) for path in file_set.paths]
    # float32 rounding
    np.testing.assert_allclose(
        batch["image"], apply_evaluation(images, transform), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    "crop", ["random", "center", ResizedCrop(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))]
)
def test_images_in_memory_are_cropped_and_flipped_like_files(file_set, crop):
    images = np.stack(
        [np.asarray(Image.open(path).convert("RGB").resize((30, 30))) for path in file_set.paths]
    )
    for path, image in zip(file_set.paths, images, strict=True):
        Image.fromarray(image).save(path + ".png")
    saved = dataclasses.replace(file_set, paths=tuple(path + ".png" for path in file_set.paths))
    in_memory = ImageSet("memory", file_set.class_names, file_set.labels, images)
    transform = dataclasses.replace(FROM_FILES, crop=crop)
    parts = {"files": shuffled(saved, transform), "memory": shuffled(in_memory, transform)}
    batch = next(batches(parts, 2, 3))
    np.testing.assert_array_equal(batch["files"]["image"], batch["memory"]["image"])
    again = next(batches(parts, 2, 3))
    np.testing.assert_array_equal(batch["files"]["image"], again["files"]["image"])


def test_records_give_the_pixels_of_the_files_that_they_hold(file_set):
    encoded = tuple(pathlib.Path(path).read_bytes() for path in file_set.paths)
    records = ImageSet("records", file_set.class_names, file_set.labels, records=encoded)
    batch = next(
        batches(
            {"files": shuffled(file_set, FROM_FILES), "records": shuffled(records, FROM_FILES)},
            2,
            3,
        )
    )
    assert_same({"": batch["files"]}, {"": batch["records"]})


def test_records_are_merged_without_a_copy_and_told_apart_by_their_fingerprint(file_set):
    encoded = [pathlib.Path(path).read_bytes() for path in file_set.paths]
    first = ImageSet("first", file_set.class_names, file_set.labels[:6], records=encoded[:6])
    second = ImageSet("second", file_set.class_names, file_set.labels[6:], records=encoded[6:])
    both = merged([first, second])
    assert (both.name, len(both), both.kind, both.channels) == ("first+second", 13, "records", 3)
    np.testing.assert_array_equal(both.labels, file_set.labels)
    assert [both.records[i] for i in range(-13, 13)] == encoded * 2
    with pytest.raises(IndexError):
        both.records[13]
    with pytest.raises(DataError, match="domain has paths, first records; merge sets of one kind"):
        merged([file_set, first])
    shorter = dataclasses.replace(first, records=encoded[1:7])
    assert (
        len({first.fingerprint(), shorter.fingerprint(), first.without_labels().fingerprint()}) == 3
    )


def test_a_broken_record_is_named_by_its_set_and_row(file_set):
    records = [pathlib.Path(path).read_bytes() for path in file_set.paths]
    records[8] = records[8][:200]
    broken = ImageSet("tfds:shapes", file_set.class_names, file_set.labels, records=records)
    with pytest.raises(DataError, match=r"tfds:shapes\[8\]: cannot be decoded"):
        list(batches({"part": in_order(broken, FROM_FILES, 3)}, 0, 4))


def test_a_truncated_file_is_named(file_set):
    path = pathlib.Path(file_set.paths[8])
    path.write_bytes(path.read_bytes()[:200])
    seen = 0
    with pytest.raises(DataError, match=f"{path.name}: cannot be decoded") as caught:
        for _ in batches({"part": in_order(file_set, FROM_FILES, 3)}, 0, 4):
            seen += 1
    assert seen == 2 and "\n" not in str(caught.value)  # the steps before it arrive


def test_a_file_removed_after_listing_is_named(file_set):
    pathlib.Path(file_set.paths[0]).unlink()
    with pytest.raises(DataError, match="00.jpg: no such file; unpack the download again"):
        list(batches({"part": in_order(file_set, FROM_FILES, 3)}, 0, 4))


def test_a_file_smaller_than_the_crop_is_named_with_both_sizes(file_set):
    transform = dataclasses.replace(FROM_FILES, resize_hw=None, size_hw=(28, 28))
    with pytest.raises(DataError, match=r"12.jpg: an image is 26x66, smaller than the crop 28x28"):
        list(batches({"part": in_order(file_set, transform, 13)}, 0, 1))


def test_parts_that_cannot_work_are_refused_at_once(memory_set, file_set):
    with pytest.raises(DataError, match="the image size is 16x16 and transform.size 8x8"):
        batches(
            {"part": shuffled(memory_set, dataclasses.replace(AUGMENTED, size_hw=(8, 8)))}, 0, 1
        )
    with pytest.raises(DataError, match="paths come in any size"):
        batches({"part": shuffled(file_set, AUGMENTED)}, 0, 1)
    with pytest.raises(DataError, match="noise has 1 channels, transform.mean 3 values"):
        batches(
            {"part": shuffled(memory_set, dataclasses.replace(AUGMENTED, mean=(0.1, 0.2, 0.3)))},
            0,
            1,
        )


def test_a_mistake_in_the_rows_reaches_the_user_as_it_is(memory_set):
    part = dataclasses.replace(
        shuffled(memory_set, AUGMENTED), rows=lambda step: np.zeros(2 + step, np.int64)
    )
    with pytest.raises(DataError, match="noise: 3 rows at step 1, 2 before"):
        list(batches({"part": part}, 0, 3))
    with pytest.raises(IndexError, match="99 is out of bounds"):
        list(batches({"part": dataclasses.replace(part, rows=lambda step: np.array([99]))}, 0, 3))


def test_the_package_loads_neither_tensorflow_nor_jax_and_the_pipeline_is_silent():
    program = """
import sys, numpy as np
import data_pipeline, data_pipeline.digits.sets
from data_pipeline.classification import class_aware, transforms
assert not {"tensorflow", "jax", "dajax", "sklearn", "matplotlib"} & set(sys.modules)
from data_pipeline.classification.pipeline import Part, batches, tf
assert not {"dajax"} & set(sys.modules)
images = data_pipeline.ImageSet("x", (), images=np.zeros((4, 8, 8, 1), np.uint8))
transform = transforms.Transform((8, 8), (0.0,), (1.0,))
part = Part(images, lambda step: np.arange(4), transform, 0, False)
assert len(list(batches({"x": part}, 0, 3))) == 3
assert not tf.config.get_visible_devices("GPU")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_real_photos_arrive_as_pillow_reads_them(shared_data):
    (source,), target = read_domains(shared_data / "office_caltech10", ("amazon",), "webcam")
    assert (len(source), len(target), len(source.class_names)) == (958, 295, 10)
    transform = Transform(
        (224, 224),
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        resize_hw=(256, 256),
        crop="center",
    )
    batch = next(batches({"target": in_order(target, transform, 8)}, 3, 4))["target"]
    images = [np.asarray(Image.open(target.paths[row]).convert("RGB")) for row in batch["index"]]
    # float32 rounding
    np.testing.assert_allclose(
        batch["image"], apply_evaluation(images, transform), rtol=1e-6, atol=1e-6
    )
