"""Gradients until the second moments are known to a tenth of a standard deviation, as sampler-benchmarks counts them.

``python tests/benchmarks/referee.py [--targets rosenbrock …] [--samplers MCLMC …] [--seeds 16] [--out docs/results]``;
``--oracle`` counts independent draws from the laws themselves, which is the least that a sampler can need.

What the referee does, from the public repository reubenharry/sampler-benchmarks (read in November 2026):

targets
    ``sampler-evaluation/sampler_evaluation/models``: ``rosenbrock.py`` (18 independent pairs, ``x ~ N(1, 1)``,
    ``y ~ N(x², 0.1)``, 0.1 the variance), ``gaussian_mams_paper.py`` (variances from κ^(−1/2) to κ^(1/2), evenly spaced in the
    logarithm, along the axes: not rotated), ``neals_funnel_mams_paper.py`` (``θ ~ N(0, 3²)``, ``z ~ N(0, exp(θ))``, judged in
    the coordinates θ / 3 and z exp(−θ / 2)). Its funnel has 20 dimensions, here it has 101. Starts are N(0, 1) in each
    coordinate (``samplers/general.py``); those here are our default starts.
error
    ``evaluation/ess.py``: b² = (mean of x² over the chain's draws so far − E x²)² / Var x², of which ``general.py`` takes
    the mean and the maximum over coordinates, and then the median over chains (128 or 512 of them) after each draw.
count
    ``samples_to_low_error``: the draws after which that median is below 0.01 for good (infinite where it ends above), times
    the gradients of a draw, on average over chains and draws. Warm-up does not count: it is listed beside. A step of
    MCLMC is a draw, so nothing is thinned.
tuning
    each sampler by its own adaptation, once for each chain. Here: the defaults of the backend, four chains at a time.

Its published figures are 91,341 to 100,842 gradients for adjusted MCLMC on Rosenbrock (maximum; the tables of
``MAMS_PAPER_2025/table1`` and ``results``), of which ours is held against 94,707. 978 and 19,058 for MCLMC on the Gaussians
of condition 100 and 10⁵ are in no table that could be read. They are not the maximum over coordinates, for which the
referee's own MCLMC needs 1,942 to 2,038 at any condition with its preconditioner, and independent draws need about 790.
They are what MCLMC without a preconditioner needs for the mean over coordinates: ``--plain`` measures it.
"""

from __future__ import annotations

import argparse
import csv
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import bnn_zoo as bz
from bnn_zoo._random import Use, generator
from bnn_zoo.density import LogJoint
from bnn_zoo.handlers import NonCentred

LOW = 0.01
PUBLISHED = {
    ("rosenbrock", "AdjustedMCLMC", "max"): 94_707,
    ("gaussian 1e2", "MCLMC", "mean"): 978,
    ("gaussian 1e5", "MCLMC", "mean"): 19_058,
}
COLUMNS = ("target", "sampler", "chains", "over", "gradients", "published", "ratio", "final", "each", "warm-up")


@dataclass(frozen=True)
class Target:
    """A Pyro model without data; of its sites, side by side, the coordinates ``judged`` whose second moments are known."""

    model: Callable[[], None]
    judged: Callable[[Mapping[str, Tensor]], Tensor]
    second: Tensor
    variance: Tensor
    exact: Callable[[int, torch.Generator], Tensor]


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def rosenbrock(pairs: int = 18, q: float = 0.1) -> Target:
    """E x⁴ = 10 and E x⁸ = 764 of N(1, 1) give E y² = 10 + q and E y⁴ = 764 + 60 q + 3 q²."""

    def model() -> None:
        x = pyro.sample("x", dist.Normal(zeros(pairs) + 1.0, 1.0).to_event(1))
        pyro.sample("y", dist.Normal(x.square(), q**0.5).to_event(1))

    def exact(count: int, random: torch.Generator) -> Tensor:
        x, y = torch.randn(2, count, pairs, generator=random, dtype=torch.float64)
        return torch.cat([x + 1.0, (x + 1.0).square() + q**0.5 * y], -1)

    y2, y4 = 10.0 + q, 764.0 + 60.0 * q + 3.0 * q * q
    second = torch.cat([zeros(pairs) + 2.0, zeros(pairs) + y2])
    variance = torch.cat([zeros(pairs) + 6.0, zeros(pairs) + y4 - y2**2])
    return Target(model, lambda sites: torch.cat([sites["x"], sites["y"]], -1), second, variance, exact)


