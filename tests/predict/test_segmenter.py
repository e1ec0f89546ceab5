"""`--mode=predict` with a segmenter: own folders of street frames through a short run."""

import fnmatch
import json

import in_process
import numpy as np
import own_folders
import pytest
from PIL import Image
from recipes import get_config

import dajax
from dajax.errors import UserError
from dajax.models import build as models_build
from dajax.predict import legend
from dajax.predict.run import predict
from dajax.predict.segmenter import KINDS, SegmenterOutput, file_of
from data_pipeline.segmentation.labels import CITYSCAPES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir of two steps, folder of its evaluation frames); networks of one residual block."""
    root = tmp_path_factory.mktemp("street")
    day, dusk, val = root / "day", root / "dusk", root / "val"
    own_folders.write_frames(day, 3, label_name="NAME_L")
    own_folders.write_frames(dusk, 2, labelled=False, brightness=0.5)
    own_folders.write_frames(val, 3, brightness=0.5, label_name="NAME_L")
    argument = f"own,source={day},target={dusk},evaluation={val},size=32x48,label_name=NAME_L.png"
    config = own_folders.few_steps(get_config("source_only_seg", argument))
    config.stages, config.evaluation.reestimate_batches = ("source_only",), 0
    with pytest.MonkeyPatch.context() as patch:
        build = in_process.shallow(models_build.deeplab.build_segmenter)
        patch.setattr(models_build.deeplab, "build_segmenter", build)
        in_process.run(config, root / "run")
        yield root / "run", val / "images"


def read(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def test_predictions_are_those_of_the_evaluation_in_four_kinds_of_files(run, tmp_path):
    workdir, images = run
    assert predict(workdir, images, tmp_path) == []
    confusion = np.zeros((3, 3), int)
    for path in images.rglob("*.png"):
        name = str(path.relative_to(images).with_suffix(""))
        files = {kind: read(tmp_path / file_of(kind, name)) for kind in KINDS}
        mode, classes = files["trainIds"]
        assert mode == "L" and classes.shape == (36, 48), "one channel, the picture's own size"
        label = images.parent / "labels" / f"{name}_L.png"
        truth = np.argmax(
            (read(label)[1][..., None, :] == np.array(own_folders.COLORS)).all(-1), axis=-1
        )
        np.add.at(confusion, (truth, classes), 1)
        mode, colors = files["color"]
        assert mode == "RGB" and (colors == np.array(own_folders.COLORS)[classes]).all()
        assert files["labelIds"][0] == "L" and (files["labelIds"][1] == classes).all()
        assert files["overlay"][1].shape[1] == legend.WIDTHS[0]
    figures = json.loads((workdir / "results.json").read_text())["stages"]["source_only"]
    np.testing.assert_array_equal(confusion, figures["confusion"])


def test_a_second_run_writes_what_is_missing(run, tmp_path, capsys):
    workdir, images = run
    predict(workdir, images, tmp_path)
    gone = tmp_path / file_of("color", "a/0")
    kept = tmp_path / file_of("color", "b/1")
    before, stamp = gone.read_bytes(), kept.stat().st_mtime_ns
    gone.unlink()
    capsys.readouterr()
    predict(workdir, images, tmp_path)
    assert "predicted: 3 pictures, 2 of them before" in capsys.readouterr().out
    assert gone.read_bytes() == before and kept.stat().st_mtime_ns == stamp


def test_a_window_that_covers_the_picture_gives_the_whole(run):
    trained, images = dajax.load(run[0]), sorted(run[1].rglob("*.png"))
    whole = trained.predict(images, batch_size=2)
    covered = trained.predict(images, batch_size=2, window=(40, 48))
    np.testing.assert_array_equal(whole, covered)
    windows = trained.predict(images, batch_size=2, window=(16, 24))
    assert [x.shape for x in windows] == [(36, 48)] * 3


def test_load_takes_arrays_paths_and_pil_images(run):
    trained, path = dajax.load(run[0]), run[1] / "a" / "0.png"
    array, opened, direct = trained.predict([read(path)[1], Image.open(path), path], batch_size=2)
    (alone,) = trained.predict(path, batch_size=2)
    for other in (opened, direct, alone):
        np.testing.assert_array_equal(array, other)


def test_a_workdir_of_before_finds_its_classes_where_its_config_says(run, tmp_path):
    workdir, images = run
    predict(workdir, images, tmp_path / "now")
    table = workdir / "classes.csv"
    text = table.read_text()
    table.unlink()
    try:
        predict(workdir, images, tmp_path / "then")
    finally:
        table.write_text(text)
    now, then = (tmp_path / x / file_of("color", "a/0") for x in ("now", "then"))
    assert now.read_bytes() == then.read_bytes()
    assert text.splitlines()[:2] == ["id,name,train_id,r,g,b", own_folders.ROWS[0]]


def test_what_a_segmenter_does_not_use_is_an_error(run, tmp_path):
    with pytest.raises(UserError, match="--folders=copy: is for classification"):
        predict(*run, tmp_path, folders="copy")


class _Known:
    """A segmenter that knows the answer."""

    class_names = CITYSCAPES.class_names

    def predict(self, images, *, batch_size, window):
        return [image[..., 0] % 19 for image in images]


class _Folder:
    def __init__(self, path):
        self.path, self.written = path, {}

    def write(self, relative, content):
        path = self.path / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_label_ids_are_what_the_cityscapes_server_takes(tmp_path):
    """Regular ids, one channel of 8 bits, and in the folder one file for each frame whose name is
    <city>_<sequence>_<frame>*.png: getPrediction of cityscapesscripts.
    """
    output = SegmenterOutput(
        _Known(), _Folder(tmp_path), space=CITYSCAPES, window=None, batch_size=4
    )
    frames = ["berlin/berlin_000000_000019", "berlin/berlin_000001_000019"]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    pictures = [type("P", (), {"name": f"{frame}_leftImg8bit"}) for frame in frames]
    output.write(pictures, list(pixels))
    there = [x.name for x in (tmp_path / "labelIds").rglob("*") if x.is_file()]
    for frame, image in zip(frames, pixels, strict=True):
        (found,) = fnmatch.filter(there, f"{frame.split('/')[1]}*.png")
        mode, ids = read(tmp_path / "labelIds" / "berlin" / found)
        assert mode == "L" and ids.dtype == np.uint8 and ids.shape == (32, 64)
        np.testing.assert_array_equal(CITYSCAPES.lut[ids], image[..., 0] % 19)
        assert set(np.unique(ids)) <= {entry.id for entry in CITYSCAPES.trained}


def test_classes_that_are_not_the_models_are_refused(tmp_path):
    space = CITYSCAPES.__class__("other.csv", "own", CITYSCAPES.classes[7:10])
    with pytest.raises(UserError, match="other.csv: its classes .road, sidewalk. are not those"):
        SegmenterOutput(_Known(), _Folder(tmp_path), space=space, window=None, batch_size=1)


def test_the_legend_names_what_is_there_with_its_share():
    classes = np.zeros((100, 200), np.uint8)
    classes[:, 150:] = 10
    image = np.full((100, 200, 3), 255, np.uint8)
    drawn = legend.overlay(image, classes, CITYSCAPES.palette, CITYSCAPES.class_names)
    assert drawn.shape[1] == 512 and drawn.shape[0] > 256, "the legend stands below"
    half = (CITYSCAPES.palette[[0, 10]].astype(int) + 255) // 2
    np.testing.assert_allclose(drawn[[10, 10], [10, 500]], half, atol=1)
    below = drawn[256:].reshape(-1, 3)
    counts = [int((below == color).all(-1).sum()) for color in CITYSCAPES.palette]
    shown = [k for k, count in enumerate(counts) if count > 100]  # text has some greys of classes
    assert shown == [0, 10], "the classes that the picture has"
    strip = np.zeros((9000, 2), np.uint8)
    tall = legend.overlay(np.stack([strip] * 3, -1), strip, CITYSCAPES.palette, ["road"] * 19)
    assert tall.shape[0] < 9000
    small = legend.overlay(image, classes, CITYSCAPES.palette, ["x" * 300] * 19)
    assert small.shape[1] == 512, "a name that is too long is cut at the edge"
