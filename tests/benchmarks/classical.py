"""Small posteriors of classical statistics by our NUTS and NumPyro's as they come: ``python tests/benchmarks/classical.py``.

Ten posteriors of posteriordb (eight schools among them) and a regression of 434 rows on four uncentred, correlated columns.
Four chains, 1,000 + 1,000 transitions, no other setting; float32, the default of both. Ours: ``bz.fit`` with ``bz.NUTS``.
NumPyro's chain methods are all tried in the first round; for each model and state of the caches the fastest counts, and
later rounds run no other. Progress bars are off.

Every run is a fresh process. ``seconds`` begin when libraries are imported and data read, and end when all draws are numpy
arrays: tracing, compilation, warm-up and sampling. Cold: the compilers' caches (inductor's; JAX's persistent one) are empty.
Warm: the same run once more on the caches that the cold one left. In a round all contestants run cold, then all warm, in an
order that turns round from round to round.

ESS: the smallest bulk ESS of the reference's parameters, by ``bnn_zoo.diagnostics``. ``worst_z``: the difference of a mean
from the reference, in standard errors of both, where it is largest. Beyond 4 the draws are WRONG; R-hat above 1.01 or an sd
off by more than 10 % stands beside the row as well. Before all runs both models' log densities are compared at three points.

The peers' interpreter is ``--peers`` or BNN_ZOO_PEERS, with numpyro. ``--csv`` appends rows to a file, so that models may
be run one by one; ``--summary FILE`` prints the ratios of such a file and runs nothing.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _contest import HERE, PEERS, Absent, append, last_json, launch, need, peers_python
from _our_classical import MODELS, problem, write_arguments
from posteriordb.reference import LOG_SD, RHAT, STANDARD_ERRORS, check

from bnn_zoo.diagnostics import ess_bulk

OURS = "bnn_zoo"
METHODS = ("sequential", "parallel", "vectorized")
CACHES = ("cold", "warm")
CHAINS = 4
SHOWN = {
    "seconds": ".2f",
    "cpu": ".2f",
    "gradients": ",.0f",
    "ess_min": ".0f",
    "ess_min_per_s": ".1f",
    "worst_z": ".1f",
    "worst_log_sd": ".3f",
    "rhat_max": ".4f",
}
SETTINGS = ("dtype", "warmup", "draws")
COLUMNS = ["model", "round", "cache", "contestant", *SETTINGS, *SHOWN, "verdict", "note"]
WALL, SLOWEST, RATE = 1.5, 4.0, 1.5
"""Targets: the median ratio of seconds at most, each of them at most, the median ratio of ESS a second at least."""


def run(contestant: str, name: str, data: Path, out: Path, caches: Path, seed: int, args: argparse.Namespace) -> None:
    options = ("--warmup", args.warmup, "--draws", args.draws, "--seed", seed, "--dtype", args.dtype)
    if contestant == OURS:
        launch(sys.executable, HERE / "_our_classical.py", name, data, out, *options, caches=caches)
        return
    method = contestant.removeprefix("numpyro ")
    devices = CHAINS if method == "parallel" else 1
    script, more = PEERS / "numpyro_classical.py", ("--chain-method", method)
    launch(peers_python(args.peers), script, "sample", name, data, out, *more, *options, devices=devices, caches=caches)


def judge(path: Path, name: str, reference: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The file of a contestant as a row: both are measured by the same functions against the same reference."""
    with np.load(path) as file:
        made = {key: file[key] for key in file.files}
    sites = {key: torch.tensor(made.pop(key)).double() for key in list(made) if key.startswith("site_")}
    parameters = MODELS[name].parameters({key.removeprefix("site_"): value for key, value in sites.items()})
    shape = next(iter(parameters.values())).shape
    if shape[0] != CHAINS:
        raise RuntimeError(f"expected {CHAINS} chains, got draws of shape {tuple(shape)}")
    rows = check(parameters, reference)
    worst = max(rows, key=lambda row: abs(row["z"]) if np.isfinite(row["z"]) else np.inf)
    ess = float(torch.stack([ess_bulk(x) for x in parameters.values()]).min())
    row = {key: value.item() for key, value in made.items()} | {
        "ess_min": ess,
        "ess_min_per_s": ess / float(made["seconds"]),
        "worst_z": worst["z"],
        "worst_log_sd": max((row["log_sd"] for row in rows), key=lambda v: v if np.isfinite(v) else np.inf),
        "rhat_max": max((row["rhat"] for row in rows), key=lambda v: v if np.isfinite(v) else np.inf),
    }
    found = {
        f"WRONG {worst['parameter']}": abs(row["worst_z"]) <= STANDARD_ERRORS,
        "sd off": row["worst_log_sd"] <= LOG_SD,
        "not converged": row["rhat_max"] <= RHAT,
    }
    return row | {"verdict": "; ".join(said for said, good in found.items() if not good)}


