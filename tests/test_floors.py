"""Imports go down only, siblings do not know each other, and a few libraries stay behind their fences."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bnn_zoo"
FLOOR = {
    "types": 0,
    "_names": 1,
    "_scope": 0,
    "_tree": 0,
    "_interrupt": 0,
    "_torch": 0,
    "native": 0,
    "_random": 0,
    "_ranks": 0,
    "_memory": 0,
    "laws": 0,
    "catalogue": 0,
    "diagnostics": 0,
}
FLOOR |= dict.fromkeys(["nets", "priors", "likelihoods", "data", "kernels", "schedules", "bijections"], 1)
FLOOR |= dict.fromkeys(["bnn", "density", "guides", "handlers", "metrics", "run"], 2)
FLOOR |= dict.fromkeys(["backends", "predict", "export", "plots"], 3)
FLOOR |= dict.fromkeys(["compression", "fit", "kept_runs", "posterior", "prior_draws", "verdict", "zoo"], 4)
FLOOR |= dict.fromkeys(["__main__"], 6)
FLOOR |= dict.fromkeys(
    ["comparison", "comparison_pictures", "comparison_report", "estimators", "report", "showing", "cli"], 5
)
ALLOWED = {
    ("fit", "posterior"),
    ("posterior", "fit"),
    ("cli", "comparison"),
    ("comparison", "comparison_pictures"),
    ("comparison_pictures", "comparison"),
    ("comparison", "comparison_report"),
    ("comparison_report", "comparison"),
    ("comparison_report", "report"),
    ("cli", "comparison_report"),
    ("cli", "showing"),
}  # the two halves of one room
ALLOWED |= {("kept_runs", "fit"), ("kept_runs", "posterior"), ("posterior", "kept_runs")}
ALLOWED |= {("fit", "verdict"), ("verdict", "posterior")}  # and what the one says of the other
ALLOWED |= {("_ranks", "_tree")}  # trees are what ranks send each other
ALLOWED |= {("laws", "_torch"), ("_random", "_torch"), ("native", "_torch")}  # which has names of torch that are not public
NO_PYRO = {"nets", "run", "data", "kernels", "metrics", "diagnostics", "plots", "types", "report"}
FORBIDDEN = {
    "backends": {"bnn", "nets", "priors", "likelihoods"},
    "zoo": {"backends", "predict", "export", "plots"},
    "report": {
        "backends",
        "kernels",
        "density",
        "run",
        "fit",
        "posterior",
        "bnn",
        "predict",
        "plots",
    },  # numbers and files alone
}
ONLY = {"arviz": {"export", "plots"}, "matplotlib": {"plots"}}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative.parts != ("__init__.py",):
            yield pytest.param(path, relative.parts[0].removesuffix(".py"), id=str(relative))


def imported(path: Path):
    """Every imported module by its absolute dotted name."""
    package = ["bnn_zoo", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path, room", list(modules()))
def test_imports_go_down(path, room):
    assert room in FLOOR, f"{room} has no floor: add it to the table here and in docs/architecture.md"
    names = set(imported(path))
    ours = {n.split(".")[1] for n in names if n.startswith("bnn_zoo.")} & FLOOR.keys() - {room}
    for other in ours:
        assert FLOOR[other] < FLOOR[room] or (room, other) in ALLOWED, f"{room} must not import {other}"
        assert other not in FORBIDDEN.get(room, ()), f"{room} must not import {other}"
    tops = {n.split(".")[0] for n in names}
    assert not (room in NO_PYRO and "pyro" in tops), f"no Pyro in {room}"
    for library, rooms in ONLY.items():
        assert library not in tops or room in rooms, f"{library} belongs to {rooms}, not {room}"
