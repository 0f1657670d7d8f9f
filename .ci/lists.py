"""Writes what comes from the catalogue: exports, the README's table, docs/catalogue.md, cards. Run it after a new row.

``python .ci/lists.py`` writes them; ``texts()`` is what tests compare with the files.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bnn_zoo.catalogue import ENTRIES, KINDS, of

sys.path.insert(0, str(Path(__file__).parent))
import cards

ROOT = Path(__file__).parents[1]
GENERATED = ("nets", "priors", "likelihoods", "backends", "handlers", "guides", "zoo")
"""Packages whose exports are the catalogue's members and nothing else."""
WIDTH = 125


def in_order(names: set[str]) -> list[str]:
    """Constants, classes, functions, as ruff sorts them."""
    return sorted(names, key=lambda n: (0 if n.isupper() else 1 if n[0].isupper() else 2, natural(n)))


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts numbers in names by their value: LeNet5 before LeNet300100."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]


def listed(names: list[str]) -> str:
    quoted = [f'"{n}"' for n in names]
    line = f"__all__ = [{', '.join(quoted)}]"
    return line if len(line) <= WIDTH else "__all__ = [\n" + "".join(f"    {n},\n" for n in quoted) + "]"


def package(name: str) -> str:
    """The ``__init__.py`` of a package: its docstring as it is, one import a file, all names."""
    path = ROOT / "bnn_zoo" / name / "__init__.py"
    docstring = ast.get_docstring(ast.parse(path.read_text()), clean=False)
    files: dict[str, set[str]] = {}
    for e in ENTRIES:
        if e.package == name:
            files.setdefault(f"..{e.module}" if "." in e.module else f".{e.module}", set()).add(e.name)
    order = sorted(files, key=lambda module: (not module.startswith(".."), natural(module)))
    imports = "".join(f"from {module} import {', '.join(in_order(files[module]))}\n" for module in order)
    return f'"""{docstring}"""\n\n{imports}\n{listed(in_order(set().union(*files.values())))}\n'


def top() -> str:
    """``bnn_zoo/__init__.py``: the backends' names anew, the rest as it is."""
    text = (ROOT / "bnn_zoo" / "__init__.py").read_text()
    names = in_order({e.name for e in ENTRIES if e.package == "backends"})
    block = "from .backends import (\n" + "".join(f"    {n},\n" for n in names) + ")\n"
    text = re.sub(r"from \.backends import \(.*?\)\n", block, text, flags=re.S)
    imported = {
        alias.asname or alias.name
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return re.sub(r"__all__ = \[.*?\]\n", listed(in_order(imported)) + "\n", text, flags=re.S)


def readme() -> str:
    """The README with the rows of its table anew."""

    def names(kind: str, **facts: str) -> str:
        members = [e for e in of(kind).values() if all(e.facts[k] == v for k, v in facts.items())]
        return ", ".join(f"`{e.name}`" for e in members)

    rows = [
        ("published models", names("published")),
        (
            "nets",
            names("net")
            + "; any `torch.nn.Module`, with "
            + names("transform")
            + " where it has BatchNorm (or `net.eval()`)",
        ),
        ("priors", names("prior") + "; a scale is a number, a tensor, a prior, or " + names("scale")),
        ("likelihoods", names("likelihood")),
        ("backends, all rows", names("backend", rows="all")),
        ("backends, minibatches", names("backend", rows="minibatches") + "; your own dataclass with a `run` method"),
        ("mass matrices, starts", names("mass matrix") + "; " + names("start")),
        ("effects on models", names("effect") + "; every handler of `pyro.poutine`"),
        ("variational families", names("guide") + ", Pyro's autoguides; handlers " + names("handler")),
    ]
    table = "\n".join(["| | |", "|---|---|", *(f"| {title} | {members} |" for title, members in rows)])
    text = (ROOT / "README.md").read_text()
    return re.sub(r"(<!-- from the catalogue -->\n).*?(\n<!-- end -->)", lambda m: m[1] + table + m[2], text, flags=re.S)


def published() -> Iterator[str]:
    yield "| | network | weights | prior | likelihood | data | temperature | from |"
    yield "|---|---|---|---|---|---|---|---|"
    for e in of("published").values():
        f = e.facts
        parts = (f["architecture"], f"{f['weights']:,}", f["prior"], f["likelihood"], f["data"], f["temperature"], e.source)
        yield f"| [`{e.name}`](zoo/{e.name}.md): {e.line} | {' | '.join(parts)} |"
    yield ""


def page() -> str:
    """docs/catalogue.md: every member with its source and an example."""
    parts = [
        "# Catalogue\n",
        "Every member of the zoo. `bnn-zoo list` prints these tables, `bnn-zoo show NAME` one member with its settings.",
        "This page is written by `python .ci/lists.py` from `bnn_zoo/catalogue/`.\n",
    ]
    for kind, (_, line) in KINDS.items():
        if kind == "published":
            parts += [f"## {line.split(':')[0]}\n", line + " They are in `bz.zoo`.\n", *published()]
            continue
        backend = kind == "backend"
        parts += [f"## {line.split(':')[0].rstrip('.')}\n", line + "\n"]
        parts += ["| | | rows | exact | from |", "|---|---|---|---|---|"] if backend else ["| | | from |", "|---|---|---|"]
        for e in of(kind).values():
            more = f" {e.facts['rows']} | {e.facts['exact']} |" if backend else ""
            parts.append(f"| `{e.qualified}` | {e.line} |{more} {e.source} |")
        parts.append("")
    return "\n".join(parts)


def texts() -> Iterator[tuple[Path, str]]:
    """Each file with what should be in it."""
    for name in GENERATED:
        yield ROOT / "bnn_zoo" / name / "__init__.py", package(name)
    yield ROOT / "bnn_zoo" / "__init__.py", top()
    yield ROOT / "README.md", readme()
    yield ROOT / "docs" / "catalogue.md", page()
    for e in of("published").values():
        yield ROOT / "docs" / "zoo" / f"{e.name}.md", cards.page(e)
    yield ROOT / "docs" / "zoo" / "index.md", cards.index()


if __name__ == "__main__":
    for path, text in texts():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print("written:", path.relative_to(ROOT))
