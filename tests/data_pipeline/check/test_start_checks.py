"""What would stop a run over its data is found before its first step, by training and by check_data
alike.
"""

import dataclasses
import importlib
import os
import shutil

import numpy as np
import pytest
import seg_files
from PIL import Image

from dajax import tasks
from dajax.cli import check_data
from dajax.engine import stages
from dajax.errors import UserError
from data_pipeline.check.check_data import check
from data_pipeline.check.start_checks import image_set_problems
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.transforms import Transform
from data_pipeline.errors import DataError
from data_pipeline.segmentation.segmentation_set import SegmentationSet
from data_pipeline.segmentation.train_ids import check_first_labels
from data_pipeline.segmentation.transforms import apply, from_config

IDS = np.array([[7] * 6, [23] * 6, [26] * 6, [24] * 6], np.uint8)


def recipe(name, argument, **changes):
    """get_config itself, with settings changed as --config.key=value does."""
    config = importlib.import_module(f"dajax.recipes.{name}").get_config(argument)
    config.update_from_flattened_dict(changes)
    return config


def photo(path, hw=(20, 24), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    """A `folder` config of two domains, whose images are resized; three images a class."""
    for domain in ("a", "b"):
        for name in ("mug", "pen"):
            for i in range(3):
                photo(tmp_path / domain / name / f"{i}.jpg", seed=i)
    return tmp_path, recipe("can", f"folder,root={tmp_path},source=a,target=b,size=16")


def frame(root, layout, name, ids=IDS, hw=None):
    image, label = (root / part.format(name) for part in layout)
    photo(image, hw or np.shape(ids))
    if ids is not None:
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(ids, np.uint8)).save(label)


GTA5 = ("images/{}.png", "labels/{}.png")
CITYSCAPES = ("leftImg8bit/{}_leftImg8bit.png", "gtFine/{}_gtFine_labelIds.png")


@pytest.fixture
def frames(tmp_path):
    """A function of a recipe, its argument's rest and changes, on four frames of GTA5 and four of
    Cityscapes.
    """
    for i in range(1, 5):
        frame(tmp_path / "s", GTA5, f"{i:05d}")
        frame(tmp_path / "t", CITYSCAPES, f"train/ulm/ulm_{i}")
        frame(tmp_path / "t", CITYSCAPES, f"val/bonn/bonn_{i}")
    weights = ",weights=none" if _needs_weights() else ""

    def make(name, more="", **changes):
        return recipe(
            name,
            f"gta5_to_cityscapes,source_root={tmp_path}/s,target_root={tmp_path}/t{weights}{more}",
            **changes,
        )

    return tmp_path, make


def _needs_weights():
    """Whether a real variant must be told what to start from; an argument's mistake is not what is
    tested here.
    """
    try:
        importlib.import_module("dajax.recipes.source_only_seg").get_config(
            "gta5_to_cityscapes,source_root=s,target_root=t"
        )
    except ValueError:
        return True
    return False


def stops(config):
    """The line at which training stops, None where it goes on; check_data must come to the same
    verdict, but for incomplete downloads.
    """
    try:
        domains = tasks.get(config.task).open_data(config)
        tasks.check_start(config, domains, training=True)
        line = None
    except (UserError, DataError) as error:
        line = str(error)
        assert line.isprintable()
    lines, _ = check(tasks.get(config.task).domains_to_check(config), lambda done, total: None)
    problems, _ = check_data._begin(config)
    found = [
        one for one in lines if one.startswith("  ") and one.split(":")[0].strip() in KINDS
    ] + problems
    assert bool(found) == (line is not None), (line, found)
    return line


KINDS = (
    "cannot be opened",
    "unreadable",
    "missing",
    "unpaired",
    "no labels",
    "no image of a class",
    "TrainIds",
    "all ignored",
    "unknown id",
    "size",
)


def shrink(config):
    """Every view of a segmentation recipe, and where the target is judged, at 2x3 pixels."""
    for transform in config.data.transforms.values():
        transform.size = (2, 3)
    for stage in config.stages:
        if "target_hw" in config[stage]:
            config[stage].target_hw = (2, 3)


