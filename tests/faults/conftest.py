"""The runs that faults are tried on, each with what it comes to undisturbed."""

import os

import forked_runs
import pytest
from kills import Subject, toy_words


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """toy_recipe: two trained stages, and one with a refresh between its loops."""
    with forked_runs.Server("toy") as server:
        yield Subject(server, tmp_path_factory.mktemp("toy"), toy_words, {"loop": "refresh"})


@pytest.fixture(scope="session")
def flat_server():
    with forked_runs.Server("flat") as server:
        yield server


@pytest.fixture
def number_of_kills():
    """Of the long form: DAJAX_FAULT_KILLS, 100 by default, over all recipes."""
    return int(os.environ.get("DAJAX_FAULT_KILLS", "100"))
