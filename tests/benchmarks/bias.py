"""Bias against step size of the samplers without an accept step, MCLMC and SGLD, on a small Bayesian network.

``python tests/benchmarks/bias.py [--chains 64] [--out docs/results]``. 1-8-1 tanh network on 40 rows with unknown noise,
float64. The truth is a long run of NUTS. For each step size and each of 21 inputs: the error of the mean of f, in posterior
standard deviations, and the relative error of its standard deviation; root mean squares over inputs, beside the same of a
second run of NUTS, the Monte Carlo error of the comparison. SGLD takes all rows, so what is seen is its discretisation.
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

ROWS = 40
INPUTS = torch.linspace(-2.0, 2.0, 21, dtype=torch.float64).unsqueeze(-1)
MCLMC_STEPS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
SGLD_STEPS = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3)
COLUMNS = ("sampler", "step size", "energy variance", "mean error", "sd error", "mean error of noise", "max R-hat")


def model() -> bz.BNN:
    net = bz.nets.MLP(1, 1, hidden=(8,))
    return bz.BNN(net, bz.priors.Normal(1.0), bz.likelihoods.Gaussian(bz.priors.HalfNormal(0.5)))


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """y = sin 2x + noise of sd 0.3, on 40 inputs between −2 and 2."""
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(ROWS, 1, generator=generator, dtype=torch.float64) - 2
    return x, torch.sin(2 * x.squeeze(-1)) + 0.3 * torch.randn(ROWS, generator=generator, dtype=torch.float64)


def run(backend: Any, seed: int) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """f at the inputs ``[chain, draw, input]``, the noise ``[chain, draw]`` and the statistics."""
    posterior = bz.fit(model(), rows(), backend, seed=seed, progress=False)
    f = posterior.predict(INPUTS).f
    return f.reshape(*f.shape[:2], -1), posterior.draws.sites["noise"], posterior.draws.stats


def errors(f: torch.Tensor, noise: torch.Tensor, true: torch.Tensor, true_noise: torch.Tensor) -> tuple[float, float, float]:
    """Root mean square over inputs: error of the mean in sds, relative error of the sd; then the noise's mean, in sds."""
    mean, sd = true.mean((0, 1)), true.flatten(0, 1).std(0)
    of_mean = (f.mean((0, 1)) - mean) / sd
    of_sd = f.flatten(0, 1).std(0) / sd - 1
    of_noise = (noise.mean() - true_noise.mean()) / true_noise.std()
    return float(of_mean.square().mean().sqrt()), float(of_sd.square().mean().sqrt()), float(of_noise.abs())


def measure(chains: int, draws: int) -> list[dict[str, Any]]:
    nuts = bz.NUTS(chains=chains, warmup=300, draws=draws, warmup_tree_depth=6, max_tree_depth=7, compile=True)
    mclmc = bz.MCLMC(chains=chains, warmup=4000, draws=draws, thinning=20, compile=True)
    sgld = bz.SGLD(chains=chains, steps=60 * draws + 20_000, warmup=20_000, thinning=60, compile=True)
    contestants = [("NUTS, again", nuts, None)]
    contestants += [("MCLMC", replace(mclmc, step_size=step), step) for step in MCLMC_STEPS]
    contestants += [("MCLMC, tuned", mclmc, None)]
    contestants += [("SGLD", replace(sgld, step_size=step), step) for step in SGLD_STEPS]
    true, true_noise, _ = run(nuts, seed=1)
    print(f"NUTS, the truth: max R-hat {float(bz.diagnostics.rhat(true.numpy()).max()):.4f}", flush=True)
    table = []
    for i, (name, backend, step) in enumerate(contestants):
        f, noise, stats = run(backend, seed=2 + i)
        used = step if step is not None else float(stats["step_size"].mean())
        variance = float(stats["energy_error"].var() / (1 * 8 + 8 + 8 + 1 + 1)) if name.startswith("MCLMC") else np.nan
        row = (name, used, variance, *errors(f, noise, true, true_noise), float(bz.diagnostics.rhat(f.numpy()).max()))
        table.append(dict(zip(COLUMNS, row, strict=True)))
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{v:14s}" for k, v in table[-1].items()), flush=True)
    return table


def plot(table: list[dict[str, Any]], path: Path) -> None:
    """Both errors against the step size, one panel for each sampler; grey: the error that NUTS itself makes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    floor = next(row for row in table if row["sampler"] == "NUTS, again")
    fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    for ax, name in zip(axes, ("MCLMC", "SGLD"), strict=True):
        mine = [row for row in table if row["sampler"] == name]
        for which, colour in (("mean error", "C0"), ("sd error", "C1")):
            ax.loglog([r["step size"] for r in mine], [r[which] for r in mine], "o-", color=colour, label=which)
            ax.axhline(floor[which], color=colour, alpha=0.4, linestyle=":", label=f"{which} of a second NUTS run")
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
    parser.add_argument("--chains", type=int, default=64)
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