def gaussian(condition: float, dim: int = 100) -> Target:
    half = 0.5 * math.log10(condition)
    variances = torch.logspace(-half, half, dim, dtype=torch.float64)

    def model() -> None:
        pyro.sample("x", dist.Normal(zeros(dim), variances.sqrt()).to_event(1))

    def exact(count: int, random: torch.Generator) -> Tensor:
        return torch.randn(count, dim, generator=random, dtype=torch.float64) * variances.sqrt()

    return Target(model, lambda sites: sites["x"], variances, 2 * variances.square(), exact)


def funnel_model(dim: int = 101) -> None:
    theta = pyro.sample("theta", dist.Normal(zeros(), 3.0))
    pyro.sample("z", dist.Normal(zeros(dim - 1), (theta / 2).exp().unsqueeze(-1)).to_event(1))


def funnel(dim: int = 101, centred: bool = True) -> Target:
    def judged(sites: Mapping[str, Tensor]) -> Tensor:
        theta = sites["theta"].unsqueeze(-1)
        z = sites["z"] * (-theta / 2).exp() if "z" in sites else sites["z_decentered"]
        return torch.cat([theta / 3.0, z], -1)

    def exact(count: int, random: torch.Generator) -> Tensor:
        return torch.randn(count, dim, generator=random, dtype=torch.float64)

    def model() -> None:
        funnel_model(dim)

    return Target(model if centred else NonCentred(model, "z"), judged, zeros(dim) + 1.0, zeros(dim) + 2.0, exact)


TARGETS: dict[str, Callable[[], Target]] = {
    "gaussian 1e2": lambda: gaussian(1e2),
    "gaussian 1e5": lambda: gaussian(1e5),
    "rosenbrock": rosenbrock,
    "funnel": funnel,
    "funnel, non-centred": lambda: funnel(centred=False),
}
DRAWS = {
    "MCLMC": {"gaussian 1e2": 3_000, "gaussian 1e5": 3_000, "rosenbrock": 150_000, "funnel": 60_000},
    "AdjustedMCLMC": {"rosenbrock": 12_000, "funnel": 6_000},
    "NUTS": {"rosenbrock": 10_000, "funnel": 6_000},
}
"""Draws of a chain, where 2,000 do not do: about twice as many as are needed."""


@dataclass
class Moments:
    """A sink that keeps of the draws the error of their second moments so far: mean and maximum over coordinates."""

    log_joint: LogJoint
    target: Target
    room: int
    total: Any = 0.0
    count: int = 0
    errors: list[Tensor] = field(default_factory=list)
    gradients: float = 0.0

    def add(self, position: Tensor, stats: Mapping[str, Tensor]) -> None:
        x = self.target.judged(self.log_joint.constrain(position.unsqueeze(1))).squeeze(1).double()
        self.total, self.count = self.total + x.square(), self.count + 1
        b2 = (self.total / self.count - self.target.second).square() / self.target.variance
        self.errors.append(torch.stack([b2.mean(-1), b2.amax(-1)]))
        self.gradients += float(stats["n_steps"].double().mean()) if "n_steps" in stats else 0.0

    @property
    def result(self) -> Tensor:
        """``[2, chain, draw]``."""
        return torch.stack(self.errors, -1)


