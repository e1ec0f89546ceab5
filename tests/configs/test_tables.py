"""Published tables as recipes: every cell's run is one that its recipe has, with the stage that is
measured, in small and on the published sets; the figures fit their columns.
"""

import importlib
import re

import pytest
import recipes
import tiny

from dajax.recipes.base import tables
from dajax.recipes.tables import published

NAMES = sorted(
    path.stem
    for path in (tiny.ROOT / "configs" / "tables").glob("*.py")
    if path.stem not in ("__init__", "published")
)
SETS = ("office31", "visda2017", "domainnet", "gta5", "synthia", "synscapes", "cityscapes")


def module(name):
    return importlib.import_module(f"dajax.recipes.tables.{name}")


def everything(name, weights="weights=W"):
    """The table on all of its published sets."""
    used = re.search(rf"--config=tables/{name}:(\S+)", module(name).__doc__)[1]
    roots = [f"{key}=DIR" for key in SETS if f"{key}=" in used]
    return module(name).get_config(",".join([*roots, weights]))


def test_every_table_has_figures_and_a_recipe():
    assert set(NAMES) == set(published.TABLES) and len(NAMES) == 17
    for name, table in published.TABLES.items():
        assert table.rows and table.title and table.source, name
        for row, figures in table.rows.items():
            assert len(figures) == len(table.columns), (name, row)
            assert any(x is not None for x in figures), (name, row)
            assert all(x is None or 0 < x <= 100 for x in figures), (name, row)


def test_what_is_marked_or_measured_is_in_a_table():
    """A misspelt name would be left out without a word."""
    names = {row for table in published.TABLES.values() for row in table.rows}
    assert set(published.BEST) <= names
    assert {*tables.SEGMENTATION, *tables.CLASSIFICATION} <= names
    for name in NAMES:
        own = {row for row, *_ in everything(name).table.cells}
        assert own <= set(published.TABLES[name].rows) and own, name


def test_of_the_classifiers_only_mccs_code_keeps_the_best_by_target_labels():
    rows = {*tables.CLASSIFICATION} & set(published.BEST)
    assert rows == {"MCC"}


def test_means_of_rows_are_those_of_their_tasks():
    table = published.TABLES["can_office31"]
    for row, (*tasks, mean) in table.rows.items():
        if None not in tasks:
            assert mean == pytest.approx(sum(tasks) / 6, abs=0.051), row


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_measured_by_a_stage_of_its_run(name):
    for config in (module(name).get_config(), everything(name)):
        assert config.table.cells
        for row, column, runs, stages, (under, _) in config.table.cells:
            assert column in config.table.columns
            for run in runs:
                recipe, _, argument = run.partition(":")
                made = recipes.get_config(recipe, argument)
                stage = next((x for x in stages if x in made.stages), None)
                assert stage, f"{row}: none of {stages} in {run}"
                is_mean = isinstance(made[stage].get("init_from"), tuple)  # of networks
                assert made[stage].method != "pseudo_labels" or is_mean
                assert not under or made.evaluation.aggregation_alpha > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_published_form_reads_the_folders_and_files_that_it_is_given(name):
    runs = {run for cell in everything(name).table.cells for run in cell[2]}
    for run in runs:
        recipe, _, argument = run.partition(":")
        made = recipes.get_config(recipe, argument)
        assert made.model.weights.startswith("W/") and made.model.weights.endswith(".pth"), run
        if made.task == "segmentation":
            assert (made.data.source.root, made.data.target.root) == ("DIR", "DIR")
        is_vgg = made.model.backbone.startswith("vgg")
        assert is_vgg == ("vgg16-00b39a1b" in made.model.weights), run
        if made.task == "segmentation" and not is_vgg:  # the docstring of whose recipe names it
            like = re.search(r",like=(\w+)", argument)
            says = recipes.module(like[1] if like else recipe).__doc__
            assert made.model.weights.removeprefix("W/") in says, run
    without = {run for cell in everything(name, "weights=none").table.cells for run in cell[2]}
    assert len(without) == len(runs)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_its_docstring_are_its_own(name):
    commands = re.findall(r"run\.py --config=tables/(\w+)(?::(\S+))?", module(name).__doc__)
    assert {found for found, _ in commands} == {name} and len(commands) == 2
    for _, argument in commands:
        assert module(name).get_config(argument).table.cells


def test_a_network_that_the_embedded_data_have_not_is_measured_on_published_sets_alone():
    """They have one, and a second row of it would say nothing."""
    rows = {row for row, *_ in module("clan_gta5").get_config().table.cells}
    assert rows == {"Source", "TAN", "CLAN"}
    assert {row for row, *_ in everything("clan_gta5").table.cells} == rows | {
        f"{row} V" for row in rows
    }


def test_a_column_without_its_folders_is_not_measured():
    config = module("plca_ablations").get_config("gta5=A,cityscapes=B,weights=none")
    assert {column for _, column, *_ in config.table.cells} == {"GTA5"}
    assert config.table.columns == ("GTA5", "SYNTHIA, 16")


def test_a_single_source_is_the_best_of_five():
    config = module("can_domainnet").get_config("domainnet=D,weights=none")
    cells = {(row, column): runs for row, column, runs, *_ in config.table.cells}
    runs = cells["Single best: CAN", "sketch"]
    assert len(runs) == 5 and all("target=sketch" in x and "source=sketch" not in x for x in runs)
    assert len(cells["MSCAN", "sketch"]) == 1


@pytest.mark.parametrize(
    "name, argument, message",
    [
        ("clan_gta5", "gta5=A,cityscapes=B", "tables/clan_gta5: add weights=DIR, the folder with"),
        ("clan_gta5", "gta5=A,weights=none", "no column has the folders of all its sets: add gta5"),
        ("clan_gta5", "office31=A", "expected key=value with a key among"),
        ("clan_gta5", "steps=few", "'steps=few': expected a value of type int"),
        ("can_office31", "scenes", "unknown variant 'scenes'; known: digits, published"),
    ],
)
def test_a_mistake_is_one_line(name, argument, message):
    with pytest.raises(ValueError) as error:
        module(name).get_config(argument)
    assert message in str(error.value) and "\n" not in str(error.value)
