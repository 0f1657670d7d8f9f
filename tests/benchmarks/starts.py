"""Where chains should start: candidates compared over nineteen posteriors, by what a short run makes of them.

``python tests/benchmarks/starts.py`` runs what ``docs/results/starts.csv`` lacks and may be stopped at any moment;
``--summary`` prints the table of ``docs/samplers.md`` from it. Each row: four chains from one candidate, 40 + 10 transitions
of HMC of at most 8 leapfrogs. A chain has arrived if the mean of its log joint over those 10 draws is no more than four
standard deviations below that of the best candidate's typical chain on that posterior (the median over its chains).

Data are found through ``BNN_ZOO_DATA``: ``fbm/``, ``posteriordb/`` and ``uci/``.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import SHARED, uci
from torch import Tensor

import bnn_zoo as bz
from bnn_zoo.density import starts

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import fbm
from posteriordb.models import POSTERIORS
from posteriordb.reference import load

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = (
    "posterior",
    "start",
    "seed",
    "chain",
    "first_lp",
    "lp",
    "sd",
    "diverging",
    "start_gradients",
    "gradients",
    "spread",
    "late_spread",
)
CHAINS, SEEDS = 4, (0, 1)
P = bz.priors

CANDIDATES: dict[str, Callable[..., Tensor]] = {
    "prior": starts.from_prior,
    "support": starts.from_support,
    "best of 10": starts.BestOf(steps=0),
    "best of 10, Adam": starts.BestOf(),
}
PRIORS: dict[str, Any] = {
    "Laplace": P.Laplace(1.0),
    "StudentT": P.StudentT(1.0),
    "Horseshoe": P.Horseshoe(),
    "HalfCauchy scale": P.Normal(P.HalfCauchy(1.0)),
}


def posteriors() -> Iterator[tuple[str, Callable[..., None], tuple[Tensor, ...]]]:
    """``(name, model, data)`` of each."""
    root = Path(os.environ.get("BNN_ZOO_DATA", SHARED))
    for name, case in fbm.CASES.items():
        yield name, case.model, fbm.load(root, case)[0]
    for name, posterior in POSTERIORS.items():
        yield name, posterior.model, posterior.data(load(root, name)[0], torch.float64)
    for name in ("boston", "yacht"):
        table = uci(name)
        net = bz.nets.MLP(table.x.shape[1], 1, hidden=(50,))
        yield f"uci-{name}", bz.BNN(net, P.Normal(P.fan_in), bz.likelihoods.Gaussian()), (table.x, table.y)
    table = uci("energy")
    for name, prior in PRIORS.items():
        model = bz.BNN(bz.nets.MLP(table.x.shape[1], 1, hidden=(10,)), prior, bz.likelihoods.Gaussian())
        yield f"prior-{name}", model, (table.x[:100], table.y[:100])


class Noted:
    """A start that remembers where it began, and what that cost."""

    def __init__(self, start: Callable[..., Tensor]) -> None:
        self.start, self.position, self.gradients = start, torch.zeros(0), 0

    def __call__(self, log_joint: Any, chains: int, generator: torch.Generator) -> Tensor:
        self.log_joint, before = log_joint, log_joint.evaluations
        self.position = self.start(log_joint, chains, generator)
        self.gradients = (log_joint.evaluations - before) // chains
        self.lp = log_joint.value(self.position)
        return self.position


def run(name: str, model: Any, data: tuple[Tensor, ...], candidate: str, seed: int) -> list[dict[str, Any]]:
    start = Noted(CANDIDATES[candidate])
    backend = bz.HMC(chains=CHAINS, warmup=40, draws=10, max_leapfrogs=8, init=start, processes=1)
    try:
        draws = backend.run(model, data, seed=seed, progress=False)
    except ValueError as error:
        print(name, candidate, seed, error)
        return [dict.fromkeys(COLUMNS, "") | {"posterior": name, "start": candidate, "seed": seed}]
    lp = draws.stats["lp"].double()
    spread = float(start.position.double().std(0).log().mean().exp())
    late = start.log_joint.unconstrain({k: v.double() for k, v in draws.sites.items()}).double()
    late_spread = float((late - late.mean(1, keepdim=True)).std((0, 1)).log().mean().exp())
    return [
        {
            "posterior": name,
            "start": candidate,
            "seed": seed,
            "chain": c,
            "first_lp": f"{float(start.lp[c]):.5g}",
            "lp": f"{float(lp[c].mean()):.6g}",
            "sd": f"{float(lp[c].std()):.3g}",
            "diverging": int(draws.stats["diverging"][c].sum()),
            "start_gradients": start.gradients,
            "gradients": draws.attrs["gradients"],
            "spread": f"{spread:.3g}",
            "late_spread": f"{late_spread:.3g}",
        }
        for c in range(CHAINS)
    ]


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def arrived(rows: list[dict[str, str]]) -> dict[tuple[str, str], tuple[int, int, float, float]]:
    """``{(posterior, candidate): (chains that arrived, chains, median distance of the first point in nats, gradients)}``."""
    out = {}
    for name in dict.fromkeys(r["posterior"] for r in rows):
        here = [r for r in rows if r["posterior"] == name and r["lp"]]
        groups = {c: [r for r in here if r["start"] == c] for c in dict.fromkeys(r["start"] for r in here)}
        level, sd = max(
            (np.median([float(r["lp"]) for r in g]), np.median([float(r["sd"]) for r in g])) for g in groups.values()
        )
        for candidate, group in groups.items():
            there = sum(float(r["lp"]) >= level - 4 * sd for r in group)
            first = float(np.median([level - float(r["first_lp"]) for r in group]))
            total = len([r for r in rows if r["posterior"] == name and r["start"] == candidate])
            out[name, candidate] = there, total, first, float(np.median([float(r["start_gradients"]) for r in group]))
    return out


def summary(rows: list[dict[str, str]]) -> str:
    found = arrived(rows)
    names = list(dict.fromkeys(n for n, _ in found))
    candidates = list(dict.fromkeys(c for _, c in found))
    lines = ["| chains that arrived | " + " | ".join(candidates) + " |", "|---|" + "--:|" * len(candidates)]
    for n in names:
        cells = [f"{found[n, c][0]}/{found[n, c][1]} ({found[n, c][2]:.3g})" if (n, c) in found else "–" for c in candidates]
        lines.append(f"| {n} | " + " | ".join(cells) + " |")
    total = [sum(found[n, c][0] for n in names if (n, c) in found) for c in candidates]
    every = [sum(found[n, c][1] for n in names if (n, c) in found) for c in candidates]
    lines.append("| all | " + " | ".join(f"{a}/{b}" for a, b in zip(total, every, strict=True)) + " |")
    cost = [np.median([found[n, c][3] for n in names if (n, c) in found]) for c in candidates]
    lines.append("| gradients a chain | " + " | ".join(f"{c:.0f}" for c in cost) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "starts.csv")
    parser.add_argument("--only", nargs="*", default=None, help="candidates to run")
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    if args.summary:
        print(summary(read(args.out)))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = {(r["posterior"], r["start"], int(r["seed"])) for r in read(args.out)}
    new = not args.out.exists()
    with args.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        for seed in SEEDS:
            for name, model, data in posteriors():
                for candidate in args.only or CANDIDATES:
                    if (name, candidate, seed) not in done:
                        begin = time.perf_counter()
                        writer.writerows(run(name, model, data, candidate, seed))
                        file.flush()
                        print(f"{name}, {candidate}, seed {seed}: {time.perf_counter() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()
