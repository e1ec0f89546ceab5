"""What a workdir was begun with is what it goes on with: config, data, weights and environment; and
a damaged file is one line.
"""

import json
import os
import shutil
import types

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict
from PIL import Image

from dajax.cli import recipe, sweep_plan
from dajax.engine import config_check, environment, fingerprints, opening, run_output, stages
from dajax.engine.signals import StopFlag
from dajax.errors import UserError
from data_pipeline.classification import folder
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.errors import DataError
from data_pipeline.files.file_sizes import file_sizes
from data_pipeline.segmentation.labels import CITYSCAPES
from data_pipeline.segmentation.segmentation_set import SegmentationSet


def can(root, *overrides):
    return recipe.read(
        f"{tiny.ROOT}/configs/can.py:folder,root={root},source=shop,target=desk", overrides
    )


@pytest.fixture
def photos(tmp_path):
    """Two domains of two classes with three small pictures each, below tmp_path/here."""
    for shift, domain in enumerate(("shop", "desk")):
        for name in ("cup", "pen"):
            (tmp_path / "here" / domain / name).mkdir(parents=True)
            for k in range(3):
                Image.fromarray(np.full((8, 8 + k, 3), 90 * shift + k, np.uint8)).save(
                    tmp_path / "here" / domain / name / f"{k}.png"
                )
    return tmp_path / "here"


def opened(root):
    """Domains of the folders, as tasks.classification opens them, as far as fingerprints looks."""
    (source,), target = folder.read_domains(root, ("shop",), "desk")
    return types.SimpleNamespace(
        source=source,
        target=target,
        evaluation=target,
        class_names=source.class_names,
        image_shape=(8, 8, 3),
    )


def begin(root, workdir):
    workdir.mkdir()
    config_check.check_config(can(root), workdir)
    fingerprints.check_data(opened(root), workdir)


