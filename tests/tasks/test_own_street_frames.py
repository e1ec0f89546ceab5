"""Own folders of street frames through the segmentation recipes, as a user gives them: a made-up
miniature in the default suite, real frames in the slow one.
"""

import json

import in_process
import numpy as np
import own_folders
import pytest
import recipes
import seg_files
from PIL import Image
from recipes import get_config

from dajax import tasks
from dajax.errors import UserError
from dajax.models import build as models_build
from data_pipeline.segmentation.labels import CITYSCAPES

RECIPES = recipes.of_task("segmentation")


@pytest.fixture
def shallow(monkeypatch):
    """Networks of one residual block, which compile at once; VGG-16 as it is."""
    build = models_build.deeplab.build_segmenter

    def built(config_model, *args):
        is_vgg = config_model.backbone.startswith("vgg")
        return (build if is_vgg else in_process.shallow(build))(config_model, *args)

    monkeypatch.setattr(models_build.deeplab, "build_segmenter", built)


@pytest.fixture
def folders(tmp_path):
    """(labelled day, unlabelled dusk, labelled dusk to measure on)."""
    return (
        own_folders.write_frames(tmp_path / "day", 3, label_name="NAME_L"),
        own_folders.write_frames(tmp_path / "dusk", 2, labelled=False, brightness=0.5),
        own_folders.write_frames(tmp_path / "val", 2, brightness=0.5, label_name="NAME_L"),
    )


def argument(day, dusk, evaluation=None, **more):
    items = [f"source={day}", f"target={dusk}", "size=32x48", "label_name=NAME_L.png"]
    items += [f"evaluation={evaluation}"] if evaluation else []
    return ",".join(["own", *items, *(f"{key}={value}" for key, value in more.items())])


def results_of(workdir):
    return json.loads((workdir / "results.json").read_text())["stages"]


