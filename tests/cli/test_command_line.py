"""What a person sees: mistakes are one line, nothing is lost, outputs are what README says."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import in_process
import numpy as np
import pytest
import tiny
from PIL import Image


def fails_with_one_line(result, says):
    """A run has failed, and its last line says all of `says`, without a stack trace."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("error: "), result.stderr
    for part in says:
        assert part in line, line


def run_here(workdir, *flags):
    """A tiny run within this process: what is said and written does not depend on which it is."""
    return in_process.process(tiny.words(workdir, *flags))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two domains, three classes, twelve noisy pictures each, whose colour tells the class."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for shift, domain in enumerate(("shop", "desk")):
        for i, name in enumerate(("cup", "pen", "bag")):
            folder = root / domain / "images" / name
            folder.mkdir(parents=True)
            for k in range(12):
                pixels = (
                    rng.integers(0, 60, (40 + k, 50, 3))
                    + 120 * np.eye(3, dtype=int)[i]
                    + 20 * shift
                )
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.jpg", quality=90)
    return root


def folder_flags(root, source="shop", target="desk"):
    return (
        f"--config=configs/can.py:folder,root={root},source={source},target={target},size=32",
        "--config.model.widths=(4, 8, 16)",
        "--config.source_only.steps=6",
        "--config.source_only.batch_size=8",
        "--config.can.batch_size=8",
        "--config.can.max_loops=1",
        "--config.can.class_aware.num_classes=3",
        "--config.can.class_aware.update_fraction=0.5",
        "--config.evaluation.reestimate_batches=0",
    )


def run_folder(workdir, *flags):
    """Without the digits' settings of tiny.TINY."""
    cache = f"--config.runtime.compilation_cache={tiny.CACHE}"
    return in_process.process([f"--workdir={workdir}", *flags, cache])


def test_a_folder_of_photos_runs_to_its_table(photos, tmp_path):
    result = in_process.checked(run_folder(tmp_path / "run", *folder_flags(photos)))
    assert "source: shop, 36 images (bag 12, cup 12, pen 12)" in result.stdout
    assert "labels for evaluation only" in result.stdout
    stages = json.loads((tmp_path / "run" / "results.json").read_text())["stages"]
    assert (
        set(stages["can"]["per_class"]) == {"cup", "pen", "bag"}
        and 0 <= stages["can"]["accuracy"] <= 100
    )


def test_a_broken_photo_is_named(photos, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    broken = root / "desk" / "images" / "pen" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    result = run_folder(tmp_path / "run", *folder_flags(root))
    assert (
        result.returncode == 1
        and str(broken) in result.stderr.strip().splitlines()[-1]
        and "Traceback" not in result.stderr
    )


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda root: None, ("nowhere",)),
        (
            lambda root: (root / "desk" / "images" / "pen").rename(
                root / "desk" / "images" / "pin"
            ),
            ("pen", "shop", "desk"),
        ),
        (
            lambda root: [p.unlink() for p in (root / "desk" / "images" / "pen").iterdir()],
            ("pen", "desk"),
        ),
    ],
    ids=["a missing domain", "a class in one domain only", "an empty class"],
)
def test_a_wrong_folder_is_one_line(photos, tmp_path, spoil, says):
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    spoil(root)
    target = "nowhere" if says == ("nowhere",) else "desk"
    result = run_folder(tmp_path / "run", *folder_flags(root, target=target))
    line = result.stderr.strip().splitlines()[-1]
    assert (
        result.returncode == 1 and line.startswith("error: ") and "Traceback" not in result.stderr
    )
    assert all(part in line for part in says), line


def test_a_misspelt_key_names_the_nearest(tmp_path):
    fails_with_one_line(
        run_here(tmp_path / "run", "--config.can.cdd.wieght=1.0"), says=("wieght", "weight")
    )


def test_a_misspelt_variant_names_the_known_ones(tmp_path):
    fails_with_one_line(
        run_here(tmp_path / "run", "--config=configs/can.py:ofice31"),
        says=("ofice31", "office31", "visda2017"),
    )


