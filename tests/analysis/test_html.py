"""The page of a report: whole, escaped, and without anything from elsewhere."""

from html.parser import HTMLParser

import numpy as np

from dajax.analysis import html
from dajax.analysis.html import Picture, Row, Section, Table, Text

VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """Raises where elements are not nested; collects texts, links and addresses."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.ids, self.addresses = [], [], set(), []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        attrs = dict(attrs)
        self.ids |= {attrs["id"]} if "id" in attrs else set()
        self.addresses += [attrs[key] for key in ("src", "href") if key in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def page():
    table = Table(["class", "a", "b"], [["<road>", 12.345, None], ["car", 7, float("nan")]])
    more = Table(["key", "value"], [["k", "v & w"]], title="Every setting", folded=True)
    picture = Picture("curve", np.zeros((2, 3, 3), np.uint8), "a <caption>")
    section = Section("one", "One & two", [Text("a < b"), Row([table]), more, picture])
    return html.page(
        title="can <digits>",
        subtitle="/runs/x",
        cards=[("can", "98.1 %", "accuracy")],
        sections=[section],
        left_out=[("t-SNE", "no labels")],
        pictures={"curve": (b"PNG", 3)},
        footer="end",
    )


def test_it_is_whole_and_everything_is_in_it():
    found = Checked(page())
    assert {"one", "left-out"} <= found.ids
    assert set(found.addresses) == {"#one", "#left-out", "data:image/png;base64,UE5H"}
    for text in ("can <digits>", "One & two", "<road>", "12.3", "7", "–", "v & w", "a <caption>"):
        assert text in found.texts, text
    assert "http" not in page(), "nothing comes from the net"


def test_numbers_have_the_digits_of_their_table():
    table = Table(["", "x"], [["a", 1.23456], ["b", 1234567], ["c", "text"]], digits=3)
    assert all(text in html.table_element(table) for text in (">1.235<", ">1,234,567<", ">text<"))
