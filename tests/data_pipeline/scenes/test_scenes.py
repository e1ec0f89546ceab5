"""The embedded street scenes: two worlds, in the layouts of the real data sets."""

import dataclasses
import hashlib
import json
import multiprocessing
import os

import numpy as np
import pytest
from PIL import Image

from data_pipeline.errors import DataError
from data_pipeline.scenes import sets as scenes
from data_pipeline.scenes import worlds as scene_worlds
from data_pipeline.scenes.canvas import Camera, Canvas, Dice
from data_pipeline.scenes.street import ID
from data_pipeline.segmentation import readers as seg_readers
from data_pipeline.segmentation.labels import CITYSCAPES
from data_pipeline.segmentation.train_ids import check_first_labels

HW = (64, 128)
FEW = {"source": 3, "target_train": 2, "target_val": 1}
TINY = dict(size_hw=(32, 64), counts=FEW)


@pytest.fixture(scope="module")
def sample():
    """world -> (images uint8 [40, 64, 128, 3], ids uint8 [40, 64, 128])."""
    pairs = {
        world: [scenes.draw(world, "train", i, size_hw=HW, seed=0) for i in range(40)]
        for world in scene_worlds.WORLDS
    }
    return {
        world: tuple(np.stack(arrays) for arrays in zip(*drawn, strict=True))
        for world, drawn in pairs.items()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "here"
    scenes.ensure(root, size_hw=HW, counts=dict(source=4, target_train=3, target_val=2), seed=5)
    return root


def files_of(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_scene_depends_on_seed_world_split_and_index_alone():
    image, ids = scenes.draw("target", "train", 3, size_hw=HW, seed=1)
    again, same_ids = scenes.draw("target", "train", 3, size_hw=HW, seed=1)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(ids, same_ids)
    for world, split, index, seed in (
        ("source", "train", 3, 1),
        ("target", "val", 3, 1),
        ("target", "train", 4, 1),
        ("target", "train", 3, 2),
    ):
        assert (scenes.draw(world, split, index, size_hw=HW, seed=seed)[1] != ids).mean() > 0.05, (
            world,
            split,
            index,
            seed,
        )


def test_the_arrangement_does_not_depend_on_the_size():
    small, large = (
        scenes.draw("source", "train", 8, size_hw=hw, seed=0)[1] for hw in ((64, 128), (192, 384))
    )
    # Only pixels that an outline crosses may differ: the middle of a small pixel is that of the
    # ninth of a large one.
    assert (small == large[1::3, 1::3]).mean() > 0.97


def test_pixels_are_the_recorded_ones():
    digests = {
        world: (
            hashlib.sha256(
                b"".join(a.tobytes() for a in scenes.draw(world, "train", 0, size_hw=HW, seed=0))
            ).hexdigest()[:16]
        )
        for world in scene_worlds.WORLDS
    }
    # From this code. A change of them is a change of the data set: raise scenes.VERSION, then
    # record anew.
    assert digests == {"source": "3a1069230e47f767", "target": "1b77270dfa8a063d"}


def test_files_have_the_real_layouts_and_real_ids(written):
    assert sorted(
        name for name in files_of(written) if not name.startswith("target/gtFine")
    ) == sorted(
        ["scenes.json"]
        + [f"source/{kind}/{i:05d}.png" for kind in ("images", "labels") for i in (1, 2, 3, 4)]
        + [
            f"target/leftImg8bit/train/northtown/northtown_{i:06d}_000000_leftImg8bit.png"
            for i in (0, 1, 2)
        ]
        + [
            f"target/leftImg8bit/val/southtown/southtown_{i:06d}_000000_leftImg8bit.png"
            for i in (0, 1)
        ]
    )
    with Image.open(written / "source/labels/00002.png") as label:
        assert label.mode == "P" and label.size == (128, 64)
        palette = np.array(label.getpalette()).reshape(-1, 3)
        np.testing.assert_array_equal(
            np.asarray(label), scenes.draw("source", "train", 1, size_hw=HW, seed=5)[1]
        )
    for entry in CITYSCAPES.trained:
        assert tuple(palette[entry.id]) == entry.color
    with Image.open(
        written / "target/gtFine/val/southtown/southtown_000001_000000_gtFine_labelIds.png"
    ) as label:
        assert label.mode == "L"
        np.testing.assert_array_equal(
            np.asarray(label), scenes.draw("target", "val", 1, size_hw=HW, seed=5)[1]
        )


def test_the_real_readers_read_them(written):
    source = seg_readers.read_domain(dict(dataset="scenes_source", root=str(written / "source")))
    train = seg_readers.read_domain(
        dict(dataset="scenes_target", root=str(written / "target"), split="train")
    )
    val = seg_readers.read_domain(
        dict(dataset="cityscapes", root=str(written / "target"), split="val", space="cityscapes")
    )
    assert (len(source), len(train), len(val)) == (4, 3, 2)
    for images in (source, train, val):
        check_first_labels(images)
        # road, sidewalk, building
        np.testing.assert_array_equal(np.unique(images.read_label(0))[:3], (0, 1, 2))
    np.testing.assert_array_equal(
        train.read_image(2), scenes.draw("target", "train", 2, size_hw=HW, seed=5)[0]
    )


def test_every_class_is_in_enough_pictures(sample):
    for world, (_, ids) in sample.items():
        labels = CITYSCAPES.lut[ids]
        shown = {
            name: float(((labels == k).sum((1, 2)) > 5).mean())
            for k, name in enumerate(CITYSCAPES.class_names)
        }
        share = {name: float((labels == k).mean()) for k, name in enumerate(CITYSCAPES.class_names)}
        assert min(shown.values()) >= 0.1, (world, shown)
        assert (
            sorted(share, key=share.get)[-1] == "road"
            and share["building"] > 0.1 > 0.03 > share["motorcycle"]
        )
        assert 0.005 < (labels == 255).mean() < 0.2, "some pixels are to be ignored"
        assert CITYSCAPES.is_known[ids].all()


def test_the_worlds_differ_in_layout_and_look(sample):
    (game, game_ids), (street, street_ids) = sample["source"], sample["target"]
    share = {
        name: [(ids == ID[name]).mean() for ids in (game_ids, street_ids)]
        for name in ("sky", "person", "car")
    }
    assert (
        share["sky"][0] > 1.3 * share["sky"][1]
        and share["person"][1] > 1.2 * share["person"][0]
        and share["car"][1] > 1.2 * share["car"][0]
    )

    def saturation(images):
        return float((images.max(-1).astype(int) - images.min(-1)).mean())

    assert saturation(game) > 1.3 * saturation(street)


def test_without_a_gap_the_target_is_drawn_like_the_source(monkeypatch):
    for name in ("LAYOUT_GAP", "PAINT_GAP", "SENSOR_GAP"):
        monkeypatch.setattr(scene_worlds, name, 0.0)
    assert dataclasses.asdict(scene_worlds.make_world("target")) == dataclasses.asdict(
        scene_worlds.make_world("source")
    )


def test_an_upright_face_stands_where_perspective_puts_it():
    canvas = Canvas(
        (40, 60), Camera(focal=40.0, column=30.0, row=20.0, x=0.0, height=2.0), Dice(1, 1)
    )
    canvas.face((-2.0, 8.0), (2.0, 8.0), 0.0, 3.0, 7, lambda s, y, z: ((9, 8, 7), None))
    # u = 30 + 40 * X / 8 = 20..40, v = 20 - 40 * (Y - 2) / 8 = 30 at the foot and 15 at the top
    expected = np.zeros((40, 60), np.uint8)
    expected[15:30, 20:40] = 7
    np.testing.assert_array_equal(canvas.ids, expected)
    np.testing.assert_array_equal(canvas.image[20, 25], (9, 8, 7))
    assert canvas.depth[20, 25] == 8.0


def test_a_face_along_the_street_shrinks_with_distance():
    canvas = Canvas(
        (40, 60), Camera(focal=40.0, column=30.0, row=20.0, x=0.0, height=2.1), Dice(1, 1)
    )
    canvas.face((2.0, 4.0), (2.0, 16.0), 0.0, 3.0, 7, lambda s, y, z: ((9, 8, 7), None))
    assert np.flatnonzero(canvas.ids.any(0)).tolist() == list(range(35, 50))  # u = 30 + 40 * 2 / Z
    # Column u is seen at Z = 80 / (u - 30): its foot is at v = 20 + 1.05 * (u - 30), its top at 20
    # - 0.45 * (u - 30); u = 44.5, 36.5.
    assert np.flatnonzero(canvas.ids[:, 44]).tolist() == list(range(13, 35))
    assert np.flatnonzero(canvas.ids[:, 36]).tolist() == list(range(17, 27))


def test_a_finished_folder_is_left_alone(tmp_path):
    root = tmp_path / "scenes"
    roots = scenes.ensure(root, **TINY)
    before = {name: os.stat(root / name).st_mtime_ns for name in files_of(root)}
    assert scenes.ensure(root, **TINY) == roots == (str(root / "source"), str(root / "target"))
    assert {name: os.stat(root / name).st_mtime_ns for name in files_of(root)} == before


def test_what_a_killed_process_left_is_made_anew(tmp_path, monkeypatch):
    complete, root = tmp_path / "complete", tmp_path / "scenes"
    scenes.ensure(complete, **TINY)
    write = scenes.write

    def die_in_the_target(folder, *, world, **settings):
        if world == "target":
            raise KeyboardInterrupt
        write(folder, world=world, **settings)

    monkeypatch.setattr(scenes, "write", die_in_the_target)
    with pytest.raises(KeyboardInterrupt):
        scenes.ensure(root, **TINY)
    assert not root.exists() and any(tmp_path.glob(".scenes.unfinished/source/images/*.png"))
    (tmp_path / ".scenes.unfinished/source/images/00009.png").write_bytes(b"half a picture")
    monkeypatch.setattr(scenes, "write", write)
    scenes.ensure(root, **TINY)
    assert files_of(root) == files_of(complete)
    assert not (tmp_path / ".scenes.unfinished").exists()


def test_two_processes_at_once_make_one_set(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=scenes.ensure, args=(tmp_path / "scenes",), kwargs=TINY)
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert json.loads((tmp_path / "scenes" / scenes.MARKER).read_text())["counts"] == FEW
    assert len(files_of(tmp_path / "scenes")) == 2 * sum(FEW.values()) + 1


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (dict(seed=1), "seed 0 instead of 1"),
        (dict(size_hw=(32, 96)), r"size_hw \[32, 64\] instead of \[32, 96\]"),
        (dict(counts=dict(FEW, source=4)), "counts"),
    ],
)
def test_scenes_of_other_settings_are_refused(tmp_path, change, found):
    scenes.ensure(tmp_path / "scenes", **TINY)
    with pytest.raises(
        DataError, match=rf"scenes: scenes of other settings \({found}.*remove this one"
    ):
        scenes.ensure(tmp_path / "scenes", **(TINY | change))


