"""Large photos decoded at a smaller scale, and images that are kept on disk once they are
resized."""

import dataclasses
import errno
import os

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from dajax.engine.old_config import with_added_keys
from dajax.recipes import can, clan
from dajax.tasks.common import with_fast_reading
from data_pipeline import decode
from data_pipeline.classification.image_set import ImageSet, merged
from data_pipeline.classification.pipeline import Part, batches
from data_pipeline.classification.transforms import Transform
from data_pipeline.files import resized_cache
from data_pipeline.files.resized_cache import ResizedCache
from data_pipeline.preprocess import resize
from data_pipeline.sampling import make_key
from data_pipeline.segmentation import pipeline as seg_pipeline
from data_pipeline.segmentation import transforms as seg_transforms
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.labels import GTA5
from data_pipeline.segmentation.segmentation_set import SegmentationSet

HW = (300, 400)  # of a photo that counts as large here
VIEW = Transform((32, 32), (0.5,), (0.5,), resize_hw=(36, 36), crop="random", flip=True)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Files of three photos; one of them lies on its side, says its EXIF."""
    monkeypatch.setattr(decode, "DRAFT_PIXELS", HW[0] * HW[1])
    y, x = np.mgrid[: HW[0], : HW[1]]
    paths = []
    for i in range(3):
        waves = [np.sin(x / (20 + 7 * i) + c) * np.cos(y / (31 - 5 * i)) for c in range(3)]
        image = Image.fromarray((127 + 100 * np.stack(waves, -1)).astype(np.uint8))
        exif = image.getexif()
        exif[0x0112] = 6 if i == 2 else 1
        paths.append(str(tmp_path / f"{i}.jpg"))
        image.save(paths[-1], quality=95, exif=exif)
    return tuple(paths)


def test_a_draft_has_twice_the_size_that_is_needed(photos):
    """Sides of 300x400: an eighth would leave 38x50, a quarter 75x100, a half 150x200."""
    for needed, expected in (
        ((37, 50), (75, 100)),
        ((38, 50), (150, 200)),
        ((75, 100), (150, 200)),
        ((76, 100), HW),
        (None, HW),
    ):
        assert decode.read_image(photos[0], needed_hw=needed).shape[:2] == expected
    turned = decode.read_image(photos[2], needed_hw=(50, 37))
    assert turned.shape[:2] == (100, 75), "upright, and sized by its upright sides"


def test_a_resized_draft_is_nearly_the_resized_photo(photos):
    for path in photos:
        whole, draft = (
            resize(decode.read_image(path, needed_hw=needed), (36, 36)).astype(int)
            for needed in (None, (36, 36))
        )
        assert 0 < np.abs(whole - draft).max() <= 6 and np.abs(whole - draft).mean() < 1.0


def test_small_photos_and_other_formats_are_decoded_in_full(photos, tmp_path, monkeypatch):
    pixels = decode.read_image(photos[0])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode.read_image(tmp_path / "a.png", needed_hw=(9, 9)), pixels)
    monkeypatch.setattr(decode, "DRAFT_PIXELS", HW[0] * HW[1] + 1)
    np.testing.assert_array_equal(decode.read_image(photos[0], needed_hw=(9, 9)), pixels)


def photo_set(photos, **changes):
    labels = np.arange(3, dtype=np.int32)
    return ImageSet("photos", tuple("abc"), labels, paths=photos, **changes)


def images_of(images, steps=2):
    part = Part(images, lambda step: np.array([step, 2, 1]), VIEW, make_key(0, "v"), True)
    with batches({"a": part}, 0, steps) as stream:
        return np.stack([batch["a"]["image"] for batch in stream])


@pytest.mark.parametrize("draft", [False, True])
def test_photos_are_the_same_with_and_without_a_cache(photos, tmp_path, monkeypatch, draft):
    plain = images_of(photo_set(photos, draft=draft))
    assert (plain == images_of(photo_set(photos))).all() != draft, "a draft is seen"
    filled = photo_set(photos, draft=draft, cache=ResizedCache(tmp_path / "cache", 10**6))
    np.testing.assert_array_equal(images_of(filled), plain)
    monkeypatch.setattr(ImageSet, "read_picture", None)  # nothing is decoded any more
    again = photo_set(photos, draft=draft, cache=ResizedCache(tmp_path / "cache", 10**6))
    np.testing.assert_array_equal(images_of(merged([again, again])), plain)


def frames(photos, folder, **changes):
    labels = []
    for i, path in enumerate(photos):
        hw = decode.image_size_hw(path)
        labels.append(str(folder / f"{i}.png"))
        Image.fromarray(np.full(hw, 7, np.uint8)).save(labels[-1])
    return SegmentationSet("frames", photos, tuple(labels), GTA5, read_ids, **changes)


SEG = dict(clan.get_config().data.transforms.target)


@pytest.mark.parametrize("draft", [False, True])
def test_frames_are_the_same_with_and_without_a_cache(photos, tmp_path, draft):
    whole = SEG | dict(size=(32, 48), image_scales=((0.5, 0.8), (1.0, 1.1)))
    crop = SEG | dict(size=(32, 32), image_scales=(), scale_range=(0.2, 0.4))

    def seen(images, settings):
        part = seg_pipeline.SegPart(
            image_set=images,
            rows=lambda step: np.array([step, 2]),
            transform=seg_transforms.from_config(settings),
            key=make_key(0, "v"),
            with_labels=True,
        )
        with seg_pipeline.batches({"a": part}, 0, 3) as stream:
            return [batch["a"] for batch in stream]

    plain = frames(photos, tmp_path)
    changed = frames(photos, tmp_path, draft=draft)
    cached = dataclasses.replace(changed, cache=ResizedCache(tmp_path / "cache", 10**7))
    for settings in (whole, crop):
        for first, second, third, full in zip(
            *(seen(images, settings) for images in (changed, cached, cached, plain)), strict=True
        ):
            for name in first:
                np.testing.assert_array_equal(first[name], second[name])
                np.testing.assert_array_equal(first[name], third[name])
            is_as_in_full = (first["image"] == full["image"]).all()
            assert is_as_in_full == (not draft or settings is crop), "crops are never drafts"
            np.testing.assert_array_equal(first["label"], full["label"])


def test_a_changed_file_or_another_transform_finds_nothing(photos):
    key = resized_cache.key_of(photos[0], (36, 36), 3, False)
    others = [
        resized_cache.key_of(photos[1], (36, 36), 3, False),
        resized_cache.key_of(photos[0], (36, 37), 3, False),
        resized_cache.key_of(photos[0], (36, 36), 2, False),
        resized_cache.key_of(photos[0], (36, 36), 3, True),
    ]
    os.utime(photos[0], ns=(1, 1))
    others.append(resized_cache.key_of(photos[0], (36, 36), 3, False))
    assert len({key, *others}) == 6
    assert resized_cache.key_of("/nowhere", (36, 36), 3, False) is None


def test_a_cache_keeps_what_it_has_and_takes_no_more_than_its_bound(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    cache = ResizedCache(tmp_path / "c", 2 * 52)
    for key in ("aa1", "bb2", "cc3"):
        cache.put(key, image)
    np.testing.assert_array_equal(cache.find("aa1", (4, 4)), image)
    assert cache.find("bb2", (4, 4)) is not None and cache.find("cc3", (4, 4)) is None
    other_process = ResizedCache(tmp_path / "c", 2 * 52)
    other_process.put("dd4", image)
    assert other_process.find("dd4", (4, 4)) is None, "what is there already counts"
    files = [file.name for file in (tmp_path / "c").rglob("*") if file.is_file()]
    assert sorted(files) == ["aa1", "bb2"], "nothing unfinished stays"
    path = tmp_path / "c/aa/aa1"
    path.write_bytes(path.read_bytes()[:-5] + b"damag")
    assert cache.find("aa1", (4, 4)) is None and cache.find("bb2", (2, 2)) is None


def test_what_a_killed_process_left_in_the_cache_goes_after_a_while(tmp_path):
    cache, folder = ResizedCache(tmp_path / "c", 10**6), tmp_path / "c" / "ab"
    folder.mkdir(parents=True)
    old, new = folder / "abcd.17.1", folder / "abef.18.1"
    for left in (old, new):
        left.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.put("0" * 64, np.ones((4, 4, 3), np.uint8))
    assert not old.exists() and new.exists()
    assert cache.find("0" * 64, (4, 4)) is not None


def test_a_full_disk_ends_the_adding_and_nothing_else(tmp_path, monkeypatch):
    image, cache = np.ones((4, 4, 3), np.uint8), ResizedCache(tmp_path / "c", 10**6)
    cache.put("aa1", image)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.put("bb2", image)
    monkeypatch.undo()
    cache.put("cc3", image)
    assert cache.find("aa1", (4, 4)) is not None
    assert [file.name for file in (tmp_path / "c").rglob("*") if file.is_file()] == ["aa1"]


def test_own_folders_may_be_drafts_and_published_sets_never(tmp_path):
    own = can.get_config("folder,root=DIR,source=a,target=b")
    assert own.data.draft
    frames = clan.get_config(f"own,source={tmp_path},target={tmp_path}")
    assert frames.data.draft
    for config in (
        can.get_config("office31,root=DIR,weights=FILE"),
        can.get_config("visda2017,root=DIR,weights=FILE"),
        clan.get_config("gta5_to_cityscapes,source_root=A,target_root=B,weights=FILE"),
    ):
        assert "draft" not in config.data
    one = ImageSet("x", ("a",), paths=("a.jpg",))
    for config, expected in ((own, True), (can.get_config(), False)):
        made, same = with_fast_reading(config, [one, one])
        assert made is same and made.draft == expected and made.cache is None
    own.runtime.update(cache_gb=1e-3, cache_dir=str(tmp_path))
    assert with_fast_reading(own, [one])[0].cache is not None


def test_an_old_run_goes_on_decoding_in_full(tmp_path):
    for config in (
        can.get_config("folder,root=DIR,source=a,target=b"),
        clan.get_config(f"own,source={tmp_path},target={tmp_path}"),
    ):
        tree = config.to_dict()
        del tree["data"]["draft"], tree["runtime"]["cache_gb"], tree["runtime"]["cache_dir"]
        found = ConfigDict(with_added_keys(tree))
        assert not found.data.draft and not found.runtime.cache_gb