def test_own_folders_run_from_one_argument(folders, shallow, tmp_path):
    config = own_folders.few_steps(get_config("source_only_seg", argument(*folders)))
    assert config.stages == ("source_only", "adabn"), "an oracle without the target's labels"
    config.stages, config.evaluation.reestimate_batches = ("source_only",), 0  # for its time
    in_process.run(config, tmp_path / "run")
    (figures,) = results_of(tmp_path / "run").values()
    assert set(figures["iou"]) == set(own_folders.CLASSES)
    assert np.sum(figures["confusion"]) == 2 * 36 * 48, "every pixel of both frames"
    assert len(list((tmp_path / "run/source_only/pictures").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_without_any_target_labels_trains_and_says_that_nothing_is_measured(
    recipe, folders, shallow, tmp_path, capsys
):
    config = own_folders.few_steps(get_config(recipe, argument(*folders[:2])))
    in_process.run(config, tmp_path / "run")
    for found in results_of(tmp_path / "run").values():
        assert all(key == "step" or key.startswith("label_free_") for key in found)
    pictures = list((tmp_path / "run").glob("*/pictures/*.png"))
    assert pictures
    for path in pictures:  # image and prediction, two pixels apart
        with Image.open(path) as picture:
            assert picture.width % 2 == 0 and picture.width < 3 * picture.height * 48 / 36
    said = capsys.readouterr().out
    assert "own has no labels, so there is nothing to measure on" in said
    images, out = folders[1] / "images", f"{tmp_path / 'run'}-predictions"
    words = f"--mode=predict --workdir={tmp_path / 'run'} --images={images} --out={out}"
    assert said.splitlines()[-3].endswith(words)
    assert in_process.command_line(*words.split()) == 0
    assert len(list((tmp_path / "run-predictions" / "labelIds").rglob("*.png"))) == 2


# Of VGG-16, whose sixteen layers take a minute, the recipe that reads most of a network.
LARGE = [(name, "resnet101") for name in RECIPES] + [("plca", "vgg16")]


@pytest.mark.slow
@pytest.mark.parametrize("recipe, network", LARGE)
def test_the_authors_settings_fit_own_folders_of_any_size(
    recipe, network, folders, shallow, tmp_path
):
    """Every size of views, crops and targets follows from size=, with large networks too; of BiCL's
    ten rounds the first.
    """
    config = get_config(recipe, argument(*folders, network=network, weights="none"))
    task, domains = domains_of(config)
    assert task.problems(config, domains) == []
    own_folders.few_steps(config)
    config.stages = tuple(name for name in config.stages if not name.endswith(tuple("123456789")))
    config.evaluation.reestimate_batches = 0
    in_process.run(config, tmp_path / "run")
    results = results_of(tmp_path / "run")
    assert results.keys() == set(config.stages)
    assert all("miou" in found for found in results.values() if len(found) > 1)


@pytest.fixture(scope="module")
def street(tmp_path_factory, shared_data):
    """A made-up split of real frames: two as the source, two others as a labelled target; all at
    256x128 pixels, as one of them is, since evaluation at full size would take minutes.
    """
    root = tmp_path_factory.mktemp("street")
    large = sorted((shared_data / "cityscapes_sample").rglob("*_leftImg8bit.png"))
    small = sorted((shared_data / "cityscapes_mmseg_256x128").rglob("*_leftImg8bit.png"))
    assert len(large) == 3 and len(small) == 1
    for domain, paths in (("source", large[:2]), ("target", [large[2], *small])):
        for path in paths:
            label = str(path).replace("leftImg8bit", "gtFine", 1)
            label = label.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
            _small(path, root / domain / "images/city" / path.name, Image.Resampling.BOX)
            name = path.name.replace("_leftImg8bit", "_labelIds")
            _small(label, root / domain / "labels/city" / name, Image.Resampling.NEAREST)
        rows = [
            f"{entry.id},{entry.name},{entry.train_id},{entry.color[0]},{entry.color[1]},"
            f"{entry.color[2]}"
            for entry in CITYSCAPES.classes
        ]
        seg_files.write_classes(root / domain, *rows)
    return root


def _small(path, copy, resampling):
    copy.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as picture:
        picture.resize((256, 128), resampling).save(copy)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_real_street_frames_go_through_every_recipe(recipe, street, shallow, tmp_path):
    """Each row of the table, over 19 classes."""
    arg = (
        f"own,source={street}/source,target={street}/target,size=64x128,"
        "image_name=NAME_leftImg8bit.png,label_name=NAME_labelIds.png"
    )
    config = own_folders.few_steps(get_config(recipe, arg))
    in_process.run(config, tmp_path / "run")
    results = results_of(tmp_path / "run")
    assert {"source_only", "adabn", "oracle"} <= results.keys()
    assert "control" in results or recipe == "source_only_seg"
    for name, figures in results.items():
        if len(figures) > 1:  # a stage that makes pseudo-labels is not measured
            assert set(figures["iou"]) == set(CITYSCAPES.class_names), name
            assert 0 <= figures["miou"] <= 100


def domains_of(config):
    task = tasks.get("segmentation")
    return task, task.open_data(config)


def test_held_classes_are_named_where_they_are_not_cityscapes(folders):
    day, _, val = folders
    task, domains = domains_of(config := get_config("daformer", argument(day, val)))
    names = domains.class_names
    for classes, held in (((1, 15), names[1]), ((15,), "no class")):
        config.daformer.feature_distance.classes = classes
        notes = [line for line in task.describe(config, domains) if "daformer holds" in line]
        assert len(notes) == 1 and f"the features of {held}: config.daformer.feat" in notes[0]
    config.daformer.feature_distance.weight = 0.0
    assert not any("daformer holds" in line for line in task.describe(config, domains))


def test_an_oracle_that_knows_the_evaluation_images_is_said_to(folders):
    day, _, val = folders
    task, domains = domains_of(config := get_config("source_only_seg", argument(day, val)))
    notes = [line for line in task.describe(config, domains) if "pictures that it knows" in line]
    assert len(notes) == 1 and notes[0].startswith("note: config.oracle trains on labels of the")
    config = get_config("source_only_seg", argument(day, val, day))
    assert not any("that it knows" in line for line in task.describe(config, domains_of(config)[1]))


def test_a_target_size_that_is_not_the_transforms_stops_a_run_before_its_first_step(folders):
    config = get_config("clan", argument(*folders))
    task, domains = domains_of(config)
    assert task.problems(config, domains) == []
    config.clan.target_hw = (512, 1024)
    (problem,) = task.problems(config, domains)
    assert problem.startswith(
        "config.clan.target_hw=(512, 1024), and config.data.transforms.target.size=(32, 48)"
    )


def test_scenes_refuse_a_root_that_they_would_not_read(tmp_path):
    config = get_config("clan")
    config.data.target.root = str(tmp_path)
    with pytest.raises(
        UserError, match=r"config.data.target.root=.*: variant scenes draws its own"
    ):
        tasks.get("segmentation").open_data(config)