def test_another_gap_is_refused(tmp_path, monkeypatch):
    scenes.ensure(tmp_path / "scenes", **TINY)
    monkeypatch.setattr(scene_worlds, "PAINT_GAP", 0.123)
    with pytest.raises(DataError, match="gaps"):
        scenes.ensure(tmp_path / "scenes", **TINY)


def test_a_folder_of_something_else_is_refused_and_an_empty_one_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    scenes.ensure(tmp_path / "empty", **TINY)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious")
    with pytest.raises(DataError, match="thesis: holds files, but no scenes.json"):
        scenes.ensure(tmp_path / "thesis", **TINY)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "precious"


def test_a_broken_marker_gives_one_line(tmp_path):
    scenes.ensure(tmp_path / "scenes", **TINY)
    (tmp_path / "scenes" / scenes.MARKER).write_text("{")
    with pytest.raises(DataError, match="scenes.json: cannot be read.*drawn anew"):
        scenes.ensure(tmp_path / "scenes", **TINY)


def test_a_read_only_place_gives_one_line_and_finished_scenes_in_it_are_used(tmp_path, monkeypatch):
    scenes.ensure(tmp_path / "scenes", **TINY)

    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    # the mode of a folder does not stop root, who may run the tests
    monkeypatch.setattr(scenes.fcntl, "flock", refuse)
    scenes.ensure(tmp_path / "scenes", **TINY)
    with pytest.raises(
        DataError, match="new: cannot write the scenes there.*Permission denied.*choose a folder"
    ) as caught:
        scenes.ensure(tmp_path / "new", **TINY)
    assert "\n" not in str(caught.value)


