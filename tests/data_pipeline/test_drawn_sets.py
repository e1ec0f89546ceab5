"""What the slow tests show on real pictures, on drawn ones in the same layouts: so that a plain
clone checks it too.
"""

import numpy as np
import pytest
import seg_files
from PIL import Image

from data_pipeline.check.check_data import check
from data_pipeline.classification.folder import read_domains
from data_pipeline.classification.pipeline import Part, batches
from data_pipeline.classification.transforms import Transform, apply_evaluation
from data_pipeline.sampling import sequential_rows
from data_pipeline.scenes import sets as scenes
from data_pipeline.segmentation import labels
from data_pipeline.segmentation.labels import CITYSCAPES, map_ids
from data_pipeline.segmentation.readers import read_domain
from data_pipeline.segmentation.train_ids import (
    check_first_labels,
    looks_like_train_ids,
)

HW = (64, 128)


@pytest.fixture(scope="module")
def streets():
    """Twenty-five drawn streets: [(RGB uint8 [H, W, 3], Cityscapes label ids uint8 [H, W])]."""
    return [scenes.draw("target", "val", i, size_hw=HW, seed=0) for i in range(25)]


@pytest.fixture
def cityscapes(streets, tmp_path):
    """Three of them as the first three frames of Aachen, in Cityscapes' layout."""
    for i, (image, ids) in enumerate(streets[:3]):
        frame = f"train/aachen/aachen_{i:06d}_000019"
        seg_files.write_ids(tmp_path / f"gtFine/{frame}_gtFine_labelIds.png", ids)
        path = tmp_path / f"leftImg8bit/{frame}_leftImg8bit.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return dict(dataset="cityscapes", root=str(tmp_path), split="train", space="cityscapes")


def counts_of(ids):
    return np.bincount(ids.ravel(), minlength=256)


def test_frames_of_cityscapes_are_read_pixel_by_pixel(cityscapes, streets):
    found = read_domain(cityscapes)
    assert len(found) == 3 and found.image_paths[1].endswith("aachen_000001_000019_leftImg8bit.png")
    check_first_labels(found)
    for i, (image, ids) in enumerate(streets[:3]):
        np.testing.assert_array_equal(found.read_image(i), image)
        label = found.read_label(i)
        assert (label == 0).sum() == (ids == 7).sum() > 500, "road"
        assert ((label == 255) == ~np.isin(ids, [entry.id for entry in CITYSCAPES.trained])).all()


def test_three_frames_of_cityscapes_are_called_a_part(cityscapes):
    lines, is_ok = check([("target", cityscapes)], lambda done, total: None)
    assert (
        not is_ok
        and "3 images, 3 labels (official: 2,975)" in lines[0]
        and "128x64 (3)" in lines[1]
    )
    (incomplete,) = [line.strip() for line in lines if line.strip().startswith("incomplete:")]
    assert "3 of 2,975 official frames; no folder or no frame of bochum, bremen" in incomplete
    assert len([line for line in lines if line.startswith("  ") and ":" in line]) == 2, (
        "sizes and that finding, nothing else"
    )


def test_labels_of_both_kinds_are_told_apart_frame_by_frame_and_map_onto_each_other(streets):
    for _, ids in streets:
        train_ids = map_ids(ids, CITYSCAPES, "x.png")
        assert looks_like_train_ids(counts_of(train_ids)) and not looks_like_train_ids(
            counts_of(ids)
        )
    expected = {entry.id: k for k, entry in enumerate(labels.CITYSCAPES.trained)}
    np.testing.assert_array_equal(
        train_ids, [[expected.get(value, 255) for value in row] for row in ids.tolist()]
    )


def test_photos_of_many_sizes_arrive_as_pillow_reads_them(tmp_path):
    """Office-Caltech's layout: a folder a domain, a folder a class, JPEG of any size; resized to
    256, the middle 224 cut out.
    """
    rng = np.random.default_rng(0)
    for domain, count in (("amazon", 3), ("webcam", 4)):
        for k, name in enumerate(("bike", "mug", "projector")):
            (tmp_path / domain / name).mkdir(parents=True)
            for i in range(count):
                coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
                size = (150 + 70 * i, 400 - 60 * k)
                coarse.resize(size, Image.Resampling.BICUBIC).save(
                    tmp_path / domain / name / f"frame_{i:04d}.jpg", quality=90
                )
    (source,), target = read_domains(tmp_path, ("amazon",), "webcam")
    assert (len(source), len(target), len(source.class_names)) == (9, 12, 3)
    transform = Transform(
        (224, 224),
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        resize_hw=(256, 256),
        crop="center",
    )
    part = Part(target, lambda step: sequential_rows(step, 5, 12), transform, 0, True)
    batch = next(batches({"target": part}, 1, 2))["target"]
    np.testing.assert_array_equal(batch["index"], [5, 6, 7, 8, 9])
    np.testing.assert_array_equal(batch["label"], [1, 1, 1, 2, 2])
    images = [np.asarray(Image.open(target.paths[row]).convert("RGB")) for row in batch["index"]]
    assert len({image.shape for image in images}) > 3
    np.testing.assert_allclose(
        batch["image"], apply_evaluation(images, transform), rtol=1e-6, atol=1e-6
    )  # float32 rounding
