"""dajax.load on a finished tiny run, and the notebooks on toy runs."""

import json
import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import tiny
import tiny_seg
from nbclient import NotebookClient

import dajax
from dajax.errors import UserError
from data_pipeline.digits import sets as digits

ANALYSIS = "analysis.ipynb"


@pytest.fixture
def workdir(tiny_run):
    return tiny_run[0]


def test_predictions_are_those_of_the_evaluation(workdir):
    target = digits.target()
    for stage in ("source_only", "can"):
        trained = dajax.load(workdir, stage)
        predictions = trained.predict(target.images)
        confusion = np.zeros((10, 10), int)
        np.add.at(confusion, (target.labels, predictions), 1)
        np.testing.assert_array_equal(confusion, trained.results["confusion"])
        assert trained.features(target.images[:5]).shape == (
            5,
            16,
        ) and trained.class_names == tuple("0123456789")


def test_the_last_stage_opens_by_default_as_numpy(workdir):
    trained = dajax.load(workdir)
    assert trained.stage == "can" and trained.step == trained.results["step"]
    assert isinstance(trained.params["classifier"]["head"]["kernel"], np.ndarray)
    assert trained.extra["pseudo_labels"].shape == (1797,)
    assert {row["kind"] for row in trained.metrics} == {"train", "refresh", "evaluation"}


def test_it_opens_where_tensorflow_is_absent(workdir):
    program = f"""
import sys
sys.modules["tensorflow"] = None
import dajax, numpy as np
trained = dajax.load({str(workdir)!r})
print(trained.predict(np.zeros((3, 32, 32, 1), np.uint8)).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tiny.ROOT,
        env=tiny.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(3,)\n"


def test_a_wrong_folder_or_stage_is_one_clear_line(workdir, tmp_path):
    with pytest.raises(UserError, match="is no workdir of dajax"):
        dajax.load(tmp_path)
    with pytest.raises(
        UserError, match="stage 'cann' has no checkpoint; these have: source_only, can"
    ):
        dajax.load(workdir, "cann")


# The first cell of a notebook in a test.
QUICK = f"""
import sys; sys.path[:0] = [{str(tiny.ROOT)!r}, {str(tiny.ROOT / "tests" / "support")!r}]
import quick_figures
for place, name, quick in quick_figures.REPLACED:
    setattr(place, name, quick)
"""


def executed(name, **environment):
    """(texts, number of pictures) that the cells of a notebook give, run in a kernel whose figures
    are quick ones.
    """
    notebook = nbformat.read(tiny.ROOT / "notebooks" / name, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(QUICK))
    resources = {"metadata": {"path": str(tiny.ROOT / "notebooks")}}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        NotebookClient(notebook, timeout=300, resources=resources).execute()
    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    texts = "".join(output.get("text", "") for output in outputs)
    return texts, sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_analysis_notebook_runs_on_digits(workdir):
    texts, pictures = executed(ANALYSIS, DAJAX_WORKDIR=str(workdir), DAJAX_SAMPLES="30")
    assert "networks: source_only (step 12), can (step" in texts
    assert pictures > 10 and "left out" not in texts


@pytest.mark.slow
def test_the_analysis_notebook_runs_on_rounds_of_scenes(tmp_path):
    """A stage without a network of its own, rounds, pseudo-labels, BiCL's kinds of labels."""
    few = (
        "--config.source_only.steps=4",
        "--config.bicl_0.steps=2",
        "--config.bicl_0.batch_size=2",
    )
    stages = "--config.stages=('source_only','labels_0','bicl_0')"
    tiny_seg.run(tmp_path / "run", tmp_path / "scenes", stages, *few, recipe="bicl")
    texts, pictures = executed(ANALYSIS, DAJAX_WORKDIR=str(tmp_path / "run"), DAJAX_SAMPLES="12")
    assert "stages: source_only, labels_0, bicl_0\n" in texts
    assert "networks: source_only (step 4), bicl_0 (step 2)\n" in texts
    assert pictures > 6
    left_out = set(re.findall(r"left out: (\w+)", texts))
    # one evaluation a stage is no curve, five images have no half of five
    assert (
        {"evaluations", "a_distance"} <= left_out <= {"evaluations", "a_distance", "similarities"}
    )


@pytest.mark.slow
def test_both_notebooks_run_on_pictures_without_labels(tmp_path):
    """Train, predict, report, export and reload; then the analysis of the same run."""
    flags = "--config.model.widths=(4,8,16) --config.can.max_loops=1 --config.runtime.devices=1"
    pictures = tmp_path / "pictures"
    texts, shown = executed(
        "your_own_pictures.ipynb",
        DAJAX_PICTURES=str(pictures),
        DAJAX_STEPS="6",
        DAJAX_SAMPLES="40",
        DAJAX_FLAGS=f"{flags} --config.can.class_aware.update_fraction=0.05",
    )
    assert shown == 3 and "parity with predict" in texts and "600 without labels" in texts
    for name in ("run/analysis/report.html", "run-predictions/predictions.csv", "run.stablehlo"):
        assert (tmp_path / f"pictures-{name}").exists()
    texts, shown = executed(ANALYSIS, DAJAX_WORKDIR=f"{pictures}-run", DAJAX_SAMPLES="40")
    for needs_labels in ("a list of failures", "a distance between classes"):
        assert f"has no labels, and {needs_labels} needs the true classes" in texts
    assert shown > 4


@pytest.mark.parametrize("name", [ANALYSIS, "your_own_pictures.ipynb"])
def test_the_committed_notebooks_have_been_executed(name):
    notebook = json.loads((tiny.ROOT / "notebooks" / name).read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 10 and all(cell["execution_count"] for cell in code)
    assert any("image/png" in out.get("data", {}) for cell in code for out in cell["outputs"])
