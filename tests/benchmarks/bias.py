"""Bias against step size of the samplers without an accept step, MCLMC and SGLD, where the posterior is known.

``python tests/benchmarks/bias.py [--chains 32] [--out docs/results]``. Bayesian linear regression: a 20-1 linear network,
N(0, 1) weights, noise 0.5 known, 100 rows whose inputs have standard deviations from 0.1 to 1; float64. For each step size
and each of 50 inputs: the error of the mean of f, in posterior standard deviations, and the relative error of its standard
deviation; root mean squares over inputs, beside the same of NUTS, which is exact: the Monte Carlo error. SGLD takes all
rows, so what is seen is its discretisation.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bnn_zoo as bz

ROWS, WIDTH, NOISE = 100, 20, 0.5
MCLMC_STEPS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0)
SGLD_STEPS = (1e-4, 3e-4, 1e-3, 2e-3, 4e-3)
COLUMNS = ("sampler", "step size", "energy variance", "mean error", "sd error", "max R-hat")


def model() -> bz.BNN:
    return bz.BNN(torch.nn.Linear(WIDTH, 1), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(NOISE))


def some(count: int, seed: int) -> torch.Tensor:
    """Inputs ``[count, 20]`` with standard deviations from 0.1 to 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=generator, dtype=torch.float64) * torch.linspace(0.1, 1.0, WIDTH).double()


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    x = some(ROWS, 0)
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(WIDTH, generator=generator, dtype=torch.float64)
    return x, x @ truth + NOISE * torch.randn(ROWS, generator=generator, dtype=torch.float64)


INPUTS = some(50, 2)


def exact() -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior mean and standard deviation of f at the inputs: (I + XᵀX/σ²)⁻¹ and so on, with a column of ones."""
    (x, y), one = rows(), torch.ones(1, dtype=torch.float64)
    x, inputs = (torch.cat([a, one.expand(len(a), 1)], 1) for a in (x, INPUTS))
    covariance = torch.linalg.inv(torch.eye(WIDTH + 1, dtype=torch.float64) + x.T @ x / NOISE**2)
    return inputs @ covariance @ x.T @ y / NOISE**2, (inputs @ covariance * inputs).sum(1).sqrt()


def run(backend: Any, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """f at the inputs ``[chain, draw, input]`` and the statistics."""
    posterior = bz.fit(model(), rows(), backend, seed=seed, progress=False)
    f = posterior.predict(INPUTS).f
    return f.reshape(*f.shape[:2], -1), posterior.draws.stats


def errors(f: torch.Tensor) -> tuple[float, float]:
    """Root mean square over inputs: error of the mean in sds, relative error of the sd."""
    mean, sd = exact()
    of_mean, of_sd = (f.mean((0, 1)) - mean) / sd, f.flatten(0, 1).std(0) / sd - 1
    return float(of_mean.square().mean().sqrt()), float(of_sd.square().mean().sqrt())


def measure(chains: int, draws: int) -> list[dict[str, Any]]:
    nuts = bz.NUTS(chains=chains, warmup=500, draws=draws)
    mclmc = bz.MCLMC(chains=chains, warmup=3000, draws=draws, thinning=20)
    sgld = bz.SGLD(chains=chains, steps=60 * draws + 10_000, warmup=10_000, thinning=60)
    contestants = [("NUTS", nuts, None)]
    contestants += [("MCLMC", replace(mclmc, step_size=step), step) for step in MCLMC_STEPS]
    contestants += [("MCLMC, tuned", mclmc, None)]
    contestants += [("SGLD", replace(sgld, step_size=step), step) for step in SGLD_STEPS]
    table = []
    for i, (name, backend, step) in enumerate(contestants):
        f, stats = run(backend, seed=1 + i)
        used = step if step is not None else float(stats["step_size"].mean())
        variance = float(stats["energy_error"].square().mean() / (WIDTH + 1)) if name.startswith("MCLMC") else np.nan
        row = (name, used, variance, *errors(f), float(bz.diagnostics.rhat(f.numpy()).max()))
        table.append(dict(zip(COLUMNS, row, strict=True)))
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{v:14s}" for k, v in table[-1].items()), flush=True)
    return table


def plot(table: list[dict[str, Any]], path: Path) -> None:
    """Both errors against the step size, one panel for each sampler; grey: the error that NUTS itself makes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    floor = next(row for row in table if row["sampler"] == "NUTS")
    fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    for ax, name in zip(axes, ("MCLMC", "SGLD"), strict=True):
        mine = [row for row in table if row["sampler"] == name]
        for which, colour in (("mean error", "C0"), ("sd error", "C1")):
            ax.loglog([r["step size"] for r in mine], [r[which] for r in mine], "o-", color=colour, label=which)
            ax.axhline(floor[which], color=colour, alpha=0.4, linestyle=":", label=f"{which} of NUTS")
        ax.set_xlabel("step size")
        ax.set_title(name)
        ax.grid(alpha=0.3)
    tuned = next(row for row in table if row["sampler"] == "MCLMC, tuned")
    axes[0].axvline(tuned["step size"], color="0.5", linestyle="--", label="as tuned by default")
    axes[0].set_ylabel("error, in posterior sds of f")
    axes[0].legend(fontsize=8)
    fig.tight_layout()
    fig.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=32)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "docs" / "results")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    table = measure(args.chains, args.draws)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "bias.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)
    plot(table, args.out / "bias.png")


if __name__ == "__main__":
    main()