def test_sound_sets_are_not_stopped(photos, frames):
    assert stops(photos[1]) is None
    for name in ("source_only_seg", "plca", "spcl", "clan", "bicl"):
        config = frames[1](name)
        shrink(config)
        assert stops(config) is None, name


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (
            lambda path: (path.unlink(), path.symlink_to("nowhere")),
            "a link to nowhere, where nothing is",
        ),
        (lambda path: path.write_bytes(b"text"), "cannot be"),
    ],
)
@pytest.mark.parametrize("where", ["a/mug/1.jpg", "b/pen/2.jpg"])
def test_a_broken_photo_stops_a_run_at_its_start(photos, spoil, says, where):
    root, config = photos
    spoil(root / where)
    line = stops(config)
    assert str(root / where) in line and says in line


def test_a_run_asks_before_it_trains(photos, tmp_path):
    root, config = photos
    config.runtime.compilation_cache, config.stages, config.model.widths = (
        "",
        ("source_only",),
        (4, 4, 8),
    )
    config.source_only.steps, config.source_only.batch_size = 2, 4
    (root / "b/pen/2.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="b/pen/2.jpg: cannot be decoded: the file is empty"):
        stages.run(config, tmp_path / "run", "train")
    assert not (tmp_path / "run" / config.stages[0]).exists()


def test_many_broken_photos_are_counted(photos):
    root, config = photos
    for i in range(3):
        (root / f"a/pen/{i}.jpg").write_bytes(b"")
    assert stops(config).endswith(" (2 more such findings; --mode=check_data lists them)")


def test_a_photo_smaller_than_the_crop_stops_a_run_at_its_start(photos):
    root, config = photos
    config.data.transform.resize = None
    assert stops(config) is None, "20x24 pixels reach a crop of 16x16"
    photo(root / "b/pen/2.jpg", (15, 40))
    line = stops(config)
    assert f"{root}/b/pen/2.jpg: the image is 15x40, smaller than the crop 16x16" in line
    config.data.transform.crop = None
    assert "come in any size; set transform.resize or transform.crop" in stops(config)


def test_of_records_a_sample_is_decoded_and_by_check_data_all():
    import io

    def encoded(hw):
        buffer = io.BytesIO()
        Image.new("RGB", hw[::-1]).save(buffer, "PNG")
        return buffer.getvalue()

    records = [encoded((20, 20))] * 299 + [encoded((9, 20))]
    transform = Transform((16, 16), (0.5,), (0.5,), crop="random")
    images = ImageSet("x", ("a",), np.zeros(300, np.int32), records=records)
    assert (
        "x[299]: the image is 9x20, smaller than the crop"
        in image_set_problems(images, [transform])[0]
    ), "the last one is in every sample"
    images = ImageSet(
        "x", ("a",), np.zeros(300, np.int32), records=[records[0], records[-1], *records[1:-1]]
    )
    assert image_set_problems(images, [transform]) == []
    assert "x[1]: the image is 9x20" in image_set_problems(images, [transform], files=False)[0]


def test_a_set_without_images_is_refused():
    with pytest.raises(DataError, match="x: a set without images"):
        ImageSet("x", ("a",), paths=())
    with pytest.raises(DataError, match="x: a set without images"):
        SegmentationSet("x", (), None, None, None)


@pytest.mark.parametrize(
    "part",
    ["s/images/00003.png", "s/labels/00003.png", "t/leftImg8bit/val/bonn/bonn_3_leftImg8bit.png"],
)
@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"text")]
)
def test_a_broken_frame_or_label_stops_a_run_at_its_start(frames, part, spoil):
    root, make = frames
    spoil(root / part)
    assert str(root / part) in stops(make("source_only_seg"))


def test_a_label_of_another_size_than_its_frame_stops_a_run_at_its_start(frames):
    root, make = frames
    for i in range(5, 30):
        frame(root / "s", GTA5, f"{i:05d}")
    frame(root / "s", GTA5, "00026", hw=(4, 9))
    assert f"{root}/s/labels/00026.png: the label is 6x4 and its image 9x4" in stops(
        make("source_only_seg")
    )


