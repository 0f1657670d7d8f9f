"""The cards of the published models as Markdown: docs/zoo/<name>.md for each, and docs/zoo/index.md over them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from bnn_zoo.catalogue import Card, Entry, of

WRITTEN = "*This page is written by `python .ci/lists.py` from the catalogue and from the record beside the model.*"


def bytes_of(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def takes_tables(e: Entry) -> bool:
    """Whether ``bnn-zoo compare`` and ``show`` can set its number of columns."""
    return "inputs" in inspect.signature(e.constructor).parameters


def example(e: Entry, card: Card) -> str:
    """The code of the card: made-up rows, the model, a short fit."""
    network = bool(e.facts["x"])
    whole = f"bz.zoo.{e.name}()"
    lines = [
        "import torch",
        "",
        "import bnn_zoo as bz",
        "",
        "torch.manual_seed(0)",
        f"{'x, y' if network else 'data'} = {e.facts['rows']}  # put yours here",
        *([f"# small, for a quick look; the paper's is {whole}"] if e.tiny != whole else []),
        f"model = {(card.around or '{}').format(e.tiny)}",
        f"backend = {card.fit}",
        f"posterior = bz.fit(model, {'(x, y)' if network else 'data'}, backend, progress=False)",
        "print(posterior.predict(x).mean[:3])" if network else "print(posterior.summary())",
    ]
    return "\n".join(lines)


def figures(e: Entry, card: Card) -> Iterator[str]:
    yield "## Published, ours, why they differ\n"
    if card.figures:
        yield "| | published | ours |\n|---|---|---|"
        yield from (f"| {f.what} | {f.published} | {f.ours or 'not run'} |" for f in card.figures)
        yield ""
    if card.command:
        yield f"Ours are measured by `{card.command}`.\n"
    else:
        steps = "mean field" if "log-uniform" in e.facts["prior"] else "two backends"
        yield f"Nothing was run at size here. What was run is the code above, and ten steps of {steps} in the tests.\n"
    if card.why:
        yield card.why + "\n"


def bullets(title: str, lines: Iterator[str]) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield f"## {title}\n"
        yield from (f"- {line}" for line in lines)
        yield ""


def page(e: Entry) -> str:
    card, f = e.card, e.facts
    parts = [f"# {e.name}\n", f"{e.line[0].upper()}{e.line[1:]}. {e.source}.\n", WRITTEN + "\n"]
    parts += ["## Model\n", f"```text\n{card.formula.strip()}\n```\n", "| | |", "|---|---|"]
    parts += [
        f"| {name} | {f'{value:,}' if isinstance(value, int) else value} |"
        for name, value in f.items()
        if name not in {"x", "rows"}
    ]
    parts += ["", "## Fit it\n", f"```python\n{example(e, card)}\n```\n", card.paper + "\n"]
    parts += bullets("Facts, and where they stand", (f"{fact}: {where}." for fact, where in card.facts))
    parts += figures(e, card)
    bytes_a_draw = bytes_of(4 * f["weights"])
    measured = f"`bnn-zoo show {e.name} --data FILE` measures a gradient on your table." if takes_tables(e) else ""
    cost = [f"The weights of a draw take {bytes_a_draw} in float32.", card.cost, measured]
    parts += ["## Cost\n", " ".join(filter(None, cost)) + "\n"]
    parts += bullets("Traps", iter(card.traps))
    if card.unchecked:
        parts += ["## Not checked\n", card.unchecked + "\n"]
    parts += ["## Citation\n", card.citation]
    return "\n".join(parts) + "\n"


def index() -> str:
    entries = of("published").values()
    rows = "\n".join(f"| [{e.name}]({e.name}.md) | {e.line} | {e.facts['weights']:,} | {e.source} |" for e in entries)
    return "\n".join(
        [
            "# Cards of published models\n",
            "What each model of `bz.zoo` is, how to fit it, where its facts stand, which numbers were published and which "
            "were",
            "measured here, and what a reader of the paper would get wrong.\n",
            WRITTEN + "\n",
            "| | | weights | from |\n|---|---|--:|---|",
            rows + "\n",
            "```{toctree}\n:hidden:\n",
            *(e.name for e in entries),
            "```\n",
        ]
    )