def test_data_that_have_moved_are_the_same_data(photos, tmp_path):
    begin(photos, tmp_path / "run")
    there = photos.rename(tmp_path / "there")
    places = config_check.check_config(can(there), tmp_path / "run")
    assert places == {"data.root": (str(photos), str(there))}
    fingerprints.check_data(opened(there), tmp_path / "run")
    config_check.remember(can(there), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["root"] == str(there)
    assert config_check.check_config(can(there), tmp_path / "run") == {}
    # and nothing of the root
    with pytest.raises(UserError, match="another config: can.max_loops=16 there, 9 now;"):
        config_check.check_config(can(photos, "--config.can.max_loops=9"), tmp_path / "run")


@pytest.mark.parametrize("role", ["source", "target", "evaluation", "scenes"])
def test_every_root_of_a_segmentation_run_may_move(tmp_path, role):
    read = lambda *words: recipe.read(f"{tiny.ROOT}/configs/clan.py", words)
    config_check.check_config(read(f"--config.data.{role}.root=/a"), tmp_path)
    assert config_check.check_config(read(f"--config.data.{role}.root=/b"), tmp_path) == {
        f"data.{role}.root": ("/a", "/b")
    }


def test_new_content_under_old_names_is_noticed(photos, tmp_path):
    begin(photos, tmp_path / "run")
    picture = photos / "desk" / "pen" / "1.png"
    picture.write_bytes(picture.read_bytes() + b"x")
    with pytest.raises(
        UserError, match=r"as many images of desk \(target\), but other files or labels"
    ):
        fingerprints.check_data(opened(photos), tmp_path / "run")
    picture.write_bytes(picture.read_bytes()[:-1])
    fingerprints.check_data(opened(photos), tmp_path / "run")
    shutil.copy(picture, picture.with_name("3.png"))
    with pytest.raises(UserError, match="target set is another: count was 6, is 7, fingerprint"):
        fingerprints.check_data(opened(photos), tmp_path / "run")


def test_a_workdir_of_the_version_before_goes_on_and_learns_the_sizes(photos, tmp_path):
    begin(photos, tmp_path / "run")
    path = tmp_path / "run" / "dataset.json"
    newer, old = json.loads(path.read_text()), fingerprints._describe(opened(photos), 1)
    assert (
        "fingerprint_version" not in old
        and old["source"]["fingerprint"] != newer["source"]["fingerprint"]
    )
    path.write_text(json.dumps(old))
    fingerprints.check_data(opened(photos), tmp_path / "run", mode="eval")
    assert json.loads(path.read_text()) == old, "eval writes nothing"
    fingerprints.check_data(opened(photos), tmp_path / "run")
    assert json.loads(path.read_text()) == newer
    path.write_text(json.dumps(old | {"target": old["target"] | {"fingerprint": 1}}))
    with pytest.raises(UserError, match=r"desk \(target\), but other files"):
        fingerprints.check_data(opened(photos), tmp_path / "run")
    path.write_text(json.dumps(newer | {"fingerprint_version": 3}))
    with pytest.raises(UserError, match="newer dajax"):
        fingerprints.check_data(opened(photos), tmp_path / "run")


def test_fingerprints_look_at_sizes_of_images_and_labels_and_at_records_between_the_ends(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(4)]
    for i, path in enumerate(paths):
        open(path, "wb").write(b"x" * (i + 1))
    assert file_sizes(paths).tolist() == [1, 2, 3, 4] and file_sizes([]).shape == (0,)
    scenes = SegmentationSet("own", tuple(paths[:2]), tuple(paths[2:]), CITYSCAPES, read_ids=None)
    before = scenes.fingerprint(1), scenes.fingerprint(2)
    for path in (paths[1], paths[3]):
        open(path, "ab").write(b"x")
        assert scenes.fingerprint(1) == before[0] and scenes.fingerprint(2) != before[1]
        before = scenes.fingerprint(1), scenes.fingerprint(2)
    os.unlink(paths[0])
    with pytest.raises(DataError, match="0.png: cannot be found"):
        scenes.fingerprint(2)

    records = [bytes([i]) for i in range(200)]
    other = records[:99] + [b"?"] + records[100:]
    first, second = (ImageSet("tfds:x", ("a",), records=one) for one in (records, other))
    assert first.fingerprint(1) == second.fingerprint(1) and first.fingerprint(
        2
    ) != second.fingerprint(2)


def test_other_weights_are_refused_where_a_stage_has_yet_to_load_them(tmp_path):
    workdir, a, b = tmp_path / "run", tmp_path / "a.pth", tmp_path / "b.pth"
    workdir.mkdir()
    a.write_bytes(b"weights"), b.write_bytes(b"others!")
    check = lambda path, is_needed=True, **more: fingerprints.check_weights(
        str(path), workdir, is_needed=is_needed, is_begun=False, places={}, **more
    )
    check("")
    assert not (workdir / "weights.json").exists()
    check(a)
    check(shutil.copy(a, tmp_path / "copy.pth"))
    with pytest.raises(
        UserError,
        match=(
            r"begun with the weights .*copy.pth \(7 bytes, sha256 9a\w{6}\); "
            r"config.model.weights=.*b.pth holds others"
        ),
    ):
        check(b)
    check(b, is_needed=False)
    check(tmp_path / "gone.pth", is_needed=False)
    with pytest.raises(UserError, match="gone.pth: cannot be read"):
        check(tmp_path / "gone.pth")


def test_weights_of_a_workdir_that_has_no_checksum_stay_where_they_are(tmp_path):
    file = tmp_path / "a.pth"
    file.write_bytes(b"weights")
    places = {"model.weights": ("/old/a.pth", str(file))}
    with pytest.raises(
        UserError, match="begun with config.model.weights=/old/a.pth, and no weights.json"
    ):
        fingerprints.check_weights(
            str(file), tmp_path, is_needed=True, is_begun=True, places=places
        )
    fingerprints.check_weights(str(file), tmp_path, is_needed=True, is_begun=True, places={})
    assert json.loads((tmp_path / "weights.json").read_text())["bytes"] == 7


def test_weights_may_move_and_not_come_or_go(tmp_path):
    read = lambda weights: recipe.read(
        f"{tiny.ROOT}/configs/clan.py", [f"--config.model.weights={weights}"]
    )
    config_check.check_config(read("/a.pth"), tmp_path)
    assert config_check.check_config(read("/b.pth"), tmp_path) == {
        "model.weights": ("/a.pth", "/b.pth")
    }
    with pytest.raises(UserError, match="model.weights=/a.pth there,  now"):
        config_check.check_config(read(""), tmp_path)


@pytest.mark.parametrize(
    "setting, value",
    [
        ("jax_enable_x64", True),
        ("jax_default_matmul_precision", "bfloat16"),
        ("jax_default_prng_impl", "rbg"),
        ("jax_threefry_partitionable", False),
    ],
)
def test_a_setting_of_jax_that_changes_numbers_is_refused_on_resume(
    tmp_path, setting, value, capsys
):
    environment.check(tmp_path, "train")
    environment.check(tmp_path, "train")
    before = getattr(jax.config, setting)
    jax.config.update(setting, value)
    try:
        with pytest.raises(
            UserError,
            match=(
                f"another environment: {setting.upper()}={before} there, {value} now; .*another "
                "--workdir"
            ),
        ):
            environment.check(tmp_path, "train")
        environment.check(tmp_path, "eval")
        assert f"{setting.upper()}={before} there, {value} now" in capsys.readouterr().out
    finally:
        jax.config.update(setting, before)


def test_every_setting_that_is_looked_at_is_one_of_this_jax():
    assert {name.upper() for name in environment.JAX_SETTINGS} < set(environment.numerics())
    assert json.loads(json.dumps(environment.numerics())) == environment.numerics(), (
        "as it comes back from the file"
    )


def test_flags_of_xla_count_where_they_may_change_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "XLA_FLAGS",
        "--xla_b=1 --xla_force_host_platform_device_count=8 --xla_dump_to=/tmp --xla_a=2 --xla_b=3",
    )
    assert environment.numerics()["XLA_FLAGS"] == "--xla_a=2 --xla_b=3"
    environment.check(tmp_path, "train")
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=2 --xla_b=3 --xla_gpu_cuda_data_dir=/usr")
    environment.check(tmp_path, "train")
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=2 --xla_b=3 --xla_cpu_enable_fast_math=true")
    with pytest.raises(
        UserError,
        match=(
            "XLA_FLAGS=--xla_a=2 --xla_b=3 there, --xla_a=2 --xla_b=3 "
            "--xla_cpu_enable_fast_math=true now"
        ),
    ):
        environment.check(tmp_path, "train")
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=2 --xla_b=3")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with pytest.raises(UserError, match="NVIDIA_TF32_OVERRIDE=None there, 0 now"):
        environment.check(tmp_path, "train")


