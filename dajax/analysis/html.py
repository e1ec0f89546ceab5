"""One HTML page that needs nothing but itself: its style and its pictures are in it, and it has no
script.
"""

import base64
import dataclasses
import html

_STYLE = """
:root { --ink: #1f2933; --soft: #52606d; --faint: #7b8794; --line: #e4e7eb; --paper: #ffffff;
  --ground: #f5f7fa; --accent: #0b69a3; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans",
  sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 0 0 10px; letter-spacing: -0.005em; }
h3 { font-size: 14.5px; margin: 22px 0 6px; }
p { margin: 0 0 12px; max-width: 78ch; color: var(--soft); }
header p { color: var(--faint); overflow-wrap: anywhere; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 24px 22px; margin: 18px 0; }
nav { display: flex; flex-wrap: wrap; gap: 6px; margin: 14px 0 4px; }
nav a { color: var(--accent); text-decoration: none; font-size: 13px; padding: 2px 10px;
  border: 1px solid var(--line); border-radius: 99px; background: var(--paper); }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0 0; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 18px; min-width: 150px; flex: 0 1 auto; }
.card .value { font-size: 25px; font-weight: 650; font-variant-numeric: tabular-nums; }
.card .name { font-size: 13px; color: var(--soft); }
.card .more { font-size: 12px; color: var(--faint); }
.row { display: flex; flex-wrap: wrap; gap: 0 56px; align-items: flex-start; }
.row h3 { margin-top: 6px; }
.scroll { overflow-x: auto; margin: 0 0 12px; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px 4px 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--faint); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; white-space: nowrap; }
td.number, th.number { text-align: right; padding: 4px 12px; white-space: nowrap; }
td.text { overflow-wrap: break-word; }
figure { margin: 10px 0 18px; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; max-width: 90ch; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--accent); font-size: 14px; }
ul { margin: 0; padding-left: 18px; color: var(--soft); } li { margin: 3px 0; }
footer { color: var(--faint); font-size: 12.5px; }
@media print { body { background: white; } section { break-inside: avoid-page; border: 0; } }
"""


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under a head.

    Attributes:
      head: titles of the columns.
      rows: lists of cells: text, a number, or None for nothing; the first names the row.
      title: above the table, or "".
      shade: floats, which are per cent then, get a ground by their size.
      folded: behind a line that opens it.
      digits: decimals of a float.
    """

    head: list
    rows: list
    title: str = ""
    shade: bool = False
    folded: bool = False
    digits: int = 1


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure or a picture.

    Attributes:
      name: of its file, without an ending.
      figure: matplotlib Figure, or uint8 [H, W, 3].
      caption: below it.
    """

    name: str
    figure: object
    caption: str


@dataclasses.dataclass(frozen=True)
class Row:
    """Tables side by side, as far as the page is wide enough: `tables`, a list."""

    tables: list


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
      key: its anchor. title: its heading. blocks: list of Text, Table, Row and Picture.
    """

    key: str
    title: str
    blocks: list


def page(*, title, subtitle, cards, sections, left_out, pictures, footer):
    """The page.

    Args:
      title, subtitle, footer: text. cards: [(name, value, more)], texts.
      sections: list of Section.
      left_out: [(title, why)] of the sections that are not there.
      pictures: {name of a Picture: (bytes of its PNG file, its width in CSS pixels)}.

    Returns:
      str.
    """
    links = [(section.key, section.title) for section in sections]
    if left_out:
        links.append(("left-out", "Left out"))
    body = [
        f"<header><h1>{_text(title)}</h1><p>{_text(subtitle)}</p>",
        '<div class="cards">' + "".join(_card(*card) for card in cards) + "</div>",
        "<nav>" + "".join(f'<a href="#{key}">{_text(name)}</a>' for key, name in links) + "</nav>",
        "</header>",
        *(_section(section, pictures) for section in sections),
    ]
    if left_out:
        items = "".join(f"<li><b>{_text(name)}</b>: {_text(why)}</li>" for name, why in left_out)
        body.append(f'<section id="left-out"><h2>Left out</h2><ul>{items}</ul></section>')
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + f"\n<footer>{_text(footer)}</footer></main></body></html>\n"
    )


def _text(text):
    return html.escape(str(text))


def _card(name, value, more):
    return (
        f'<div class="card"><div class="value">{_text(value)}</div><div class="name">{_text(name)}'
        f'</div><div class="more">{_text(more)}</div></div>'
    )


def _section(section, pictures):
    blocks = "\n".join(_block(block, pictures) for block in section.blocks)
    return f'<section id="{section.key}"><h2>{_text(section.title)}</h2>\n{blocks}\n</section>'


def _block(block, pictures):
    if isinstance(block, Text):
        return f"<p>{_text(block.text)}</p>"
    if isinstance(block, Row):
        tables = "".join(f"<div>{titled(table)}</div>" for table in block.tables)
        return f'<div class="row">{tables}</div>'
    if isinstance(block, Table):
        return _folded(block) if block.folded else titled(block)
    return image(*pictures[block.name], block.caption)


def image(png, width, caption):
    """A figure element with the bytes of a PNG file in it, `width` CSS pixels wide, or as wide as
    the page.
    """
    encoded = base64.b64encode(png).decode()
    size = f' style="width:{width}px"'
    return (
        f'<figure><img alt="{_text(caption)}"{size} src="data:image/png;base64,{encoded}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def titled(table):
    """A table element under its title, where it has one."""
    title = f"<h3>{_text(table.title)}</h3>" if table.title else ""
    return title + table_element(table)


def _folded(table):
    summary = _text(table.title or "more")
    return f"<details><summary>{summary}</summary>{table_element(table)}</details>"


def table_element(table):
    """A table element that scrolls within the page where it is too wide."""
    numeric = [
        any(_is_number(row[i]) for row in table.rows if i < len(row))
        for i in range(len(table.head))
    ]
    head = "".join(
        f"<th{_class('number' if is_number else '')}>{_text(name)}</th>"
        for name, is_number in zip(table.head, numeric, strict=True)
    )
    lines = []
    for row in table.rows:
        cells = "".join(_cell(value, numeric[j], table) for j, value in enumerate(row[1:], start=1))
        lines.append(f"<tr><th>{_text(_written(row[0], table))}</th>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(value, is_numeric, table):
    ground = ""
    if table.shade and isinstance(value, float):
        share = min(max(value / 100, 0), 1)
        ground = f' style="background: rgba(11, 105, 163, {0.28 * share:.3f})"'
    name = "number" if is_numeric else "text"
    return f"<td{_class(name)}{ground}>{_text(_written(value, table))}</td>"


def _written(value, table):
    if value is None or value != value:  # NaN
        return "–"
    if isinstance(value, bool) or not _is_number(value):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.{table.digits}f}"


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _class(name):
    return f' class="{name}"' if name else ""
