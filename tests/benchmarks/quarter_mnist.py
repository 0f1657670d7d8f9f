"""Over-fitting on a quarter of MNIST: LeNet-5, dropout switched off at test time, and MC dropout, along training.

``python tests/benchmarks/quarter_mnist.py [--epochs 200] [--out FOLDER]`` writes ``quarter_mnist.csv`` and its plot;
``--plot`` only draws what is there. After Gal & Ghahramani 2015, "Bayesian convolutional neural networks with Bernoulli
approximate variational inference": 15,000 digits, half of the inputs of every layer but the first dropped, constant
learning rate (of Adam), prior N(0, 1). Training goes from point to point of the plot by warm starts, so the averages of
Adam begin anew at each of them, for all curves alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from mnist import BATCH, images
from torch import Tensor

import bnn_zoo as bz

ROWS, RATE, DRAWS = 15_000, 0.5, 20
DROPPED = ("3.weight", "7.weight", "9.weight", "11.weight")
EPOCHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500)
BACKENDS = {
    "standard": bz.MAP(batch_size=BATCH, step_size=1e-3),
    "dropout": bz.MCDropout(batch_size=BATCH, learning_rate=1e-3, rate=RATE, sites=DROPPED, draws=DRAWS),
}


def along(backend: Any, data: tuple[Tensor, Tensor], last: int) -> Iterator[tuple[int, bz.Posterior, torch.nn.Module]]:
    """After each of ``EPOCHS``: the posterior, and the network of its weights before any is dropped."""
    torch.manual_seed(0)
    net, done = bz.nets.LeNet5(), 0
    model = bz.BNN(bz.nets.LeNet5(), bz.priors.Normal(1.0), bz.likelihoods.Categorical())
    for epoch in (e for e in EPOCHS if e <= last):
        steps = (epoch - done) * (ROWS // BATCH)
        now = replace(backend, steps=steps, init=bz.density.FromNet(net))
        posterior = bz.fit(model, data, now, seed=epoch, progress=False)
        net.load_state_dict({name: undropped(name, draws[0]) for name, draws in posterior.draws.sites.items()})
        done = epoch
        yield epoch, posterior, net


def undropped(name: str, draws: Tensor) -> Tensor:
    """M, of draws ``[draw, …]`` that are M, or 0 and M / (1 − rate)."""
    if name not in DROPPED or len(draws) == 1:
        return draws[0]
    return draws.sum(0) / (draws != 0).sum(0).clamp(min=1) * (1 - RATE)


def judge(probs: Tensor, labels: Tensor) -> dict[str, float]:
    probs = probs.double() / probs.double().sum(-1, keepdim=True)
    return {"error %": 100 * (1 - bz.metrics.accuracy(probs, labels)), "NLL": bz.metrics.nll_probs(probs, labels)}


def curves(last: int) -> pd.DataFrame:
    (x, y), (digits, labels) = images("MNIST", "train"), images("MNIST", "t10k")
    data = x[:ROWS], y[:ROWS]
    rows = []
    for kind, backend in BACKENDS.items():
        for epoch, posterior, net in along(backend, data, last):
            with torch.no_grad():
                off = net(digits).softmax(-1)
            scores = {"standard LeNet" if kind == "standard" else "dropout, off at test time": judge(off, labels)}
            if kind == "dropout":
                scores["MC dropout"] = judge(posterior.predict(digits).f[0].double().mean(0), labels)
            rows += [{"method": name, "epoch": epoch, **score} for name, score in scores.items()]
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> plt.Figure:
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for ax, column in zip(axes, ("error %", "NLL"), strict=True):
        for name, part in table.groupby("method", sort=False):
            ax.plot(part["epoch"], part[column], "o-", ms=3, label=name)
        ax.set(xscale="log", yscale="log", xlabel="epochs", ylabel=f"{column} on the test images")
        ax.grid(alpha=0.3, which="both")
    axes[0].legend(frameon=False)
    fig.suptitle("LeNet-5 on 15,000 digits")
    return fig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--plot", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = args.out / "quarter_mnist.csv"
    if not args.plot:
        curves(args.epochs).to_csv(file, index=False, float_format="%.5g")
    plot(pd.read_csv(file)).savefig(args.out / "quarter_mnist.png", dpi=120)


if __name__ == "__main__":
    main()
