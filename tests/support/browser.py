"""A page in a real browser, headless Chromium; tests that need it are skipped without it."""

import pathlib
import re
import subprocess
import tempfile

import pytest

CHROMIUM = pathlib.Path("/usr/bin/chromium")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# What a copy of the page says of itself once everything in it is loaded.
_SCRIPT = """<script>addEventListener("load", () => {
  const images = [...document.images], root = document.documentElement;
  document.title = ["seen", images.length, images.filter(x => x.naturalWidth > 0).length,
    root.scrollWidth, innerWidth, document.querySelectorAll("section").length].join(" ");
})</script>"""


def _run(*words):
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    with tempfile.TemporaryDirectory(prefix="dajax-chromium-") as profile:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def seen(page, folder, width=1200):
    """What a browser sees of an HTML file: {"images", "whole_images", "page_width",
    "window_width", "sections"}, counts and CSS pixels.

    Args:
      page: pathlib.Path. folder: for a copy of it.
    """
    copy = folder / "asked.html"
    copy.write_text(page.read_text().replace("</head>", f"{_SCRIPT}</head>"))
    dom = _run("--dump-dom", f"--window-size={width},900", copy.as_uri()).stdout
    numbers = re.search(r"<title>seen ([\d ]+)</title>", dom)
    assert numbers, dom[:500]
    names = ("images", "whole_images", "page_width", "window_width", "sections")
    return dict(zip(names, map(int, numbers[1].split()), strict=True))


def screenshot(page, path, size=(1200, 2400)):
    """Writes a PNG file of the top of an HTML file."""
    _run(f"--screenshot={path}", f"--window-size={size[0]},{size[1]}", page.as_uri())
