"""Segmentation as a person runs it: the embedded scenes to their table, kill -9 in the middle of
CLAN's warm-up, check_data, dajax.load.
"""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import in_process
import numpy as np
import pytest
import tiny
from PIL import Image
from tiny_seg import command, run, run_here

import dajax
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.labels import CITYSCAPES


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Where this session's scenes are drawn."""
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    """(workdir, output) of the source-only recipe: source only, AdaBN, oracle."""
    workdir = tmp_path_factory.mktemp("seg") / "run"
    steps = ("--config.source_only.steps=3", "--config.adabn.steps=2", "--config.oracle.steps=3")
    result = run_here(workdir, scenes, *steps, recipe="source_only_seg")
    return workdir, in_process.checked(result).stdout


def test_the_scenes_run_to_their_table(finished):
    workdir, output = finished
    assert (
        "protocol: evaluation images at 64x128" in output
        and "labels for evaluation, and for an oracle stage, only" in output
    )
    table = output[output.index("target IoU in %") :]
    for row in (
        "road",
        "bicycle",
        "mIoU ",
        "mIoU 16",
        "mIoU 13",
        "mIoU tail",
        "mIoU, target BN",
        "after step",
    ):
        assert f"\n{row}" in table, table
    stages = json.loads((workdir / "results.json").read_text())["stages"]
    assert set(stages) == {"source_only", "adabn", "oracle"}
    for result in stages.values():
        assert (
            len(result["iou"]) == 19
            and 0 <= result["miou"] <= 100
            and {"miou_16", "miou_13", "miou_tail", "reestimated"} <= result.keys()
        )
        assert np.sum(result["confusion"]) > 5 * 64 * 128 * 0.8, (
            "one confusion matrix over all pixels"
        )


def test_pictures_are_there_to_be_looked_at(finished):
    workdir, _ = finished
    files = sorted((workdir / "oracle" / "pictures").iterdir())
    assert [path.name for path in files] == ["0000.png", "0001.png"]
    assert np.asarray(Image.open(files[0])).shape == (128, 4 * 256 + 6, 3)


def test_a_finished_segmenter_opens_and_predicts_what_the_evaluation_counted(finished, scenes):
    workdir, _ = finished
    trained = dajax.load(workdir, "oracle")
    (folder,) = [path for path in scenes.iterdir() if path.is_dir()]
    pictures = sorted((folder / "target" / "leftImg8bit" / "val").glob("*/*.png"))
    predictions = trained.predict([np.asarray(Image.open(path)) for path in pictures])
    counts = np.bincount(
        np.concatenate([prediction.ravel() for prediction in predictions]), minlength=19
    )
    assert counts.sum() == 5 * 64 * 128
    predicted = np.sum(trained.results["confusion"], axis=0)  # without the ignored pixels
    assert (counts >= predicted).all() and (predicted[counts == 0] == 0).all()
    assert trained.features([np.zeros((64, 128, 3), np.uint8)]).shape == (1, 16, 32, 8)


def test_evaluating_a_finished_run_gives_its_figures(finished, scenes):
    workdir, _ = finished
    steps = ("--config.source_only.steps=3", "--config.adabn.steps=2", "--config.oracle.steps=3")
    in_process.checked(run_here(workdir, scenes, *steps, "--mode=eval", recipe="source_only_seg"))
    results, again = (
        json.loads((workdir / name).read_text())["stages"] for name in ("results.json", "eval.json")
    )
    assert {name: stage["confusion"] for name, stage in again.items()} == {
        name: stage["confusion"] for name, stage in results.items()
    }


