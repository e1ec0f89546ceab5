"""`--mode=predict` with a classifier: a finished tiny run, its evaluation images as files."""

import copy
import csv
import functools
import json
import pathlib

import in_process
import numpy as np
import pytest
from PIL import Image

import dajax
from dajax.cli import predict as command
from dajax.errors import UserError
from dajax.predict import run
from dajax.predict.out_folder import OutFolder
from dajax.predict.run import predict
from data_pipeline.digits import sets as digits
from data_pipeline.errors import DataError


@pytest.fixture(scope="module")
def workdir(tiny_run):
    return tiny_run[0]


@pytest.fixture(scope="module")
def trained(workdir):
    """What dajax.load gives; leave it as it is."""
    return dajax.load(workdir)


@pytest.fixture(scope="module")
def target():
    return digits.target()


@pytest.fixture(scope="module", autouse=True)
def opened_once():
    """The checkpoint is read once for all tests, since that is half of what they take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "open_workdir", functools.cache(run.open_workdir))
        yield


@pytest.fixture
def photos(target, tmp_path):
    """Ten handwritten digits, in two subfolders."""
    root = tmp_path / "photos"
    for i in range(10):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(target.images[i, ..., 0]).save(path)
    return root


def rows(out):
    """The rows of predictions.csv below its head."""
    with open(out / "predictions.csv", newline="") as file:
        head, *found = csv.reader(file)
    assert head == ["file", "class", *"0123456789"]
    return found


def test_predictions_are_those_of_the_evaluation(workdir, trained, target, tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    for i, image in enumerate(target.images):
        Image.fromarray(image[..., 0]).save(root / f"{i:04d}.png", compress_level=0)
    assert predict(workdir, root, tmp_path / "out") == []
    found = rows(tmp_path / "out")
    assert [row[0] for row in found] == [f"{i:04d}.png" for i in range(len(target.images))]
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (target.labels, [int(row[1]) for row in found]), 1)
    np.testing.assert_array_equal(confusion, trained.results["confusion"])
    probabilities = np.array([row[2:] for row in found], float)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)  # six digits each
    assert [str(k) for k in probabilities.argmax(1)] == [row[1] for row in found]


def test_broken_files_are_listed_and_all_others_done(workdir, photos, tmp_path, capsys):
    (photos / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff1234")
    (photos / "empty.png").write_bytes(b"")
    flags = dict(stage="source_only", window=None, folders=None, select="last")
    is_whole = command.run(None, workdir, images=str(photos), out=str(tmp_path / "out"), **flags)
    said = capsys.readouterr().out
    assert not is_whole and len(rows(tmp_path / "out")) == 10
    assert "stage source_only at step 12" in said
    assert "\nnot predicted: 2; what could be read is done:\n  " in said
    assert (
        "broken.jpg: cannot be decoded" in said and "empty.png: cannot be decoded: the file" in said
    )


def test_a_run_that_was_ended_goes_on_to_the_same_files(
    workdir, trained, photos, tmp_path, monkeypatch
):
    """It ends in its second batch, whose files are there and are not yet written down."""
    predict(workdir, photos, tmp_path / "whole", folders="copy")
    runtime, add = copy.deepcopy(trained.config.runtime), OutFolder.add
    runtime.eval_batch_size = 4

    def add_first(self, records):
        if self.records:
            raise KeyboardInterrupt
        add(self, records)

    with monkeypatch.context() as patch:
        patch.setattr(OutFolder, "add", add_first)
        with pytest.raises(KeyboardInterrupt):
            predict(workdir, photos, tmp_path / "out", folders="copy", runtime=runtime)
    done = (tmp_path / "out" / "finished.jsonl").read_text().splitlines()
    assert len(done) == 4 and not (tmp_path / "out" / "predictions.csv").exists()
    predict(workdir, photos, tmp_path / "out", folders="copy", runtime=runtime)

    def files(root):
        return {str(x.relative_to(root)): x.read_bytes() for x in root.rglob("*") if x.is_file()}

    whole, again = files(tmp_path / "whole"), files(tmp_path / "out")
    assert whole.keys() == again.keys() and len(whole) == 10 + 3, "no half file"
    copies = [name for name in whole if name.startswith("by_class/")]
    assert len(copies) == 10 and all(whole[name] == again[name] for name in copies)
    one, other = (
        np.array([row[2:] for row in rows(tmp_path / name)], float) for name in ("whole", "out")
    )
    np.testing.assert_allclose(one, other, atol=1e-5)  # batches of ten and of four


def test_a_second_run_skips_what_is_done_and_takes_what_is_new_or_changed(
    workdir, photos, tmp_path, capsys
):
    out = tmp_path / "out"
    predict(workdir, photos, out)
    before = rows(out)
    (photos / "a" / "0.png").unlink()
    Image.open(photos / "b" / "1.png").save(photos / "b" / "11.png")
    Image.open(photos / "b" / "3.png").resize((40, 50)).save(photos / "b" / "9.png")
    capsys.readouterr()
    predict(workdir, photos, out)
    assert "predicted: 10 pictures, 8 of them before" in capsys.readouterr().out
    after = rows(out)
    assert [row[0] for row in after] == sorted(row[0] for row in after) and len(after) == 10
    same = {row[0]: row for row in before}
    changed = [row[0] for row in after if row != same.get(row[0])]
    assert changed == ["b/11.png", "b/9.png"]


def test_pictures_are_linked_or_copied_into_a_folder_for_each_class(workdir, photos, tmp_path):
    out = tmp_path / "out"
    predict(workdir, photos, out)
    assert not (out / "by_class").exists()
    predict(workdir, photos, out, folders="link")
    links = {x.name: x for x in (out / "by_class").rglob("*.png")}
    assert len(links) == 10 and all(x.is_symlink() for x in links.values())
    for name, class_name, *_ in rows(out):
        path = links[pathlib.Path(name).name]
        assert path.relative_to(out / "by_class").parts == (class_name, *pathlib.Path(name).parts)
        assert path.read_bytes() == (photos / name).read_bytes()
    links["0.png"].unlink()  # a person has sorted it elsewhere
    predict(workdir, photos, out, folders="link")
    assert not links["0.png"].is_symlink(), "what was sorted once is not put back"


def test_another_stage_is_refused_in_the_same_folder(workdir, photos, tmp_path):
    predict(workdir, photos, tmp_path / "out")
    with pytest.raises(UserError, match="holds predictions of another model, stage can at"):
        predict(workdir, photos, tmp_path / "out", stage="source_only")


def test_what_a_classifier_does_not_use_is_an_error(workdir, photos, tmp_path):
    with pytest.raises(UserError, match="--window: is for segmentation"):
        predict(workdir, photos, tmp_path / "out", window=(32, 32))
    with pytest.raises(UserError, match="--window=32: expected HEIGHTxWIDTH"):
        flags = dict(stage=None, window="32", folders=None, select="last")
        command.run(None, workdir, images=str(photos), out="o", **flags)
    with pytest.raises(UserError, match="is no workdir of dajax"):
        predict(tmp_path, photos, tmp_path / "out")
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    with pytest.raises(UserError, match="no stage has a checkpoint yet; train it first"):
        predict(tmp_path, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_load_takes_arrays_paths_and_pil_images(trained, target, photos):
    image, path = target.images[4], photos / "a" / "4.png"
    given = [image, path, str(path), Image.open(path), Image.open(path).convert("RGB")]
    logits = trained.logits(given)
    assert logits.shape == (5, 10)
    np.testing.assert_array_equal(logits, np.tile(logits[:1], (5, 1)))
    for one in (path, Image.open(path), image):
        assert trained.predict(one).tolist() == [logits[0].argmax()]
    colored = np.repeat(image, 3, axis=2)  # as a file with equal channels
    np.testing.assert_array_equal(trained.logits(colored), logits[:1])
    assert trained.predict([Image.open(path).resize((90, 70))]).shape == (1,)


@pytest.mark.parametrize(
    "image, says",
    [
        (np.zeros((0, 32, 1), np.uint8), r"uint8 \[0, 32, 1\]: it has no pixels"),
        (np.zeros((32, 32), np.uint8), r"uint8 \[32, 32\]; expected uint8 \[H, W, 1 or 3\]"),
        (Image.new("RGB", (0, 5)), "has no pixels, 0x5"),
        (Image.new("F", (32, 32)), "its pixels are of mode F"),
        (3, "an image is a int; expected a path, a PIL image, or uint8"),
        ("nowhere.png", "nowhere.png: no such file"),
    ],
)
def test_what_is_no_picture_is_one_line(trained, image, says):
    with pytest.raises(DataError, match=says):
        trained.predict([image])


def test_no_pictures_or_none_at_a_time_are_one_line(trained, target):
    with pytest.raises(DataError, match="images: there are none; expected one picture or more"):
        trained.predict([])
    with pytest.raises(DataError, match="batch_size=0: expected 1 or more"):
        trained.features(target.images[:2], batch_size=0)


def test_the_command_line_predicts_with_a_workdir_alone(workdir, photos, tmp_path, capsys):
    words = ["--mode=predict", f"--images={photos}", f"--out={tmp_path / 'out'}"]
    assert in_process.command_line(*words, f"--workdir={workdir}") == 0
    assert len(rows(tmp_path / "out")) == 10
    (photos / "bad.png").write_bytes(b"")
    assert in_process.command_line(*words, f"--workdir={workdir}", "--folders=link") == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"  {photos / 'bad.png'}: cannot be decoded: the file is empty")


@pytest.mark.parametrize(
    "words, says",
    [
        (["--mode=predict", "--images=x", "--workdir=w"], "--mode=predict needs --out=FOLDER; it"),
        (["--mode=predict", "--out=x", "--workdir=w"], "--mode=predict needs --images=FOLDER; it"),
        (["--mode=predict", "--images=x", "--out=x"], "--config is missing, for example"),
        (["--config=configs/can.py", "--out=x"], "--out is for --mode=predict or --mode=export or"),
        (["--config=configs/can.py", "--folders=move"], "flag --folders=move: value should be one"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(words, says):
    assert in_process.command_line(*words).startswith(f"error: {says}")


def test_the_run_of_a_config_takes_its_runtime_and_refuses_another(
    workdir, trained, photos, tmp_path
):
    stored = json.loads((workdir / "config.json").read_text())
    config = copy.deepcopy(trained.config)
    flags = dict(stage=None, window=None, folders=None, select="last")
    out = str(tmp_path / "out")
    assert command.run(config, workdir, images=str(photos), out=out, **flags)
    config.seed = 5
    with pytest.raises(UserError, match="was begun with another config: seed="):
        command.run(config, workdir, images=str(photos), out=out, **flags)
    assert json.loads((workdir / "config.json").read_text()) == stored