def crossing(errors: Tensor, low: float = LOW) -> float:
    """Draws after which the median over chains of ``errors [chain, draw]`` is below ``low`` for good."""
    median = errors.median(0).values
    above = (median > low).nonzero()
    if not len(above):
        return 1.0
    return math.inf if median[-1] > low else float(above.max()) + 2.0


def run(target: Target, backend: Any, seed: int) -> tuple[Tensor, float, float]:
    """Errors ``[2, chain, draw]``; gradients of a draw and of the warm-up, for each chain."""
    log_joint = LogJoint(target.model, ())
    sink = Moments(log_joint, target, backend.draws)
    going = backend._ready(log_joint, sink, seed, range(backend.chains))
    going.begin(backend.init(log_joint, backend.chains, generator("cpu", seed, Use.STARTS, 0)))
    going.lap("warm-up")
    going.go(label="", progress=False)
    each = sink.gradients / sink.count or going.gradients["draws"] / sink.count / backend.chains
    return sink.result, each, going.gradients["warm-up"] / backend.chains


def measure(name: str, target: Target, backend: Any, seeds: int) -> list[dict[str, Any]]:
    """Rows of the table: mean and maximum over coordinates."""
    runs = [run(target, backend, seed) for seed in range(seeds)]
    errors = torch.cat([errors for errors, _, _ in runs], 1)
    each, warmup = (sum(r[i] for r in runs) / seeds for i in (1, 2))
    sampler, rows = type(backend).__name__, []
    for over, b2 in zip(("mean", "max"), errors, strict=True):
        gradients, published = crossing(b2) * each, PUBLISHED.get((name, sampler, over))
        final = float(b2[:, -1].median().sqrt())
        row = (name, sampler, b2.shape[0], over, gradients, published, published and gradients / published, final, each, warmup)
        rows.append(dict(zip(COLUMNS, row, strict=True)))
        print(
            f"{name:20s} {sampler:14s} {over:5s} {gradients:12,.0f}" + (f" of {published:,}" if published else ""),
            f"  RMSE at the end {final:.3f}, {each:.1f} gradients a draw, {warmup:,.0f} in warm-up",
            flush=True,
        )
    return rows


def oracle(name: str, target: Target, chains: int = 128, draws: int = 2_000) -> list[dict[str, Any]]:
    """The same for independent draws, one "gradient" each."""
    random, rows = torch.Generator().manual_seed(0), []
    total, errors = torch.zeros(chains, len(target.second), dtype=torch.float64), []
    for count in range(1, draws + 1):
        total += target.exact(chains, random).square()
        b2 = (total / count - target.second).square() / target.variance
        errors.append(torch.stack([b2.mean(-1), b2.amax(-1)]))
    for over, b2 in zip(("mean", "max"), torch.stack(errors, -1), strict=True):
        row = (name, "independent draws", chains, over, crossing(b2), None, None, float(b2[:, -1].median().sqrt()), 1.0, 0.0)
        rows.append(dict(zip(COLUMNS, row, strict=True)))
        print(f"{name:20s} independent draws, {over}: {crossing(b2):,.0f}", flush=True)
    return rows


def backends() -> dict[str, Any]:
    """Default settings; of a sampler that thins by default every draw is taken. Chains of MCLMC do not know each other, so
    that all may go at once."""
    return {"MCLMC": bz.MCLMC(thinning=1), "AdjustedMCLMC": bz.AdjustedMCLMC(), "NUTS": bz.NUTS()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--samplers", nargs="*", default=list(backends()), choices=list(backends()))
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--oracle", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = []
    for name in args.targets:
        target = TARGETS[name]()
        if args.oracle:
            table += oracle(name, target)
            continue
        for sampler in args.samplers:
            backend = backends()[sampler]
            backend = replace(backend, draws=DRAWS.get(sampler, {}).get(name, 2_000))
            together = args.seeds if not backend.pooled else 1
            table += measure(name, target, replace(backend, chains=backend.chains * together), args.seeds // together)
    if args.out:
        with open(args.out / "referee.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(table)


if __name__ == "__main__":
    main()
