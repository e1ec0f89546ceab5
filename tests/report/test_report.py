"""`--mode=analyze`: the report of finished runs, in a browser too."""

import contextlib
import dataclasses
import io
import json
import shutil
import sys

import browser
import in_process
import numpy as np
import pytest
import quick_figures
from PIL import Image

from dajax.errors import UserError
from dajax.report import sections
from dajax.report.context import Context
from dajax.report.out_folder import MARKER, ReportFolder
from dajax.report.runs import LeftOut, Run, open_runs
from dajax.report.write import analyze, file_names

SAMPLES = 24


@pytest.fixture(scope="module")
def report(tiny_run, tmp_path_factory):
    """(workdir of tiny digits, folder of its report, what was said)."""
    out, said = tmp_path_factory.mktemp("report") / "out", io.StringIO()
    words = ["--mode=analyze", f"--workdir={tiny_run[0]}", f"--out={out}"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        quick_figures.patch(patch)
        assert in_process.command_line(*words, "--stage=can", f"--samples={SAMPLES}") == 0
    return tiny_run[0], out, said.getvalue()


@pytest.fixture(scope="module")
def context(tiny_run):
    """Of the same workdir; its data have not been opened."""
    return Context(open_runs([tiny_run[0]]), samples=SAMPLES)


def test_only_one_stage_is_looked_at_on_request(context):
    assert [network.label for network in context.networks] == ["source_only", "can"]
    assert [n.label for n in Context(context.runs, "source_only").networks] == ["source_only"]
    assert [n.label for n in Context(context.runs * 2).networks] == ["can", "can"], (
        "the last of each"
    )
    with pytest.raises(UserError, match="stage 'cann' has no network.*have: source_only, can"):
        Context(context.runs, "cann")


def test_the_page_holds_what_the_run_has(report):
    workdir, out, said = report
    page = (out / "report.html").read_text()
    stages = json.loads((workdir / "results.json").read_text())["stages"]
    for stage in stages.values():
        assert f">{stage['accuracy']:.1f}<" in page
    for key in ("results", "confusion", "failures", "losses", "refreshes", "centers", "about"):
        assert f'<section id="{key}">' in page
    assert "data.per_class" in page, "every setting is there"
    assert f"written: {out / 'report.html'}" in said


def test_figures_are_files_too_and_the_page_holds_them(report):
    _, out, _ = report
    made = sorted(path.name for path in (out / "figures").iterdir())
    for name in ("losses", "confusion", "tsne_images", "center_distance", "a_distance"):
        assert f"{name}.png" in made and f"{name}.pdf" in made
        assert (out / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "report.html").read_text().count("data:image/png") == sum(
        name.endswith(".png") for name in made
    )


def test_a_browser_shows_every_figure_within_its_window(report, tmp_path):
    _, out, _ = report
    found = browser.seen(out / "report.html", tmp_path)
    assert found["images"] == found["whole_images"] > 9 and found["sections"] > 9
    assert found["page_width"] <= found["window_width"]
    browser.screenshot(out / "report.html", tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        colors = picture.convert("RGB").getcolors(2**20)
    assert len(colors) > 100, "not an empty page"


def test_without_scikit_learn_the_rest_of_the_report_is_made(context, monkeypatch):
    monkeypatch.delitem(sys.modules, "sklearn.manifold", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(LeftOut, match="scikit-learn is missing.*pip install scikit-learn"):
        sections.features.image_embedding(context)


def test_without_matplotlib_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match="matplotlib is missing.*pip install matplotlib"):
        analyze(["nowhere"], tmp_path / "out", samples=3)
    assert not (tmp_path / "out").exists()


def test_names_of_stages_that_are_no_file_names_stay_apart():
    names = file_names(["tsne_a b", "tsne_a_b", "tsne_a/b", "losses"])
    assert list(names.values()) == ["tsne_a_b", "tsne_a_b-2", "tsne_a_b-3", "losses"]


def test_a_report_replaces_the_one_before_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    ReportFolder(out).write({"report.html": b"1", "figures/a.png": b"a"}, {})
    ReportFolder(out).write({"report.html": b"2", "figures/b.png": b"b"}, {})
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {MARKER, "report.html", "figures/b.png"}
    assert (out / "report.html").read_bytes() == b"2"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds other things \(thesis.tex\)"):
        ReportFolder(tmp_path / "mine")
    with pytest.raises(UserError, match="is a file; name a folder"):
        ReportFolder(out / "report.html")


def test_a_marker_cannot_have_files_of_others_removed(tmp_path):
    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    mine.write_text("")
    ReportFolder(out).write({"report.html": b"1"}, {})
    marker = json.loads((out / MARKER).read_text())
    (out / MARKER).write_text(json.dumps(marker | {"files": ["../mine.txt"]}))
    ReportFolder(out).write({"report.html": b"2"}, {})
    assert mine.exists()


def test_gone_data_leave_out_what_needs_them_and_say_so(context, monkeypatch):
    (run,) = context.runs
    changed = run.config.copy_and_resolve_references()
    changed.data.per_class = 11
    other = Run(run.workdir, config=changed)
    monkeypatch.setattr(context, "runs", [other])
    networks = [dataclasses.replace(network, run=other) for network in context.networks]
    monkeypatch.setattr(context, "networks", networks)
    with pytest.raises(LeftOut, match="images cannot be read.*begun with other data"):
        context.sample(networks[0], "source")
    made = [make for _, make in sections.SECTIONS]
    assert made[0](context).key == "results", "tables need no images"


def test_the_page_has_what_the_rules_without_labels_pick(report):
    workdir, out, said = report
    page = (out / "report.html").read_text()
    section = page[page.index('<section id="choices">') :].partition("</section>")[0]
    stored = json.loads((workdir / "results.json").read_text())["snapshots"]
    assert stored
    for name, picked in stored.items():
        assert f"<th>{name}</th>" in section
        for who in ("last", "entropy", "oracle"):
            found = picked[who]
            assert f">{found['accuracy']:.1f} ({found['step']})<" in section
    assert "<th>oracle*</th>" in section.replace(' class="text"', "").replace(' class="number"', "")


def test_without_labels_what_needs_them_is_left_out(context, monkeypatch):
    domains = context.runs[0].domains
    bare = dataclasses.replace(domains, evaluation=domains.evaluation.without_labels())
    monkeypatch.setattr(Run, "domains", bare)
    for make in (sections.features.centers, sections.predictions.failures):
        with pytest.raises(LeftOut, match="has no labels, and .* needs the true classes"):
            make(context)


def test_runs_are_told_apart_by_the_shortest_name_that_does(tiny_run, tmp_path):
    copy = tmp_path / "other"
    shutil.copytree(tiny_run[0], copy)
    stages = [stage.label for run in open_runs([tiny_run[0], copy]) for stage in run.stages]
    assert stages == ["run: source_only", "run: can", "other: source_only", "other: can"]
    names = json.loads((copy / "dataset.json").read_text())
    names["class_names"][0] = "zero"
    (copy / "dataset.json").write_text(json.dumps(names))
    with pytest.raises(UserError, match="--workdirs: .* compare runs of the same classes"):
        open_runs([tiny_run[0], copy])


def test_snapshots_are_the_networks_of_their_steps(context):
    network = context.networks[-1]
    older, newest = context.snapshots(network, 8)
    assert newest is network and older.trained.step == network.stage.snapshots[0]
    kernel = [one.trained.params["classifier"]["head"]["kernel"] for one in (older, newest)]
    assert not np.array_equal(*kernel)


@pytest.mark.slow
def test_a_whole_report_is_looked_at_in_a_browser(tiny_run, tmp_path):
    """As a user has it: figures of full size, t-SNE, TrueType letters in PDF."""
    words = ["--mode=analyze", f"--workdir={tiny_run[0]}", f"--out={tmp_path / 'out'}"]
    assert in_process.command_line(*words) == 0
    found = browser.seen(tmp_path / "out" / "report.html", tmp_path)
    assert found["images"] == found["whole_images"] > 9
    assert found["page_width"] <= found["window_width"]
    pdf = (tmp_path / "out" / "figures" / "losses.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf


@pytest.mark.parametrize(
    "words, says",
    [
        (["--workdirs=a,b"], "--workdirs: needs --out=FOLDER"),
        (["--workdirs=a,a", "--out=x"], "two or more different folders"),
        (["--workdirs=a", "--out=x"], "two or more different folders"),
        (["--workdirs=a,b", "--workdir=a"], "one run or several"),
        (["--workdir=nowhere"], "nowhere: is no workdir of dajax"),
        (["--workdir=a", "--samples=0"], "samples"),
        (["--workdir=a", "--images=b"], "--images is for --mode=predict; leave it out"),
    ],
)
def test_mistakes_are_one_line(words, says):
    with pytest.raises((UserError, SystemExit)) as mistake:
        status = in_process.command_line("--mode=analyze", *words)
        raise SystemExit(status)
    assert says in str(mistake.value) and "\n" not in str(mistake.value)
