"""Compression from MCMC draws beside that from mean field: a 784-50-10 ReLU network on MNIST under one prior.

``python tests/benchmarks/compression_mcmc.py --out FOLDER [--csv FILE]``. SGHMC (one chain, constant step, 100 draws of the
last half) and mean field with local reparameterisation (100 draws of q), both from the same trained network, prior
N(0, 4/fan-in). Runs are kept in FOLDER. Printed: which weights both drop at each threshold of signal to noise, and for each
compressed network or ensemble the size on disk and, on the 10,000 test digits, error, NLL and ECE.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _contest import append
from compression import BATCH, ROWS, digits, filled, fit, steps
from mnist import Wider
from torch import nn

import bnn_zoo as bz
from bnn_zoo.schedules import cosine

THRESHOLDS = (0.1, 0.22, 0.5, 1.0)
MEMBERS = (1, 2, 5, 10, 20, 50)


def model(net: nn.Module) -> bz.BNN:
    return bz.BNN(net, bz.priors.Normal(Wider(2.0)), bz.likelihoods.Categorical())


def new_net() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))


def backends(made: nn.Module, epochs: float) -> dict[str, Any]:
    common = {"steps": steps(epochs), "batch_size": BATCH, "init": bz.density.FromNet(made)}
    return {
        "SGHMC": bz.SGHMC(
            chains=1,
            **common,
            warmup=steps(epochs) // 2,
            thinning=steps(epochs) // 200,
            step_size=2 * 0.01 / ROWS,
            friction=0.1,
        ),
        "mean field": bz.MeanField(
            **common,
            draws=100,
            learning_rate=cosine(1e-3),
            guide=partial(bz.guides.MeanFieldNormal, init_scale=0.02),
            handler=bz.handlers.LocalReparameterization,
        ),
    }


def scores(predictor: Any) -> dict[str, str]:
    x, y = digits(False)
    probs, log_probs = [], []
    for a, b in zip(x.split(2_000), y.split(2_000), strict=True):
        prediction = predictor.predict(a)
        probs.append(prediction.mean)
        log_probs.append(prediction.log_prob(b))
    p = torch.cat(probs)
    ece = bz.metrics.ece(p.numpy(), y.numpy())
    return {
        "error": f"{100 * float((p.argmax(-1) != y).double().mean()):.2f}",
        "nll": f"{-float(torch.cat(log_probs).mean()):.4f}",
        "ece": f"{100 * float(ece):.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--epochs", type=float, default=40)
    args = parser.parse_args()
    torch.manual_seed(0)
    made = new_net()
    fast = partial(torch.optim.Adam, fused=True)
    first = bz.MAP(steps=steps(10), batch_size=BATCH, init=bz.density.FromNet(made), optimiser=fast)
    filled(made, fit(model(made), first, 0, args.out / "mcmc-map", digits(True)))
    found = {
        n: fit(model(new_net()), b, 0, args.out / f"mcmc-{n}", digits(True)) for n, b in backends(made, args.epochs).items()
    }
    ratios = {n: bz.compression.moments(p).signal_to_noise() for n, p in found.items()}
    for threshold in THRESHOLDS:
        gone = [torch.cat([r[k].flatten() < threshold for k in ("1.weight", "3.weight")]) for r in ratios.values()]
        both, either = (gone[0] & gone[1]).sum(), (gone[0] | gone[1]).sum()
        shares = ", ".join(f"{n} {100 * float(g.double().mean()):.1f} %" for n, g in zip(found, gone, strict=True))
        print(f"below {threshold}: {shares}; both over either {float(both / either):.2f}", flush=True)
    for name, posterior in found.items():
        note(args, {"method": name, "what": "all 100 draws", "members": 100, "bytes": "", **scores(posterior)})
        for threshold in THRESHOLDS:
            small = bz.compress(posterior, prune=bz.compression.SignalToNoise(threshold))
            about = {"what": f"mean, ratio {threshold}", "members": 1, "bytes": small.report.bytes}
            note(args, {"method": name, **about, **scores(small)})
        for count in MEMBERS:
            few = posterior.compact(count)
            note(args, {"method": name, "what": "compact", "members": count, "bytes": "", **scores(few)})
            even = posterior.select(draws=torch.linspace(0, 99, count).round().long().tolist())
            note(args, {"method": name, "what": "evenly spaced", "members": count, "bytes": "", **scores(even)})
            small = bz.compress(posterior, prune=bz.compression.SignalToNoise(0.22), members=count)
            about = {"what": "compressed ensemble, ratio 0.22", "members": count, "bytes": small.report.bytes}
            note(args, {"method": name, **about, **scores(small)})


def note(args: argparse.Namespace, row: dict[str, Any]) -> None:
    print(row, flush=True)
    append(args.csv, list(row), row)


if __name__ == "__main__":
    main()