@pytest.fixture
def cache_setting():
    before = (
        jax.config.jax_compilation_cache_dir,
        jax.config.jax_persistent_cache_min_compile_time_secs,
    )
    yield
    jax.config.update("jax_compilation_cache_dir", before[0])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


def test_the_compilation_cache_is_a_help_and_no_condition(
    tmp_path, monkeypatch, capsys, cache_setting
):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    environment.use_compilation_cache("~/xla")
    assert jax.config.jax_compilation_cache_dir == str(
        tmp_path / "home" / "xla"
    ) and not os.listdir(tmp_path / "home" / "xla")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "scratch"))
    environment.use_compilation_cache("~/xla")
    assert (
        jax.config.jax_compilation_cache_dir == str(tmp_path / "scratch")
        and capsys.readouterr().out == ""
    )
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "below"))
    environment.use_compilation_cache("~/xla")
    said = capsys.readouterr().out
    assert jax.config.jax_compilation_cache_dir is None and said.count("\n") == 1
    assert (
        "file/below cannot be written to (Not a directory); going on without; "
        "JAX_COMPILATION_CACHE_DIR=FOLDER" in said
    )
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("HOME", "/dev/null")
    environment.use_compilation_cache("~/xla")
    assert (
        "/dev/null/xla cannot be written to" in (said := capsys.readouterr().out)
        and "--config.runtime.compilation_cache=FOLDER" in said
    )
    environment.use_compilation_cache("")
    assert jax.config.jax_compilation_cache_dir is None and capsys.readouterr().out == ""


