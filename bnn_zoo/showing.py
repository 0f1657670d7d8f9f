"""The catalogue as text for a terminal of 80 columns: all of it in short, or one member with what there is to know."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import groupby
from textwrap import fill
from typing import Any

import torch

from .bnn import BNN
from .catalogue import KINDS, Entry, of
from .density import LogJoint

WIDTH = 80
NAME = 29
CHAINS = 4
MANY_ROWS = 10_000
"""Rows from which a gradient over all of them is dear: minibatch backends are named first."""


def overview(kinds: tuple[str, ...] = tuple(KINDS)) -> str:
    """All members of these kinds: name, what it is, source."""
    return "\n\n".join("\n".join([fill(KINDS[kind][1], WIDTH), *map(_short, of(kind).values())]) for kind in kinds)


def _short(e: Entry) -> str:
    text = e.line + (f" ({e.source})" if e.year else "")
    return fill(text, WIDTH, initial_indent=f"  {e.name:{NAME - 3}s} ", subsequent_indent=" " * NAME)


def member(e: Entry) -> str:
    """One member: what it is, its settings with their defaults, its own documentation, an example."""
    return "\n\n".join(_sections(e))


def _sections(e: Entry) -> Iterator[str]:
    yield fill(f"{e.qualified}, {e.kind}: {e.line}", WIDTH) + (f"\n{e.source}" if e.year else "")
    if e.kind == "backend":
        rows = "all rows at each step" if e.facts["rows"] == "all" else "minibatches or all rows"
        exact = "yes, up to Monte Carlo error" if e.facts["exact"] == "yes" else f"no: {e.facts['exact']}"
        yield f"family  {e.facts['family']}\nrows    {rows}\nexact   {exact}"
    if e.kind == "published":
        yield "\n".join(_fact(name, e.facts[name]) for name in e.facts if name not in {"x", "rows"})
        yield "Traps\n" + "\n".join(_trap(t) for t in e.card.traps)
    if settings := list(_settings(e)):
        yield "Settings\n" + "\n".join(settings)
    yield _reflowed(inspect.getdoc(e.constructor) or "")
    if e.tiny:
        yield "Example\n" + fill(e.tiny, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _reflowed(docstring: str) -> str:
    """Lines of one indentation belong together; code is not marked in a terminal."""
    parts = []
    for space, lines in groupby(
        docstring.replace("``", "").splitlines(), key=lambda s: len(s) - len(s.lstrip()) if s else -1
    ):
        margin = " " * (space + 2)
        text = " ".join(line.strip() for line in lines)
        parts.append(fill(text, WIDTH, initial_indent=margin, subsequent_indent=margin) if space >= 0 else "")
    return "\n".join(parts)


def _fact(name: str, value: Any) -> str:
    shown = f"{value:,}" if isinstance(value, int) else str(value)
    return fill(shown, WIDTH, initial_indent=f"{name:14s} ", subsequent_indent=" " * 15)


def _trap(text: str) -> str:
    return fill(text.replace("`", ""), WIDTH, initial_indent="  - ", subsequent_indent="    ")


def _settings(e: Entry) -> Iterator[str]:
    """Each setting with its default. Rules and starts are functions that the library calls: they have none."""
    constructor, signature = e.constructor, inspect.signature(e.constructor)
    if e.kind in {"scale", "start"} and inspect.isfunction(constructor):
        return
    parameters = list(signature.parameters.values())
    if is_dataclass(constructor):
        parameters = [p for p in parameters if p.name in {f.name for f in fields(constructor) if f.init}]
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        default = "needed" if p.default is p.empty else getattr(p.default, "__name__", repr(p.default))
        if "factory" in default:
            default = "made anew"
        yield fill(default, WIDTH, initial_indent=f"  {p.name:{NAME - 3}s} ", subsequent_indent=" " * NAME)


def on_data(model: BNN, data: tuple[torch.Tensor, ...]) -> str:
    """What ``model`` costs on these rows: weights, memory of a draw, a gradient as it is measured here, what suits it."""
    log_joint = LogJoint(model, data)
    rows, bytes_a_draw = len(data[0]), log_joint.dim * torch.empty((), dtype=log_joint.dtype).element_size()
    position = 0.1 * torch.randn(CHAINS, log_joint.dim, generator=torch.Generator().manual_seed(0)).to(log_joint.dtype)
    log_joint(position)
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        log_joint(position)
        seconds.append(time.perf_counter() - begin)
        if sum(seconds) > 2.0:
            break
    cost = sorted(seconds)[len(seconds) // 2]
    return "\n".join(
        [
            f"{model}",
            f"rows           {rows:,}",
            f"dimensions     {log_joint.dim:,} (weights and unknown scales, on the real line)",
            f"a draw         {_bytes(bytes_a_draw)}; 4 chains of 1,000 draws {_bytes(4_000 * bytes_a_draw)}",
            f"a gradient     {cost * 1e3:.2f} ms for {CHAINS} chains, all rows, not compiled",
            fill(_suited(rows, log_joint.dim), WIDTH, initial_indent="suited         ", subsequent_indent=" " * 15),
        ]
    )


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def _suited(rows: int, dim: int) -> str:
    """Which backends suit so many rows and dimensions, and why."""
    if rows > MANY_ROWS:
        return "minibatches, for there are many rows: SGHMC or SGLD to sample; DeepEnsemble, SWAG and MeanField beside them"
    if dim > 100_000:
        return "MCLMC, which moves far for a gradient; SGHMC, DeepEnsemble and SWAG where a gradient over all rows is dear"
    return "NUTS, exact; MCLMC, more effective draws a second; MeanField in seconds, with error bars that can be off"
