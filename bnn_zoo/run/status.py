"""Where a run stands, as text for a terminal of 80 columns: from its folder alone, also while it is written."""

from __future__ import annotations

import time
from math import prod
from os import PathLike
from pathlib import Path
from textwrap import fill
from typing import Any

from ._lock import writer
from ._state import outline
from .checkpoint import Folder
from .keeper import RESULT, STORE
from .store import Store

WIDTH = 80
UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"))


def status(path: str | PathLike[str]) -> str:
    """Backend, where each part stands, what it has cost, who writes. Raises OSError and ValueError as ``Folder.open``."""
    folder = Folder.open(path)
    about, states = folder.about, _states(folder.path)
    chains, draws = about["settings"].get("chains", 1), _room(folder.path)
    size = sum(prod(shape) for shape in about["model"]["sites"].values())
    result = states.pop(RESULT, None)
    done = result is not None and result[1]["of"] == draws
    head = [
        f"{about['backend']}, {chains} chains of {draws:,} draws, seed {about['seed']}, on {about['device']}",
        f"model: {len(about['model']['sites'])} sites, {size:,} numbers of {about['model']['dtype']}",
        f"state: {'finished' if done else 'not finished'}; {_writes(folder.path)}",
    ]
    lines = [fill(line, WIDTH, subsequent_indent="  ") for line in head]
    lines += [_part(number, file, tree) for number, (file, tree) in sorted(states.items())] or ["nothing saved yet"]
    runs = [tree["run"] for _, tree in states.values()]
    gradients = sum(sum(run["gradients"].values()) for run in runs)
    seconds = max((sum(run["seconds"].values()) for run in runs), default=0.0)
    return "\n".join([*lines, f"so far: {gradients:,} gradients, {_time(seconds)}"])


def _states(path: Path) -> dict[int, tuple[Path, Any]]:
    """By part, the file of its newest state that can be read, and what it says beside tensors."""
    found: dict[int, tuple[Path, Any]] = {}
    for file in sorted(path.glob("state-*.safetensors")):
        tree = outline(file)
        if tree is not None:
            found[int(file.name.split("-")[1])] = file, tree
    return found


def _part(number: int, file: Path, tree: Any) -> str:
    run, (first, last) = tree["run"], tree["chains"]
    total = sum(run["phases"].values())
    phase, end = "", 0
    for name, steps in run["phases"].items():
        phase, end = name, end + steps
        if run["step"] < end:
            break
    draws = tree["sink"].get("count", 0) if "room" not in tree["sink"] else 0
    said = f"chains {first} to {last - 1}" if last - first > 1 else f"chain {first}"
    ago = max(time.time() - file.stat().st_mtime, 0.0)
    text = f"{said}: step {run['step']:,} of {total:,} ({phase}), {draws:,} draws kept, saved {_time(ago)} ago"
    return fill(text, WIDTH, subsequent_indent="  ")


def _room(path: Path) -> int:
    try:
        return Store.open(path / STORE).draws
    except FileNotFoundError:  # killed, or looked at, in its first moment
        return 0


def _writes(path: Path) -> str:
    holder = writer(path)
    return f"process {holder} writes now" if holder else "nobody writes now"


def _time(seconds: float) -> str:
    """``1.5 h``."""
    for unit, name in UNITS:
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.2g} s"