@pytest.mark.slow
def test_plca_is_measured_and_predicts_with_spatial_aggregation_too(scenes, tmp_path):
    flags = ("--config.stages=('plca',)", "--config.plca.init_from=", "--config.plca.steps=2")
    flags += ("--config.plca.batch_size=1", "--config.plca.accumulate=2")
    output = run(
        tmp_path, scenes, *flags, "--config.evaluation.num_pictures=0", recipe="plca"
    ).stdout
    assert (
        "once more with spatial aggregation, alpha 0.5" in output and "plca: a step needs" in output
    )
    for row in ("mIoU, aggregated", "mIoU, target BN", "mIoU, both"):
        assert f"\n{row}" in output
    trained = dajax.load(tmp_path)
    (folder,) = [path for path in scenes.iterdir() if path.is_dir()]
    pictures = sorted((folder / "target" / "leftImg8bit" / "val").glob("*/*.png"))
    plain, aggregated = (
        trained.predict(
            [np.asarray(Image.open(path)) for path in pictures], aggregation_alpha=alpha
        )
        for alpha in (0.0, 0.5)
    )
    labels = [
        CITYSCAPES.lut[
            read_ids(
                str(path)
                .replace("leftImg8bit", "gtFine")
                .replace("gtFine.png", "gtFine_labelIds.png")
            )
        ]
        for path in pictures
    ]
    counted = np.stack(labels) < 255
    for predictions, figures in (
        (plain, trained.results),
        (aggregated, trained.results["aggregated"]),
    ):
        accuracy = 100 * (np.stack(predictions) == np.stack(labels))[counted].mean()
        assert abs(accuracy - figures["pixel_accuracy"]) < 0.01
    assert (np.stack(plain) != np.stack(aggregated)).any()


@pytest.mark.slow
def test_kill_9_in_the_middle_of_clans_warm_up_changes_no_bit(scenes, tmp_path):
    flags = (
        "--config.stages=('clan',)",
        "--config.clan.init_from=",
        "--config.clan.steps=9",
        "--config.clan.warmup_steps=6",
    )
    flags += (
        "--config.runtime.checkpoint_every=2",
        "--config.clan.adversarial.width=8",
        "--config.evaluation.reestimate_batches=0",
    )
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    run(straight, scenes, *flags)
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(
        command(killed, scenes, *flags), cwd=tiny.ROOT, env=tiny.environment(), **silent
    )
    while not list((killed / "clan" / "checkpoints").glob("[0-9]*")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(killed, scenes, *flags)
    left, right = tiny.final_state(straight, "clan"), tiny.final_state(killed, "clan")
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    assert (straight / "clan" / "metrics.jsonl").read_text() == (
        killed / "clan" / "metrics.jsonl"
    ).read_text()


def test_check_data_reads_everything_and_says_what_is_wrong(finished, scenes, tmp_path):
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    result = run(tmp_path / "none", copy, "--mode=check_data", recipe="source_only_seg")
    assert "everything can be used" in result.stdout and "vegetation" in result.stdout
    broken = sorted(copy.rglob("*_gtFine_labelIds.png"))[1]
    broken.write_bytes(broken.read_bytes()[:100])
    result = run_here(tmp_path / "none", copy, "--mode=check_data", recipe="source_only_seg")
    assert (
        result.returncode == 1
        and str(broken) in result.stdout
        and "something is wrong" in result.stdout
    )


@pytest.mark.slow
def test_real_frames_are_checked_in_place(shared_data, tmp_path):
    root = shared_data / "cityscapes_sample"
    flags = (
        f"--config=configs/clan.py:gta5_to_cityscapes,source_root={root},target_root={root},weights=none",
        "--mode=check_data",
    )
    result = subprocess.run(
        [sys.executable, "run.py", *flags],
        cwd=tiny.ROOT,
        env=tiny.environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr + result.stdout
    assert "no *.png under images" in result.stdout and "2,975" in result.stdout, result.stdout


@pytest.mark.parametrize(
    "flags, says",
    [
        (
            ("--config.model.heads=triple",),
            "config.model.heads='triple': unknown; known: single, multi, twin",
        ),
        (("--config.data.transforms.source.resize=cubic",), "transform.resize is 'cubic'"),
        (
            ("--config.data.source.dataset=gta6",),
            "unknown segmentation data set 'gta6'; known: gta5",
        ),
        (
            ("--config.source_only.domain=target_labels",),
            "labels of 'target_labels' are not for training",
        ),
        (("--config.model.weights=nowhere.pth",), "nowhere.pth"),
    ],
)
def test_a_mistake_is_one_clear_line(flags, says, scenes, tmp_path):
    result = run_here(tmp_path / "run", scenes, *flags, recipe="source_only_seg")
    assert result.returncode == 1 and "Traceback" not in result.stdout + result.stderr
    assert says in result.stderr.strip().splitlines()[-1], result.stderr
    assert not list(pathlib.Path(tmp_path / "run").glob("*/checkpoints/*"))
