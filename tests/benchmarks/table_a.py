"""A published protocol on MNIST: 784-1200-1200-10 ReLU, prior N(0, 0.1²), batches of 128, probabilities of draws averaged.

``python tests/benchmarks/table_a.py [--epochs 200] [--methods pSGLD]``. Draws: 90, evenly over the last nine tenths of
training. Published with 200 epochs: pSGLD 1.76 % and a summed test log likelihood of -661.3; SGLD 1.76 % and -828.3;
MAP 1.58 % and -572.9. Fewer epochs are to be named beside the figures. Step sizes were set once and not tuned: the learning
rates of the mean loss are those of ``mnist.py``.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from mnist import BATCH, ROWS, images

import bnn_zoo as bz
from bnn_zoo.schedules import cosine

PUBLISHED = {"pSGLD": (1.76, -661.3), "SGLD": (1.76, -828.3), "MAP": (1.58, -572.9)}


def methods(epochs: int) -> dict[str, Any]:
    steps = epochs * (ROWS // BATCH)
    net = bz.density.FromNet(wide)
    walk = {"chains": 1, "steps": steps, "batch_size": BATCH, "init": net, "warmup": steps // 10}
    walk["thinning"] = (steps - steps // 10) // 90
    return {
        "pSGLD": bz.PSGLD(**walk, step_size=cosine(2 * 1e-3 / ROWS, end=2 * 1e-4 / ROWS)),
        "SGLD": bz.SGLD(**walk, step_size=cosine(2 * 0.1 / ROWS, end=2 * 0.01 / ROWS)),
        "MAP": bz.MAP(steps=steps, batch_size=BATCH, init=net),
    }


def wide() -> torch.nn.Module:
    return bz.nets.MLP(784, 10, hidden=(1200, 1200), activation=torch.nn.ReLU)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--methods", nargs="+", choices=list(PUBLISHED), default=["pSGLD"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    (x, y), (digits, labels) = images("MNIST", "train"), images("MNIST", "t10k")
    model = bz.BNN(wide(), bz.priors.Normal(0.1), bz.likelihoods.Categorical())
    for name in args.methods:
        begin = time.process_time()
        posterior = bz.fit(model, (x.flatten(1), y), methods(args.epochs)[name], progress=False)
        seconds = time.process_time() - begin
        draws = posterior.predict(digits.flatten(1)).f.flatten(0, 1)
        mean = draws.double().mean(0)
        mean = mean / mean.sum(-1, keepdim=True)
        error, total = 100 * (1 - bz.metrics.accuracy(mean, labels)), -len(labels) * bz.metrics.nll_probs(mean, labels)
        at = PUBLISHED[name]
        print(
            f"{name}, {args.epochs} epochs, {len(draws)} draws, {seconds:.0f} CPU s: error {error:.2f} % "
            f"(published {at[0]}), LL {total:.1f} ({at[1]}), ECE {bz.metrics.ece(mean, labels):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
