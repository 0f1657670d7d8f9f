"""Simulation-based calibration of the samplers on a small Bayesian network. Talts et al. 2018, arXiv:1804.06788.

``python tests/benchmarks/sbc.py [--replicates 512] [--out docs/results]``. For each replicate weights, noise and data are
drawn from the model; the rank of a true quantity among posterior draws is then uniform if the sampler is exact. All
replicates run at once, one a chain: the log joint takes each chain's own data. Ranks of the noise, of the network at two
inputs and of the log joint are tested for uniformity by χ² with 16 bins, and plotted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2

import bnn_zoo as bz
from bnn_zoo._random import OneStream
from bnn_zoo.run import Recorder, Run

ROWS, DRAWS, BINS = 20, 127, 16
QUANTITIES = ("noise", "f(-1)", "f(0.5)", "log joint")
SAMPLERS: dict[str, Any] = {
    "NUTS": bz.NUTS(warmup=400, draws=DRAWS, thinning=4, mass_matrix=bz.DiagonalMass(pooled=False), max_tree_depth=6),
    "HMC": bz.HMC(warmup=400, draws=DRAWS, thinning=8, mass_matrix=bz.DiagonalMass(pooled=False), max_leapfrogs=32),
    "AdjustedMCLMC": bz.AdjustedMCLMC(
        warmup=400, draws=DRAWS, thinning=8, mass_matrix=bz.DiagonalMass(pooled=False), max_steps=32
    ),
    "MCLMC": bz.MCLMC(warmup=3000, draws=DRAWS, thinning=60),
}


def model() -> bz.BNN:
    """2-4-1 tanh network with unknown noise, 17 + 1 parameters."""
    net = bz.nets.MLP(2, 1, hidden=(4,))
    return bz.BNN(net, bz.priors.Normal(1.0), bz.likelihoods.Gaussian(bz.priors.HalfNormal(0.5)))


class Replicates:
    """The log joint of many data sets, chain i given its own."""

    def __init__(self, log_joint: bz.LogJoint, rows: tuple[torch.Tensor, ...]) -> None:
        self.log_joint, self.rows = log_joint, rows
        self.dim, self.device = log_joint.dim, log_joint.device

    def __call__(self, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.log_joint(position, *self.rows)


def ranks(backend: Any, replicates: int, seed: int = 0) -> np.ndarray:
    """Ranks 0 … DRAWS of the true quantities among the draws: ``[replicate, quantity]``."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, 2, generator=generator).double()
    single = bz.LogJoint(model(), (x, torch.zeros(ROWS).double()))
    truth = bz.density.from_prior(single, replicates, generator)
    sites = single.constrain(truth)
    noise = torch.randn(replicates, ROWS, generator=generator, dtype=torch.float64)
    y = network(sites, x) + sites["noise"][:, None] * noise
    rows = (x.expand(replicates, *x.shape), y)
    log_joint = bz.LogJoint(model(), (x, y[0]), rows_per_chain=True)
    target = Replicates(log_joint, rows)
    start = truth + 0.1 * torch.randn(truth.shape, generator=generator).double()
    program, random = backend.program(target.dim, replicates), OneStream(generator, like=start)
    run = Run(program, target, random, Recorder(DRAWS), target.device)
    run.begin(start)
    for _ in range(sum(program.phases.values())):
        run.advance()
    positions, stats = run.sink.result()
    drawn = quantities(single, positions, stats["lp"])
    true = quantities(single, truth[:, None], target(truth)[0][:, None])
    return (drawn < true).sum(1).numpy()


def network(sites: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The network of ``model`` at x ``[n, 2]`` for weights ``[…]``: ``[…, n]``."""
    h = torch.tanh(x @ sites["0.weight"].mT + sites["0.bias"].unsqueeze(-2))
    return (h @ sites["2.weight"].mT + sites["2.bias"].unsqueeze(-2)).squeeze(-1)


def quantities(log_joint: bz.LogJoint, positions: torch.Tensor, lp: torch.Tensor) -> torch.Tensor:
    """``[replicate, draw, quantity]``."""
    sites = log_joint.constrain(positions)
    f = network(sites, torch.tensor([[-1.0, -1.0], [0.5, 0.5]]).double())
    return torch.cat([sites["noise"].unsqueeze(-1), f, lp.unsqueeze(-1)], -1)


def p_values(r: np.ndarray) -> dict[str, float]:
    """p value of the χ² test of uniform ranks, for each quantity."""
    out = {}
    for name, column in zip(QUANTITIES, r.T, strict=True):
        seen = np.histogram(column, BINS, range=(0, DRAWS + 1))[0]
        expected = len(column) / BINS
        out[name] = float(chi2.sf(((seen - expected) ** 2 / expected).sum(), BINS - 1))
    return out


def plot(all_ranks: dict[str, np.ndarray], path: Path) -> None:
    """Histograms of ranks, a row for each sampler, with the band that holds 99 % of the bars of uniform ranks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from scipy.stats import binom

    fig, axes = plt.subplots(len(all_ranks), len(QUANTITIES), figsize=(11, 2.2 * len(all_ranks)), squeeze=False)
    for row, (name, r) in zip(axes, all_ranks.items(), strict=True):
        low, high = binom.ppf([0.005, 0.995], len(r), 1 / BINS)
        for ax, quantity, column, p in zip(row, QUANTITIES, r.T, p_values(r).values(), strict=True):
            ax.axhspan(low, high, color="0.85")
            ax.hist(column, BINS, range=(0, DRAWS + 1), color="C0", rwidth=0.9)
            ax.set_title(f"{name}: {quantity}, p = {p:.2g}", fontsize=9)
            ax.set_yticks([])
    fig.supxlabel("rank of the true value among the draws")
    fig.tight_layout()
    fig.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=512)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "docs" / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in args.samplers:
        found[name] = ranks(SAMPLERS[name], args.replicates)
        print(f"{name:14s}", {k: round(p, 4) for k, p in p_values(found[name]).items()}, flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    plot(found, args.out / "sbc.png")
    np.savez_compressed(args.out / "sbc.npz", **found)


if __name__ == "__main__":
    main()
