"""`--mode=export`: what is written predicts as dajax does, and opens again; what would not is not
kept.
"""

import dataclasses
import json
import shlex
import shutil
import sys
import tomllib
import zipfile

import exportable
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tiny
from absl.testing import flagsaver
from ml_collections import ConfigDict
from PIL import Image

import dajax
from dajax.cli import command
from dajax.cli import export as export_command
from dajax.errors import UserError
from dajax.export import exported, formats, onnx, stablehlo, torch_weights
from dajax.models.seg_weights import from_torch_segmenter
from dajax.models.weights import from_torch_resnet
from data_pipeline.errors import DataError

TASKS = ("classification", "segmentation")


@pytest.fixture(scope="module", params=TASKS)
def opened(request, tmp_path_factory):
    """(workdir, what dajax.load gives of it), of a small network."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as monkeypatch:
        exportable.shallow_networks(monkeypatch)
        yield folder, exportable.make(folder, request.param)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """As `opened`, of classification alone."""
    folder = tmp_path_factory.mktemp("classifier")
    with pytest.MonkeyPatch.context() as monkeypatch:
        exportable.shallow_networks(monkeypatch)
        yield folder, exportable.make(folder, "classification")


def export(workdir, name, out, stage=None):
    export_command.run(None, workdir, format=name, out=str(out), stage=stage, select="last")


def test_a_stablehlo_file_predicts_without_its_workdir(opened, tmp_path, capsys):
    workdir, trained = opened
    task, out = trained.config.task, tmp_path / "new" / "network.stablehlo"
    export(workdir, "stablehlo", out)
    said = capsys.readouterr().out
    assert f"{workdir}: stage {trained.stage}, step 3, {len(trained.class_names)} classes" in said
    assert "uint8 [batch, height, width, 3] -> classes, probabilities, logits" in said
    assert "on 10 pictures: probabilities differ by at most" in said
    assert f'dajax.load("{out}").predict(images)' in said
    assert [path.name for path in out.parent.iterdir()] == [out.name]

    loaded = dajax.load(out)
    assert loaded.class_names == trained.class_names and loaded.step == exportable.STEP
    assert loaded.contract["dajax"] == dajax.__version__
    images = exportable.pictures(task, 5)
    expected = trained.predict(images)
    if task == "classification":
        outputs, logits = loaded.outputs(images), trained.logits(images)
        np.testing.assert_array_equal(outputs["classes"], expected)
        np.testing.assert_allclose(outputs["logits"], logits, atol=1e-4)
        assert np.ptp(logits, axis=0).max() > 0.1, "pictures that differ for the network"
    else:
        np.testing.assert_array_equal(loaded.predict(images, batch_size=3), expected)
        assert all(len(np.unique(classes)) > 1 for classes in expected)
    odd = exportable.pictures(task, 2, (31, 17))
    Image.fromarray(odd[0]).save(tmp_path / "odd.png")
    mixed = [*images, tmp_path / "odd.png", Image.fromarray(odd[1])]
    for found, wanted in zip(loaded.predict(mixed), trained.predict(mixed), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("opened", ["segmentation"], indirect=True)
def test_windows_and_opencvs_resize_go_into_the_file(opened, tmp_path):
    trained = opened[1]
    config = ConfigDict(trained.config.to_dict())
    config.evaluation.window.update(crop=(16, 12), stride=(16, 6))
    resize = dataclasses.replace(trained.transform, resize="bilinear_plain")
    windowed = dataclasses.replace(trained, config=config, transform=resize)
    out = tmp_path / "network.stablehlo"
    assert formats.export(windowed, "stablehlo", out).difference < 1e-5
    images = [*exportable.pictures("segmentation", 2), exportable.pictures("", 1, (31, 17))[0]]
    expected = windowed.predict(images)
    loaded = dajax.load(out)
    for found, wanted in zip(loaded.predict(images), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert loaded.contract["preprocessing"]["window"]["crop_hw"] == [16, 12]
    whole = zip(trained.predict(images), expected, strict=True)
    assert any((one != other).any() for one, other in whole)


def test_torch_weights_come_back_as_weights(opened, tmp_path, capsys):
    """As config.model.weights reads them: the set of normalisation that the stage predicts with, in
    all sets.
    """
    workdir, trained = opened
    out = tmp_path / "network.safetensors"
    export(workdir, "safetensors", out)
    assert "differ by at most 0.0e+00" in capsys.readouterr().out
    entries, network = safetensors.numpy.load_file(out), trained.model.network
    params, batch_stats = trained.params[network], trained.batch_stats[network]
    norm_set = trained.config[trained.stage].target_bn
    scale = params["backbone"]["bn1"]["scale"]
    np.testing.assert_array_equal(entries["bn1.weight"], scale[norm_set])
    kernel = params["backbone"]["layer1_0"]["conv1"]["kernel"]
    np.testing.assert_array_equal(entries["layer1.0.conv1.weight"], kernel.transpose(3, 2, 0, 1))
    if trained.config.task == "classification":
        assert not np.array_equal(scale[0], scale[1]) and norm_set == 1
        np.testing.assert_array_equal(entries["fc.weight"], params["head"]["kernel"].T)
        again, _, report = from_torch_resnet(entries, params["backbone"], batch_stats["backbone"])
        kernel_again = again["layer1_0"]["conv1"]["kernel"]
    else:
        again, _, report = from_torch_segmenter(entries, params, batch_stats)
        kernel_again = again["backbone"]["layer1_0"]["conv1"]["kernel"]
        head_again, head = (tree["layer6"]["conv2d_list_0"]["bias"] for tree in (again, params))
        np.testing.assert_array_equal(head_again, head)
    assert not report.missing and not report.unexpected
    np.testing.assert_array_equal(kernel_again, kernel)
    with safetensors.safe_open(out, "np") as file:
        assert json.loads(file.metadata()["dajax"])["class_names"] == list(trained.class_names)


def test_a_file_that_predicts_something_else_is_not_kept(classifier, tmp_path, monkeypatch):
    """The source's normalisation in place of the target's; and what is not a number."""
    workdir, _ = classifier
    out, right = tmp_path / "network.safetensors", torch_weights.to_torch
    wrong = [
        lambda *trees, norm_set: right(*trees, norm_set=0),
        lambda *trees, norm_set: right(*trees, norm_set=norm_set) | {"fc.bias": [np.nan] * 3},
    ]
    for to_torch in wrong:
        monkeypatch.setattr(
            torch_weights,
            "to_torch",
            lambda *trees, norm_set, to_torch=to_torch: {
                name: np.asarray(array, np.float32)
                for name, array in to_torch(*trees, norm_set=norm_set).items()
            },
        )
        with pytest.raises(UserError, match=r"was not kept: on 10 pictures .* 1e-04 is allowed"):
            export(workdir, "safetensors", out)
        assert not list(tmp_path.iterdir())


def test_a_mistake_is_one_line_before_anything_is_opened(classifier, tmp_path, monkeypatch):
    workdir, _ = classifier
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(UserError, match=r"--out=.*there: exists already; name another path"):
        export(workdir, "savedmodel", there)
    for name, module, wanted in (
        ("savedmodel", "tensorflow", r"pip install 'tensorflow-cpu>=2.21.0'"),
        ("onnx", "jax2onnx", r"pip install 'jax2onnx>=\S+' 'onnxruntime>=\S+'"),
    ):
        monkeypatch.setitem(sys.modules, module, None)  # any import of it now fails
        with pytest.raises(UserError, match=rf"--format={name} needs .*{wanted}"):
            export(tmp_path / "no workdir", name, tmp_path / "new")
    with pytest.raises(UserError, match="is no workdir of dajax"):
        export(tmp_path / "no workdir", "stablehlo", tmp_path / "new")
    with pytest.raises(UserError, match="stage 'mscan' has no checkpoint; these have: can"):
        export(workdir, "stablehlo", tmp_path / "new", stage="mscan")
    (tmp_path / "empty").mkdir()
    shutil.copy(workdir / "config.json", tmp_path / "empty")
    with pytest.raises(UserError, match="no stage has a checkpoint yet"):
        export(tmp_path / "empty", "stablehlo", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "there"]


def test_the_line_about_a_missing_extra_is_the_projects_extra():
    project = tomllib.loads((tiny.ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["onnx"] == list(onnx.REQUIREMENTS)
    assert "tensorflow-cpu>=2.21.0" in (tiny.ROOT / "requirements-cpu.txt").read_text()
    assert set(formats.FORMATS) == set(command._FORMAT_NAMES)


@pytest.mark.parametrize(
    "words, says",
    [
        (("--format=onnx",), "--mode=export needs --out=PATH; it is missing"),
        (("--out=a",), "--mode=export needs --format=stablehlo; it is missing"),
        (
            ("--format=tflite", "--out=a"),
            "should be one of <stablehlo|onnx|savedmodel|safetensors>",
        ),
        (
            ("--mode=eval", "--stage=can", "--config=can"),
            "--stage is for --mode=predict or --mode=export",
        ),
        (("--format=onnx", "--out=a", "--workdir="), "or --workdir=DIR of a run"),
        (("--format=onnx", "--out=a", "--seeds=0,1"), "--seeds and --tasks are for training"),
    ],
    ids=lambda value: shlex.join(value) if isinstance(value, tuple) else "",
)
def test_flags_that_do_not_fit_are_one_line(words, says, capsys):
    words = ("run.py", "--workdir=w", *words)
    words = words if "--mode=eval" in words else (*words, "--mode=export")
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
        command._parse_flags(command.recipe.with_paths(words))
    assert says in str(end.value) and "\n" not in str(end.value)


def test_pictures_that_a_file_does_not_take_are_named(tmp_path):
    """A network that resizes nothing, whose pictures have one size and one channel."""
    contract = {
        "contract": 1,
        "task": "classification",
        "class_names": ["a", "b"],
        "stage": "can",
        "step": 1,
        "input": {"shape": [None, 8, 8, 1], "least_hw": [1, 1]},
        "preprocessing": {"resize_hw": None},
        "outputs": {"logits": "float32 [N, K]"},
    }
    network = exported.ExportedClassifier(contract, lambda images: {"logits": images})
    good = np.zeros((8, 8, 1), np.uint8)
    for picture in (
        np.zeros((8, 8), np.uint8),
        good.astype(np.float32),
        np.zeros((9, 8, 1), np.uint8),
    ):
        with pytest.raises(
            UserError, match=r"a picture is \w+ \[.*; this file takes uint8 \[8, 8, 1\]"
        ):
            network.predict([picture])
    contract["input"] = {"shape": [None, None, None, 1], "least_hw": [8, 8]}
    with pytest.raises(UserError, match="this file takes pictures of 8x8 or more"):
        network.predict([np.zeros((8, 7, 1), np.uint8)])
    two_sizes = [good, np.zeros((9, 8, 1), np.uint8)]
    with pytest.raises(UserError, match="pictures of 2 sizes: this network resizes none"):
        network.predict(two_sizes)
    with pytest.raises(UserError, match="pictures of 2 sizes: a call takes those of one size"):
        network.outputs(two_sizes)
    with pytest.raises(DataError, match="images: there are none"):
        network.predict([])


def test_another_file_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"\x08\x0aabc")
    with pytest.raises(UserError, match=r"is no exported StableHLO file .*pass the --workdir"):
        dajax.load(path)
    with pytest.raises(UserError, match="is a file of one stage; leave stage='can' out"):
        dajax.load(path, "can")

    def refuse(program):
        raise ValueError("unsupported version")

    monkeypatch.setattr(exported.export, "deserialize", refuse)
    for contract, says in (
        ({"contract": 99}, "has contract 99, this dajax reads 1; export it again"),
        ({"contract": 1, "jax": "0.99"}, r"cannot read a program of JAX 0.99 \(unsupported"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(stablehlo.CONTRACT, json.dumps(contract))
            archive.writestr(stablehlo.PROGRAM, b"")
        with pytest.raises(UserError, match=says):
            dajax.load(path)


@pytest.mark.slow
def test_a_saved_model_serves_pictures_of_any_size(opened, tmp_path):
    import tensorflow as tf

    workdir, trained = opened
    export(workdir, "savedmodel", tmp_path / "saved")
    run = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    images = exportable.pictures(trained.config.task, 2)
    np.testing.assert_array_equal(run(images=images)["classes"], trained.predict(images))
    contract = json.loads((tmp_path / "saved" / "assets.extra" / "contract.json").read_text())
    assert contract["class_names"] == list(trained.class_names)


@pytest.mark.slow
def test_an_onnx_file_runs_in_onnxruntime(opened, tmp_path):
    """At the size that the evaluation resizes to, where nothing is left to resize."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("jax2onnx")
    workdir, trained = opened
    export(workdir, "onnx", tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    contract = json.loads(session.get_modelmeta().custom_metadata_map["dajax"])
    images = exportable.pictures(trained.config.task, 3, contract["input"]["shape"][1:3])
    (classes,) = session.run(["classes"], {"images": images})
    np.testing.assert_array_equal(classes, trained.predict(images))