DAMAGE = {
    "cut short": lambda text: text[: len(text) // 2],
    "emptied": lambda text: b"",
    "zeroed": lambda text: b"\0" * len(text),
    "no JSON": lambda text: b"{'a': 1}",
    "a list": lambda text: b"[1, 2]",
    "no UTF-8": lambda text: b'{"a": "\xff"}',
    "nested": lambda text: b"[" * 100_000,
    "null": lambda text: b"null",
    "a longer number than Python takes": lambda text: b"1" * 5000,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["config.json", "dataset.json", "environment.json"])
def test_a_damaged_json_is_one_line_that_names_it_and_the_remedy(photos, tmp_path, name, damage):
    workdir = tmp_path / "run"
    begin(photos, workdir)
    environment.check(workdir, "train")
    path = workdir / name
    path.write_bytes(DAMAGE[damage](path.read_bytes()))

    def check():
        config_check.check_config(can(photos), workdir)
        environment.check(workdir, "train")
        fingerprints.check_data(opened(photos), workdir)

    with pytest.raises(UserError) as error:
        check()
    message = str(error.value)
    assert (
        str(path) in message
        and "is damaged" in message
        and "the checkpoints are whole: remove" in message
        and "\n" not in message
    )
    path.unlink()
    check()  # the remedy helps
    assert json.loads(path.read_text())


def test_an_object_that_lacks_what_it_should_have_is_damaged(photos, tmp_path):
    begin(photos, tmp_path / "run")
    path = tmp_path / "run" / "dataset.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="dataset.json: is damaged .it has no 'class_names'"):
        fingerprints.check_data(opened(photos), tmp_path / "run")
    path.unlink(), path.mkdir()
    with pytest.raises(UserError, match="dataset.json: cannot be read .Is a directory"):
        fingerprints.check_data(opened(photos), tmp_path / "run")


GOOD = {
    "step": 3,
    "accuracy": 50.0,
    "mean_class_accuracy": 40.0,
    "per_class": {"cup": 1.0, "pen": None},
}


def finished_stage(tmp_path, content, has_checkpoint):
    from dajax.tasks.classification import setup as classification

    (tmp_path / "can" / "checkpoints").mkdir(parents=True)
    if has_checkpoint:
        (tmp_path / "can" / "checkpoints" / "3").mkdir()
    (tmp_path / "can" / "result.json").write_bytes(content)
    data = types.SimpleNamespace(sets={"source": types.SimpleNamespace(class_names=("cup", "pen"))})
    config = ConfigDict({"stages": ("can",), "can": {"init_from": ""}})
    return types.SimpleNamespace(
        name="can",
        config=config,
        stage_config=config.can,
        directory=tmp_path / "can",
        task=classification,
        data=data,
        stop=StopFlag(),
    )


BROKEN_RESULTS = {
    **{name: spoil(json.dumps(GOOD).encode()) for name, spoil in DAMAGE.items()},
    "no step": b"{}",
    "a word": b'{"step": "3"}',
    **{
        f"wrong {key}": json.dumps(GOOD | {key: wrong}).encode()
        for key, wrong in (
            ("accuracy", "50"),
            ("per_class", {"cup": 1.0}),
            ("per_class", [1, 2]),
            ("mean_class_accuracy", {}),
            ("per_class", {"cup": 1, "pen": "x"}),
        )
    },
}


@pytest.mark.parametrize("name", BROKEN_RESULTS)
def test_a_damaged_result_is_taken_from_the_checkpoint_again(tmp_path, monkeypatch, capsys, name):
    stage = finished_stage(tmp_path, BROKEN_RESULTS[name], has_checkpoint=True)
    state = types.SimpleNamespace(step=3)
    report = {key: value for key, value in GOOD.items() if key != "step"}
    monkeypatch.setattr(stages, "fit", lambda stage: (state, report))
    assert (
        stages._train(stage) == GOOD
        and json.loads((tmp_path / "can" / "result.json").read_text()) == GOOD
    )
    said = capsys.readouterr().out
    assert "can/result.json: is damaged" in said and "from the checkpoint again" in said
    assert stages._train(stage) == GOOD and capsys.readouterr().out == "can: already finished\n"


def test_a_damaged_result_without_a_checkpoint_trains_nothing_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "fit", lambda stage: pytest.fail("trained again"))
    with pytest.raises(
        UserError,
        match=(
            "result.json: is damaged .it is empty., and there is no checkpoint .* remove it, and "
            "the stage is trained"
        ),
    ):
        stages._train(finished_stage(tmp_path, b"", has_checkpoint=False))


