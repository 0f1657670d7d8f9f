"""Bayesian compression of LeNet-300-100 and LeNet-5-Caffe on MNIST by every method, measured on disk.

``python tests/benchmarks/compression.py --out FOLDER --nets lenet300 --methods svd --seeds 0 [--csv FILE]``. Each network is
first trained as MAP under N(0, 1) (``pretrained``), from there by the method on all 60,000 digits, then compressed, written
to a file and read again; errors are those of the network that was read, on the 10,000 test digits. Runs are kept in FOLDER:
the script may be stopped and started again.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnn_zoo as bz
from bnn_zoo.schedules import cosine

SHARED = Path(os.environ.get("BNN_ZOO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
NETS = {"lenet300": "LeNet-300-100", "lenet5": "LeNet-5-Caffe"}
BATCH, ROWS = 128, 60_000


def digits(train: bool) -> tuple[Tensor, Tensor]:
    images = bz.data.mnist_like(SHARED / "MNIST", train=train)
    return images.x, images.y


def net_of(net: str) -> nn.Sequential:
    return bz.nets.LeNet300100() if net == "lenet300" else bz.nets.LeNet5Caffe()


def steps(epochs: float) -> int:
    return int(epochs * ROWS / BATCH)


def pretrained(net: str, seed: int, out: Path, epochs: float) -> nn.Sequential:
    """The trained network that all methods begin at."""
    torch.manual_seed(seed)
    made = net_of(net)
    model = bz.BNN(made, bz.priors.Normal(1.0), bz.likelihoods.Categorical())
    fast = partial(torch.optim.Adam, fused=True)
    backend = bz.MAP(steps=steps(epochs), batch_size=BATCH, init=bz.density.FromNet(made), optimiser=fast)
    posterior = fit(model, backend, seed, out / f"{net}-map-{seed}")
    return filled(made, posterior)


def filled(net: nn.Sequential, posterior: bz.Posterior) -> nn.Sequential:
    """The network with the posterior's last draw."""
    sites = posterior.draws.sites
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.as_tensor(sites[name][0, -1]))
    return net


def fit(model: Any, backend: Any, seed: int, folder: Path) -> bz.Posterior:
    if (folder / "done").exists():
        return bz.Posterior.load(folder, model, digits(True))
    start = time.perf_counter()
    posterior = bz.fit(model, digits(True), backend, seed=seed, checkpoint=folder, progress=False)
    (folder / "done").write_text(f"{time.perf_counter() - start:.0f}")
    return posterior


def error(net: nn.Module) -> float:
    """Test error in percent."""
    x, y = digits(False)
    with torch.no_grad():
        wrong = sum(int((net(a).argmax(1) != b).sum()) for a, b in zip(x.split(1000), y.split(1000), strict=True))
    return 100.0 * wrong / len(y)


def variational(net: str, made: nn.Sequential, prior: Any, epochs: float, guide: Any, rate: float) -> tuple[Any, Any]:
    backend = bz.MeanField(
        steps=steps(epochs),
        draws=100,
        batch_size=BATCH,
        learning_rate=cosine(rate),
        init=bz.density.FromNet(made),
        guide=guide,
        handler=bz.handlers.LocalReparameterization,
    )
    return bz.BNN(net_of(net), prior, bz.likelihoods.Categorical()), backend


def methods(net: str, made: nn.Sequential, method: str, epochs: float, rate: float) -> tuple[Any, Any]:
    """Model and backend."""
    zoo = bz.zoo
    flat = net == "lenet300"
    if method == "svd":
        prior = (zoo.molchanov_lenet300100 if flat else zoo.molchanov_lenet5)().prior
        return variational(net, made, prior, epochs, partial(bz.guides.MeanFieldNormal, init_scale=0.01), rate)
    if method in ("gnj", "ghs"):
        scale = bz.priors.LogUniform() if method == "gnj" else bz.priors.HalfCauchy(bz.priors.HalfCauchy(1e-5))
        prior = (zoo.louizos_lenet300100 if flat else zoo.louizos_lenet5)(scale).prior
        return variational(net, made, prior, epochs, partial(bz.guides.ScaledNormal, init_scale=0.1), rate)
    raise ValueError(method)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--methods", nargs="+", default=["svd"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=float, default=30)
    parser.add_argument("--first-epochs", type=float, default=10)
    parser.add_argument("--rate", type=float, default=1e-3)
    args = parser.parse_args()
    for net in args.nets:
        for seed in args.seeds:
            for method in args.methods:
                made = pretrained(net, seed, args.out, args.first_epochs)
                print(net, "pretrained", error(made), flush=True)
                model, backend = methods(net, made, method, args.epochs, args.rate)
                start = time.perf_counter()
                posterior = fit(model, backend, seed, args.out / f"{net}-{method}-{seed}")
                print(net, method, time.perf_counter() - start, posterior.draws.attrs["traced"], flush=True)


if __name__ == "__main__":
    main()