def test_a_frame_smaller_than_plcas_crop_stops_a_run_at_its_start(frames):
    root, make = frames
    config = make("plca")
    for name in ("source", "target"):
        config.data.transforms[name].size, config.data.transforms[name].shorter_edge = (
            (4, 6),
            (4, 5),
        )
    assert stops(config) is None, "resized to 4x6"
    frame(root / "t", CITYSCAPES, "train/ulm/ulm_3", IDS[:, :5])
    assert (
        "ulm_3_leftImg8bit.png: an image of 5x4 (width x height): resized to 4x5 (height x width), "
        "smaller than the crop 4x6" in stops(config)
    )


def test_a_crop_that_self_training_cannot_take_is_found_before_the_first_stage(frames):
    _, make = frames
    config = make("spcl")
    stage = next(name for name in config.stages if config[name].method == "self_training")
    shrink(config)
    assert stops(config) is None
    config.data.transforms[config[stage].transform].size = (4, 6)
    config.data.transforms[config[stage].transform].scale_range = (0.5, 1.5)
    assert "resized to 2x3 (height x width), smaller than the crop 4x6" in stops(config)


def test_the_smallest_size_that_is_checked_is_the_smallest_that_occurs():
    settings = dict(
        size=(1, 1),
        resize="bilinear",
        image_scales=(),
        shorter_edge=None,
        scale_range=(0.7, 1.3),
        flip=False,
        color_jitter=None,
        channels="rgb",
        divisor=1.0,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    for change in (dict(), dict(scale_range=None, shorter_edge=(5, 9))):
        transform = from_config(settings | change)
        for hw in ((20, 31), (31, 20), (10, 10)):
            for size in range(1, 24):
                wanted = from_config(
                    settings
                    | change
                    | dict(size=(min(size, 5) if "shorter_edge" in change else size, size))
                )
                try:
                    wanted.check_input(hw)
                    is_safe = True
                except DataError:
                    is_safe = False
                try:
                    apply(
                        np.zeros((*hw, 3), np.uint8),
                        None,
                        np.zeros(transform.num_uniforms, np.float32),
                        0.0,
                        wanted,
                    )
                    works = True
                except DataError:
                    works = False
                assert is_safe == works
                for uniform in (0.3, 0.999):
                    if is_safe:
                        apply(
                            np.zeros((*hw, 3), np.uint8),
                            None,
                            np.full(transform.num_uniforms, uniform, np.float32),
                            0.0,
                            wanted,
                        )


def test_an_oracle_without_labels_stops_a_run_before_its_first_stage(frames):
    root, make = frames
    config = make("source_only_seg")
    stage = config.stages[0]
    config[stage].domain = "target"
    assert stops(config) is None
    (root / "t/gtFine/train").rename(root / "t/gtFine/elsewhere")
    assert (
        f"config.{stage}.domain='target': an oracle trains on the target's labels, and "
        "cityscapes/train has none" in stops(config)
    )
    config[stage].domain = "sauce"
    assert f"config.{stage}.domain='sauce': the labels of 'sauce' are not for training" in stops(
        config
    )


def test_placeholders_of_the_test_split_are_called_so(frames):
    root, make = frames
    for i in range(3):
        frame(
            root / "t", CITYSCAPES, f"test/berlin/berlin_{i}", [[3] * 6, [2] * 6, [0] * 6, [1] * 6]
        )
    line = stops(make("source_only_seg", **{"data.evaluation.split": "test"}))
    assert (
        "the labels of the test split are placeholders: every pixel is ignored; use split=val, or "
        "remove gtFine/test for an unlabelled set" in line
    )
    assert "TrainIds" not in line
    (root / "t/gtFine/test").rename(root / "elsewhere")
    assert stops(make("source_only_seg", **{"data.evaluation.split": "test"})) is None


@pytest.mark.parametrize(
    "ids, says, never",
    [
        ([[0] * 6] * 4, "placeholders", "TrainIds"),
        (
            [[4] * 6, [5] * 6, [6] * 6, [0] * 6],
            (
                "every pixel of every label is ignored, none belongs to a class: ids 0 (unlabeled),"
                " 4 (static)"
            ),
            "placeh",
        ),
        ([[0] * 6, [1] * 6, [2] * 6, [255] * 6], "these are TrainIds", "ignored,"),
        ([[0] * 6, [1] * 6, [10] * 6, [13] * 6], "these are TrainIds", "ignored,"),
        (
            [[10] * 6, [9] * 6, [14] * 6, [16] * 6],
            "every pixel of every label is ignored",
            "placeholders",
        ),
    ],
)
def test_a_diagnosis_asks_first_whether_there_is_anything_to_judge_by(frames, ids, says, never):
    root, make = frames
    for i in range(1, 5):
        frame(root / "t", CITYSCAPES, f"val/bonn/bonn_{i}", ids)
    line = stops(make("source_only_seg"))
    assert says in line and never not in line, line


def test_a_set_of_which_one_label_holds_a_class_is_no_set_of_placeholders(frames):
    root, make = frames
    for i in range(1, 60):
        frame(
            root / "t", CITYSCAPES, f"val/bonn/bonn_{i:03d}", IDS if i == 37 else np.zeros_like(IDS)
        )
    for i in range(1, 5):
        for part in CITYSCAPES:
            os.remove(root / "t" / part.format(f"val/bonn/bonn_{i}"))
    assert stops(make("source_only_seg")) is None


def test_own_labels_that_ignore_everything_are_refused_as_such(tmp_path):
    seg_files.write_classes(tmp_path, "7,road,0,1,2,3", "0,void,-1,0,0,0")
    frame(tmp_path, GTA5, "1", np.zeros_like(IDS))
    from data_pipeline.segmentation.readers import read_domain

    with pytest.raises(
        DataError,
        match=(
            r"labels/1.png and all others: every pixel of every label is ignored, none belongs to "
            r"a class: ids 0 \(void\)"
        ),
    ):
        check_first_labels(read_domain(seg_files.own(tmp_path)))


def test_the_head_of_a_run_names_what_is_left_out_and_what_is_odd(photos, frames):
    root, config = photos
    (root / "a/mug/1.tif").write_text("x")
    (root / "b/pen/.2.jpg").write_text("x")
    lines = tasks.get(config.task).describe(config, tasks.get(config.task).open_data(config))
    assert (
        "source: not used: 1 that end in .tif, read are .jpg, .jpeg, .png, .bmp: "
        f"{root}/a/mug/1.tif" in lines
    )
    assert f"target: not used: 1 hidden: {root}/b/pen/.2.jpg" in lines
    assert (
        f"note: config.source_only.batch_size={config.source_only.batch_size} is more than the 6 "
        "source images" in "\n".join(lines)
    )
    root, make = frames
    (root / "t/gtFine/train/ulm/ulm_9.png").write_text("x")
    os.rename(root / "s/images/00001.png", root / "s/images/caf\udce9.png")
    os.rename(root / "s/labels/00001.png", root / "s/labels/caf\udce9.png")
    (root / "s/images/caf\udce9.txt").write_text("x")
    config = make("source_only_seg")
    lines = tasks.get(config.task).describe(config, tasks.get(config.task).open_data(config))
    assert (
        "target: not used: 1 that do not end in _gtFine_labelIds.png: "
        f"{root}/t/gtFine/train/ulm/ulm_9.png" in lines
    )
    assert (
        f"source: not used: 1 that end in .txt, read are .png: {root}/s/images/caf\\xe9.txt"
        in lines
    )
    assert any(
        line.startswith("note: gta5: 4 images; expected 24,966, as the official download has")
        for line in lines
    )
    assert all(line.isprintable() for line in lines)


def test_a_report_ends_with_what_training_would_say(photos, capsys):
    root, config = photos
    assert check_data.run(config) and "everything can be used" in capsys.readouterr().out
    config.data.transform.resize = None
    photo(root / "b/pen/2.jpg", (9, 40))
    assert not check_data.run(config)
    said = capsys.readouterr().out
    assert (
        f"would stop: {root}/b/pen/2.jpg: the image is 9x40, smaller than the crop 16x16" in said
        and "something is wrong" in said
    )
    photo(root / "b/ruler/2.jpg")
    assert not check_data.run(config)
    assert capsys.readouterr().out.count("class 'ruler' is in domain 'b' and not in 'a'") == 1, (
        "said once"
    )


def test_one_folder_has_one_spelling_as_a_domain(photos):
    root, _ = photos
    for source in ("a/", "./a", "a"):
        domains = tasks.get("classification").open_data(
            recipe("can", f"folder,root={root},source={source},target=./b/,size=16")
        )
        assert (domains.source.name, domains.target.name) == ("a", "b")
    with pytest.raises(DataError, match="'a' stands there twice"):
        tasks.get("classification").open_data(
            recipe("can", f"folder,root={root},source=a+a/,target=b,size=16")
        )


def test_a_target_whose_labels_are_trained_on_is_noted(photos):
    root, _ = photos
    for source, is_noted in (("a+b", True), ("a", False)):
        config = recipe("can", f"folder,root={root},source={source},target=b/,size=16")
        lines = "\n".join(
            tasks.get("classification").describe(
                config, tasks.get("classification").open_data(config)
            )
        )
        assert ("note: b is source and target: its labels are trained on" in lines) == is_noted


def test_a_source_that_is_evaluated_on_is_noted(frames):
    config = frames[1]("source_only_seg")
    task = tasks.get("segmentation")
    domains = task.open_data(config)
    assert "source and evaluation share images" not in "\n".join(task.describe(config, domains))
    shared = dataclasses.replace(domains, evaluation=domains.source)
    assert "note: source and evaluation share images" in "\n".join(task.describe(config, shared))


def test_classes_that_differ_in_case_alone_are_noted(photos):
    root, config = photos
    for domain in ("a", "b"):
        photo(root / domain / "Mug/1.jpg")
    lines = tasks.get("classification").describe(
        config, tasks.get("classification").open_data(config)
    )
    assert (
        "note: a: classes that differ in case alone: Mug, mug; merge them if they are one" in lines
    )


@pytest.mark.parametrize(
    "names, views, is_noted",
    [
        (("0", "1", "10"), "", True),
        (("A", "b", "ß"), "", True),
        (("0", "1"), ",flip=no", False),
        (("0", "one"), "", False),
    ],
)
def test_mirrored_digits_and_characters_are_noted_with_what_turns_that_off(
    tmp_path, names, views, is_noted
):
    for domain in ("a", "b"):
        for name in names:
            photo(tmp_path / domain / name / "1.jpg")
    config = recipe("can", f"folder,root={tmp_path},source=a,target=b,size=16{views}")
    task = tasks.get("classification")
    lines = [line for line in task.describe(config, task.open_data(config)) if "mirror" in line]
    assert len(lines) == is_noted
    assert not is_noted or f"({', '.join(names)})" in lines[0] and "flip=no" in lines[0]


def test_check_data_does_not_say_that_nothing_stops_a_run_after_a_finding(photos, capsys):
    root, config = photos
    assert check_data.run(config) and "  nothing stops it" in capsys.readouterr().out
    path = root / "b/mug/0.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    assert not check_data.run(config)
    said = capsys.readouterr().out
    assert (
        "0.jpg: cannot be decoded" in said
        and "nothing else stops it" in said
        and "nothing stops it" not in said
    )


def test_a_source_without_labels_is_named_by_its_root(frames):
    config = frames[1]("source_only_seg")
    root = config.data.source.root
    shutil.rmtree(f"{root}/labels")
    with pytest.raises(
        UserError, match=f"config.data.source.root={root}: has images and no labels"
    ):
        tasks.get("segmentation").open_data(config)