def test_a_misspelt_variant_key_names_the_known_ones(tmp_path):
    fails_with_one_line(
        run_here(tmp_path / "run", "--config=configs/can.py:office31,rot=/data"),
        says=("rot=/data", "root"),
    )


def test_an_unwritable_workdir_is_one_line_at_the_start():
    fails_with_one_line(
        run_here("/proc/dajax"), says=("--workdir=/proc/dajax", "cannot be written to")
    )


def test_a_batch_that_does_not_divide_is_one_line(tmp_path):
    fails_with_one_line(
        run_here(tmp_path / "run", "--config.runtime.devices=3"),
        says=("config.source_only.batch_size=16", "3 devices", "15 or 18"),
    )


def test_an_address_is_one_line_that_leaves_nothing_and_debug_shows_the_traceback_above_it():
    command = [
        sys.executable,
        "run.py",
        "--config=configs/can.py",
        "--workdir=gs://no-such-bucket/run",
    ]
    before = sorted(path.name for path in tiny.ROOT.iterdir())
    for debug in ([], ["--debug"]):
        result = subprocess.run(
            [*command, *debug],
            cwd=tiny.ROOT,
            env=tiny.environment(),
            capture_output=True,
            text=True,
        )
        errors = result.stderr.splitlines()
        assert result.returncode == 1 and result.stdout == ""
        assert errors[-1].startswith(
            "error: --workdir=gs://no-such-bucket/run: gs:// is not supported; "
        )
        assert len(errors) == 1 if not debug else errors[0] == "Traceback (most recent call last):"
    assert sorted(path.name for path in tiny.ROOT.iterdir()) == before