def contest(name: str, data: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds on one model; a row is printed and written when it is there."""
    reference, rows = problem(name)[1], []
    print(f"\n{name}, {len(reference)} parameters\n{'':31s}" + "".join(f"{column:>14s}" for column in SHOWN))
    contestants = [OURS, *(f"numpyro {method}" for method in args.chain_methods)]
    for turn in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.npz"
            for cache in CACHES:
                for contestant in contestants if turn % 2 == 0 else contestants[::-1]:
                    caches = Path(folder) / contestant.replace(" ", "_")
                    run(contestant, name, data, out, caches, args.seed + turn, args)
                    about = {"model": name, "round": turn, "cache": cache, "contestant": contestant}
                    rows.append(about | {s: getattr(args, s) for s in SETTINGS} | judge(out, name, reference))
                    out.unlink()
                    show(rows[-1])
                    append(args.csv, COLUMNS, rows[-1])
        contestants = [OURS, *dict.fromkeys(fastest(rows, name, cache) for cache in CACHES)]
    return rows


def show(row: dict[str, Any]) -> None:
    cells = "".join(f"{format(row[column], style):>14s}" for column, style in SHOWN.items())
    verdict = f"  {row['verdict']}:" if row["verdict"] else ""
    print(f"{row['cache']:6s}{row['contestant']:25s}{cells}{verdict}  {row['note']}", flush=True)


def median(rows: Iterable[dict[str, Any]], column: str, **of: str) -> float:
    return float(np.median([row[column] for row in rows if all(row[k] == v for k, v in of.items())]))


def fastest(rows: list[dict[str, Any]], model: str, cache: str) -> str:
    """NumPyro's chain method with the least median seconds."""
    tried = {r["contestant"] for r in rows if r["model"] == model and r["cache"] == cache} - {OURS}
    return min(sorted(tried), key=lambda c: median(rows, "seconds", model=model, cache=cache, contestant=c))


def conclude(rows: list[dict[str, Any]]) -> None:
    """The ratios of medians over rounds, model by model, and whether they are what they should be."""
    for cache in CACHES:
        print(f"\n{cache} caches: medians over rounds")
        print(f"{'':44s}{'seconds':>18s}{'ratio':>8s}{'min ESS/s':>20s}{'ratio':>8s}   NumPyro's fastest")
        walls, rates = [], []
        for model in dict.fromkeys(row["model"] for row in rows):
            peer = fastest(rows, model, cache)
            of = [{"model": model, "cache": cache, "contestant": contestant} for contestant in (OURS, peer)]
            (mine, theirs), (fast, their_rate) = ([median(rows, c, **o) for o in of] for c in ("seconds", "ess_min_per_s"))
            walls.append(mine / theirs)
            rates.append(fast / their_rate)
            shown = f"{mine:9.2f}{theirs:9.2f}{walls[-1]:8.2f}{fast:10.1f}{their_rate:10.1f}{rates[-1]:8.2f}"
            print(f"{model:44s}{shown}   {peer.removeprefix('numpyro ')}")
        wall, slowest, rate = (float(f) for f in (np.median(walls), np.max(walls), np.median(rates)))
        for what, ratio, target, met in (
            ("median ratio of seconds", wall, f"at most {WALL}", wall <= WALL),
            ("largest ratio of seconds", slowest, f"at most {SLOWEST}", slowest <= SLOWEST),
            ("median ratio of min ESS/s", rate, f"at least {RATE}", rate >= RATE),
        ):
            print(f"{what} {ratio:.2f}: target {target} {'met' if met else 'MISSED'}")
    wrong = [row for row in rows if row["verdict"]]
    print(f"\n{len(wrong)} of {len(rows)} runs differ from the reference or have not converged")
    for row in wrong:
        print(f"  {row['model']}, {row['contestant']}, {row['cache']}, round {row['round']}: {row['verdict']}")


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; raises SystemExit where they were not all made with the same settings."""
    with path.open(newline="") as file:
        rows = [row | {column: float(row[column]) for column in SHOWN} for row in csv.DictReader(file)]
    settings = {tuple(row[s] for s in SETTINGS) for row in rows}
    if len(settings) != 1:
        raise SystemExit(f"{path.name}: expected rows of one setting of {SETTINGS}, got {sorted(settings)}")
    return rows


def compare_densities(folder: Path, python: str) -> None:
    """Raise RuntimeError unless NumPyro's log density is ours up to a constant at the points of every file in the folder."""
    found = last_json(launch(python, PEERS / "numpyro_classical.py", "densities", folder))
    for name, values in found["densities"].items():
        ours = np.load(folder / f"{name}.npz")["log_density"]
        if not np.allclose(ours - ours[0], np.array(values) - values[0], rtol=1e-9, atol=1e-9 * np.abs(ours).max()):
            raise RuntimeError(f"{name}: log densities differ by more than a constant: ours {ours}, NumPyro's {values}")
    print(f"{found['versions']}: log densities agree up to a constant at {len(ours)} points of each model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS, metavar="NAME", help=str(list(MODELS)))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=1_000)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--chain-methods", nargs="+", default=METHODS, choices=METHODS, help="NumPyro's; default all")
    parser.add_argument("--peers", help="interpreter with numpyro; default BNN_ZOO_PEERS, then this one")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--summary", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.summary:
        conclude(read(args.summary))
        return
    python = peers_python(args.peers)
    try:
        need(python, "numpyro")
    except Absent as absent:
        raise SystemExit(str(absent)) from None
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {args.dtype}, {args.warmup} + {args.draws} draws")
    with tempfile.TemporaryDirectory() as folder:
        data = {name: write_arguments(name, problem(name)[0], Path(folder) / f"{name}.npz") for name in args.models}
        compare_densities(Path(folder), python)
        conclude([row for name in args.models for row in contest(name, data[name], args)])


if __name__ == "__main__":
    main()