def test_a_full_disk_gives_one_line_and_leaves_no_half_set(tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", refuse)
    with pytest.raises(DataError, match="No space left"):
        scenes.ensure(tmp_path / "scenes", **TINY)
    assert not (tmp_path / "scenes").exists()


@pytest.mark.parametrize(
    "change", [dict(world="moon"), dict(split="test"), dict(count=0), dict(size_hw=(16, 128))]
)
def test_impossible_scenes_are_refused(tmp_path, change):
    settings = dict(world="source", split="train", count=1, size_hw=HW, seed=0) | change
    with pytest.raises(DataError, match="expected source or target, train or val"):
        scenes.write(tmp_path, **settings)


def test_a_scene_that_is_gone_is_noticed(tmp_path):
    scenes.ensure(tmp_path / "scenes", **TINY)
    gone = tmp_path / "scenes" / "source" / scenes.file_names("source", "train", 1)[1]
    gone.unlink()
    with pytest.raises(DataError, match="this scene is gone; remove the folder") as caught:
        scenes.ensure(tmp_path / "scenes", **TINY)
    assert str(gone) in str(caught.value)


def test_a_root_below_a_file_and_a_size_of_one_number_give_one_line(tmp_path):
    (tmp_path / "file").write_text("a thesis")
    with pytest.raises(DataError, match="cannot write the scenes there"):
        scenes.ensure(tmp_path / "file" / "scenes", **TINY)
    with pytest.raises(DataError, match=r"size \(64,\); expected height and width"):
        scenes.ensure(tmp_path / "scenes", **(TINY | dict(size_hw=(64,))))


def test_progress_counts_every_scene_once(tmp_path):
    seen = []
    scenes.ensure(
        tmp_path / "scenes", **TINY, progress=lambda done, total: seen.append((done, total))
    )
    total = sum(TINY["counts"].values())
    assert seen[0] == (0, total) and sorted(set(seen)) == [
        (done, total) for done in range(total + 1)
    ]
