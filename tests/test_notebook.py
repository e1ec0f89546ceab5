"""dajax.load and the analysis notebook, on a finished tiny run."""

import json
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import tiny
from nbclient import NotebookClient

import dajax
from dajax.errors import UserError
from data_pipeline.digits import sets as digits


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


def test_the_notebook_runs(workdir, monkeypatch):
    monkeypatch.setenv("DAJAX_WORKDIR", str(workdir))
    monkeypatch.setenv("DAJAX_TSNE_IMAGES", "30")
    notebook = nbformat.read(tiny.ROOT / "notebooks" / "analysis.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tiny.ROOT / "notebooks")}}
    ).execute()
    pictures = [
        out
        for cell in notebook.cells
        if cell.cell_type == "code"
        for out in cell.outputs
        if "image/png" in out.get("data", {})
    ]
    assert len(pictures) == 3, "curves, confusion matrices, t-SNE"


def test_the_committed_notebook_has_been_executed():
    notebook = json.loads((tiny.ROOT / "notebooks" / "analysis.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code) and any(
        "image/png" in out.get("data", {}) for cell in code for out in cell["outputs"]
    )
