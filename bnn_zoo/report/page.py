"""One page of HTML with everything in it: readable offline, on a phone and in ten years."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1a1a1a; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
ul { margin: .25rem 0 .75rem; padding-left: 1.25rem; }
nav a { display: inline-block; margin-right: 1rem; padding: .25rem 0; color: #00558c; }
.quiet { color: #555; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .35rem .75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e5e5e5; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #999; }
.facts td { text-align: left; white-space: normal; }
figure { margin: 1.25rem 0 2rem; }
img { max-width: 100%; height: auto; display: block; }
.picture { overflow-x: auto; }
figcaption { max-width: 46rem; color: #444; font-size: .92rem; margin-top: .25rem; }
summary { cursor: pointer; font-weight: 600; padding: .4rem 0; }
pre { background: #f5f5f5; padding: .75rem; overflow-x: auto; font-size: .85rem; }
@media (max-width: 40rem) {
  .scroll th, .scroll td { padding: .35rem .5rem; font-size: .85rem; }
  .scroll thead th { white-space: normal; vertical-align: bottom; }
  .scroll th:first-child { position: sticky; left: 0; background: #fff; }
}
@media print { details > * { display: block; } }
"""
LEAST = 0.6
"""Share of its width to which a picture shrinks on a small screen; beyond that it scrolls, so that it can be read."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The page asks for nothing from anywhere, and a browser sees to it."""
ALWAYS = (
    "All numbers are of one split of one data set: the next split orders backends that are close to each other anew.",
    "R-hat compares chains with each other and not with what none of them has seen.",
    "Seconds are of this machine, with what else it did.",
)


@dataclass(frozen=True)
class Picture:
    """A PNG file, what it is called and how to read it; ``about`` is the backend it is of, "" if of all."""

    path: Path
    title: str
    how: str
    about: str = ""


@dataclass(frozen=True)
class Page:
    """What a report says. All texts are plain and are escaped here.

    cells: the table, the first row its head and the first column its names. legend: what its columns mean. notes: of the
    data. doubts: ``{backend: sentences}``. failed: ``{backend: error}``. command: what made it. facts: versions and the
    like. date: when.
    """

    title: str
    summary: str
    cells: Sequence[Sequence[str]]
    legend: str
    doubts: Mapping[str, Sequence[str]]
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[str] = ()
    date: str = ""


def write(page: Page, path: Path) -> Path:
    """Write the page. Pictures whose file is missing are left out. Raises OSError where the file cannot be written."""
    path.write_text(html(page), encoding="utf-8")
    return path


def html(page: Page) -> str:
    """The whole document."""
    title = escape(page.title)
    body = "\n".join(filter(None, [_head(page), _table(page), _doubted(page), _pictures(page), _made(page)]))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(page: Page) -> str:
    links = [("table", "Table"), ("doubt", "What to doubt"), ("pictures", "Pictures"), ("made", "How it was made")]
    if not page.pictures:
        links.pop(2)
    nav = "\n".join(f'<a href="#{place}">{text}</a>' for place, text in links)
    return f"<h1>{escape(page.title)}</h1>\n<p>{escape(page.summary)}</p>\n{_list(page.notes)}\n<nav>{nav}</nav>"


def _table(page: Page) -> str:
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in page.cells[0])
    rows = "\n".join(
        f'<tr><th scope="row">{escape(line[0])}</th>{"".join(f"<td>{escape(c)}</td>" for c in line[1:])}</tr>'
        for line in page.cells[1:]
    )
    table = f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'
    failed = _list([f"{name} failed and is left out: {error}" for name, error in page.failed.items()])
    return f'<h2 id="table">Table</h2>\n{table}\n<p class="quiet">{escape(page.legend)}</p>\n{failed}'


def _doubted(page: Page) -> str:
    each = [f"<h3>{escape(name)}</h3>\n{_list(said)}" for name, said in page.doubts.items()]
    return "\n".join(['<h2 id="doubt">What to doubt</h2>', *each, "<h3>Always</h3>", _list(ALWAYS)])


def _pictures(page: Page) -> str:
    there = [p for p in page.pictures if p.path.is_file()]
    if not there:
        return ""
    parts = ['<h2 id="pictures">Pictures, and how to read them</h2>']
    parts += [_figure(p) for p in there if not p.about]
    for about in dict.fromkeys(p.about for p in there if p.about):
        figures = "\n".join(_figure(p) for p in there if p.about == about)
        parts.append(f"<details>\n<summary>Chains of {escape(about)}</summary>\n{figures}\n</details>")
    return "\n".join(parts)


def _figure(picture: Picture) -> str:
    data = picture.path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])  # where a PNG says so
    size = f'width="{width}" height="{height}" style="min-width: {round(LEAST * width)}px"'
    title, how = escape(picture.title), escape(picture.how)
    image = f'<img alt="{title}" {size} src="data:image/png;base64,{b64encode(data).decode("ascii")}">'
    return f'<figure>\n<h3>{title}</h3>\n<div class="picture">{image}</div>\n<figcaption>{how}</figcaption>\n</figure>'


def _made(page: Page) -> str:
    parts = ['<h2 id="made">How it was made</h2>']
    if page.command:
        parts.append(f"<pre>{escape(page.command)}</pre>")
    facts = {**({"date": page.date} if page.date else {}), **page.facts}
    rows = "\n".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in facts.items())
    parts.append(f'<div class="scroll"><table class="facts">\n{rows}\n</table></div>')
    if page.files:
        parts.append(f'<p class="quiet">Beside this page: {escape(", ".join(page.files))}.</p>')
    return "\n".join(parts)


def _list(sentences: Iterable[str]) -> str:
    items = "\n".join(f"<li>{escape(s)}</li>" for s in sentences)
    return f"<ul>\n{items}\n</ul>" if items else ""
