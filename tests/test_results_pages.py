"""Means that a method's page tells are those of the results' pages, which are measured anew."""

import re

import pytest
import tiny

DOCS = tiny.ROOT / "docs"
MEAN = re.compile(r"\d+\.\d\s±\s\d+\.\d")


def means(page):
    return {re.sub(r"\s+", " ", found) for found in MEAN.findall(page.read_text())}


PAGES = sorted((DOCS / "methods").glob("*.md"))
RESULTS = set().union(*(means(page) for page in (DOCS / "results").glob("*.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_methods_means_are_in_the_results(page):
    assert not means(page) - RESULTS


def test_there_are_means_to_compare():
    assert RESULTS and any(map(means, PAGES))