def test_a_result_without_figures_is_whole(tmp_path):
    assert stages._train(finished_stage(tmp_path, b'{"step": 3}', has_checkpoint=False)) == {
        "step": 3
    }


def test_a_sweep_calls_a_run_with_damaged_files_again(tmp_path):
    (one,) = sweep_plan.plan(
        f"{tiny.ROOT}/configs/can.py", "0", None, ("--config.stages=('source_only',)",), tmp_path, 0
    )
    (one.workdir / "source_only").mkdir(parents=True)
    (one.workdir / "results.json").write_text("{}")
    result = one.workdir / "source_only" / "result.json"
    result.write_text('{"step": 1}')
    assert one.is_finished() and one.result_of("source_only") == {"step": 1}
    result.write_text('{"step": ')
    assert not one.is_finished() and one.result_of("source_only") is None
    with pytest.raises(
        UserError, match="config.seed=4294967296: expected at least 0 and at most 4294967295"
    ):
        sweep_plan.plan(f"{tiny.ROOT}/configs/can.py", f"0,{2**32}", None, (), tmp_path, 0)


def test_scenes_that_cannot_be_drawn_name_their_key(tmp_path):
    from dajax.tasks.segmentation import setup as segmentation

    (tmp_path / "file").write_text("")
    config = recipe.read(
        f"{tiny.ROOT}/configs/clan.py", [f"--config.data.scenes.root={tmp_path / 'file'}/below"]
    )
    with pytest.raises(
        UserError,
        match=(
            "config.data.scenes.root=.*/file/below: .*cannot write the scenes "
            "there.*--config.data.scenes.root=FOLDER"
        ),
    ):
        segmentation.open_data(config)


def test_weights_are_needed_by_a_stage_that_begins_with_them_and_has_not_begun(
    tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        opening,
        "check_weights",
        lambda path, workdir, **said: calls.append((said["is_needed"], said["is_begun"])),
    )
    config = can("r")  # source_only loads weights, can begins with source_only
    opening._check_weights(config, tmp_path, {})
    (tmp_path / "source_only" / "checkpoints" / "5.orbax-checkpoint-tmp-1").mkdir(parents=True)
    opening._check_weights(config, tmp_path, {})
    (tmp_path / "source_only" / "checkpoints" / "5").mkdir()
    opening._check_weights(config, tmp_path, {})
    shutil.rmtree(tmp_path / "source_only" / "checkpoints")
    (tmp_path / "source_only" / "result.json").write_text('{"step": 5}')
    opening._check_weights(config, tmp_path, {})
    assert calls == [(True, False), (True, False), (False, True), (False, True)]


def test_figures_of_an_evaluation_that_cannot_be_written_are_in_the_table(
    tmp_path, monkeypatch, capsys
):
    def refuse(path, content):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(run_output.json_files, "write", refuse)
    run_output.write_results(tmp_path, "eval", {})
    assert (
        "eval.json: cannot be written (Read-only file system); the figures are in the table alone"
        in capsys.readouterr().out
    )
    with pytest.raises(OSError):
        run_output.write_results(tmp_path, "train", {"stages": {}})


@pytest.mark.parametrize("problem", [None, "labels/a.png: this pseudo-label is damaged"])
@pytest.mark.parametrize("is_heir_finished", [False, True])
def test_damaged_pseudo_labels_are_made_again_for_a_stage_that_needs_them(
    tmp_path, monkeypatch, capsys, problem, is_heir_finished
):
    stage = finished_stage(tmp_path, b'{"step": 1}', has_checkpoint=True)
    stage.config.update(
        {"stages": ("can", "heir"), "heir": {"init_from": "", "labels_from": "can"}}
    )
    stage.data.problem_of_pseudo_labels = lambda: problem
    if is_heir_finished:
        (tmp_path / "heir").mkdir()
        (tmp_path / "heir" / "result.json").write_text("{}")

    def made_again(stage):
        assert not (stage.directory / "checkpoints").exists(), "it begins anew"
        return types.SimpleNamespace(step=1), None

    monkeypatch.setattr(stages, "fit", made_again)
    assert stages._train(stage) == {"step": 1}
    said = capsys.readouterr().out
    if problem is None or is_heir_finished:
        assert said == "can: already finished\n"
    else:
        assert said == f"{problem}; can makes its pseudo-labels again\n"