def test_another_environment_is_refused_before_data_are_opened(tiny_run):
    result = subprocess.run(
        tiny.command(tiny_run[0]),
        cwd=tiny.ROOT,
        env=tiny.environment() | {"JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and result.stdout == "" and result.stderr.count("\n") == 1
    assert (
        f"{tiny_run[0]} was begun in another environment: JAX_ENABLE_X64=False there, True now"
        in result.stderr
    )


def test_damaged_results_of_a_finished_run_are_mended_from_its_checkpoints(tiny_run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(tiny_run[0], workdir)
    result = workdir / "can" / "result.json"
    result.write_bytes(result.read_bytes()[:100])
    (workdir / "results.json").write_bytes(b"")
    output = in_process.checked(run_here(workdir)).stdout
    assert (
        f"{result}: is damaged (no JSON" in output
        and "its figures are taken from the checkpoint again" in output
    )
    assert "source_only: already finished" in output and "can: step" not in output, (
        "nothing is trained again"
    )
    tiny.assert_same_outcome(tiny_run[0], workdir)


@pytest.mark.slow  # the same in this process: tests/engine/test_stages.py
def test_a_loss_that_is_not_finite_stops_with_its_step_and_keeps_the_last_checkpoint(tmp_path):
    """A decay of 2000 at a rate of 0.05 turns the weights into -99 times themselves in every step:
    float32 ends after the first checkpoint, and before long.
    """
    flags = ("--config.source_only.optimizer.weight_decay=2000.0", "--config.source_only.steps=40")
    fails_with_one_line(
        tiny.run(tmp_path / "run", *flags, check=False),
        says=("source_only: ", "not finite", "step ", "--config.source_only.optimizer.lr"),
    )
    saved = sorted(
        int(p.name) for p in (tmp_path / "run" / "source_only" / "checkpoints").iterdir()
    )
    assert saved and set(saved) <= {5, 10, 15}
    state = tiny.final_state(tmp_path / "run", "source_only")
    assert int(state["step"]) == saved[-1] and all(
        np.isfinite(leaf).all() for leaf in state.values()
    )


@pytest.mark.slow  # half a minute to compile what no other test has
def test_no_class_left_after_filtering_trains_on_and_says_so(tiny_run, tmp_path):
    # a finished stage is taken as it is
    shutil.copytree(tiny_run[0] / "source_only", tmp_path / "run" / "source_only")
    flags = ("--config.can.clustering.max_distance=1e-9", "--config.can.max_loops=1")
    result = in_process.checked(run_here(tmp_path / "run", *flags))
    assert "no class is left after filtering" in result.stdout


def test_results_hold_figures_config_and_versions(tiny_run):
    workdir, result = tiny_run
    results = json.loads((workdir / "results.json").read_text())
    assert (
        set(results)
        == {"stages", "refreshes", "rounds", "select", "snapshots"}
        | {"config", "versions", "environment", "devices"}
        and results["versions"]["jax"]
    )
    assert results["refreshes"].keys() == {"can"} and not results["rounds"]
    assert results["environment"]["JAX_ENABLE_X64"] is False
    assert results["devices"] == "1 x cpu (cpu)"
    assert json.loads((workdir / "environment.json").read_text()) == results["environment"]
    for stage in ("source_only", "can"):
        figures = results["stages"][stage]
        assert len(figures["per_class"]) == 10 and figures["step"] > 0
        confusion = np.array(figures["confusion"])
        assert confusion.sum() == 1797, "every target image is counted once"
        np.testing.assert_allclose(figures["accuracy"], 100 * np.trace(confusion) / 1797)
        np.testing.assert_allclose(
            figures["mean_class_accuracy"], np.mean(100 * np.diag(confusion) / confusion.sum(1))
        )
        lines = [
            json.loads(line)
            for line in (workdir / stage / "metrics.jsonl").read_text().splitlines()
        ]
        assert {"train", "evaluation"} <= {line["kind"] for line in lines}
        assert (
            list((workdir / stage).glob("events.out.tfevents.*"))
            and (workdir / stage / "checkpoints").is_dir()
        )
        (row,) = re.findall(r"^accuracy +\d.*", result.stdout, re.MULTILINE)
        assert f"{figures['accuracy']:.1f}" in row
    refreshes = [line for line in lines if line["kind"] == "refresh"]
    assert len(refreshes) == 3 and all(
        {"samples_kept", "classes_kept"} <= set(line) for line in refreshes
    )
    for said in (
        "versions: ",
        "devices: ",
        "environment: JAX_ENABLE_X64=False, JAX_DEFAULT_MATMUL_PRECISION=None, ",
        "workdir: ",
        "/config.json; --print_config shows them",
        "parameters",
        "digits/type, 120 images",
        "metric: ",
    ):
        assert said in result.stdout


def test_a_target_without_labels_trains_and_reports_no_accuracy(photos, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(photos / "shop", root / "shop")
    (root / "street").mkdir()
    for i, path in enumerate(sorted((photos / "desk").rglob("*.jpg"))):
        shutil.copy(path, root / "street" / f"{i}.jpg")
    result = in_process.checked(run_folder(tmp_path / "run", *folder_flags(root, target="street")))
    assert (
        "target: street, 36 images, no labels" in result.stdout
        and "has no labels, so there is nothing to measure on" in result.stdout
    )
    stages = json.loads((tmp_path / "run" / "results.json").read_text())["stages"]
    assert stages["can"]["step"] > 0 and "accuracy" not in stages["can"]
    # measured without labels instead, and chosen by
    keys = {"label_free_entropy", "label_free_im", "label_free_snd"}
    assert all(stage.keys() == {"step", *keys} for stage in stages.values())
    rows = in_process.metrics(tmp_path / "run", "can")
    assert keys < next(row for row in rows if row["kind"] == "evaluation").keys()
    assert "target accuracy" not in result.stdout and "label_free" not in result.stdout
    # and what it names in the end can be pasted
    predict, loaded, report = result.stdout.splitlines()[-3:]
    program, file, *words = shlex.split(predict)
    assert (program, file) == (sys.executable, "run.py") and words[0] == "--mode=predict"
    assert in_process.command_line(*words) == 0
    assert loaded == f"  dajax.load('{tmp_path / 'run'}').predict(paths)"
    assert shlex.split(report)[2:] == ["--mode=analyze", f"--workdir={tmp_path / 'run'}"]
    table = (tmp_path / "run-predictions" / "predictions.csv").read_text().splitlines()
    assert table[0] == "file,class,bag,cup,pen" and len(table) == 1 + 36
