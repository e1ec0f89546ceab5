"""run.py begins again with large pages, once, where the system gives them on request."""

import os
import subprocess
import sys

import pytest

import tiny
from dajax import huge_pages


@pytest.mark.parametrize("content, environ, wanted", [
    ("always [madvise] never", {}, True), ("[always] madvise never", {}, False), ("always madvise [never]", {}, False),
    ("always [madvise] never", {"GLIBC_TUNABLES": "glibc.malloc.check=0"}, False),
])
def test_only_where_it_brings_something(tmp_path, monkeypatch, content, environ, wanted):
    state_file = tmp_path / "enabled"
    state_file.write_text(content)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    assert huge_pages.is_wanted(environ, state_file) is wanted
    assert not huge_pages.is_wanted(environ, tmp_path / "nowhere")
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.31")
    assert not huge_pages.is_wanted(environ, state_file)


def test_the_same_command_begins_again_once(tmp_path):
    program = """
import os, sys
from dajax import huge_pages
print("begins", flush=True)
huge_pages.is_wanted = lambda environ: "GLIBC_TUNABLES" not in environ
huge_pages.restart_with_huge_pages()
print(os.environ["GLIBC_TUNABLES"], sys.argv[1:])
"""
    environment = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", program, "--config=a b", ""]
    done = subprocess.run(command, cwd=tiny.ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "begins\nbegins\nglibc.malloc.hugetlb=1 ['--config=a b', '']\n"
