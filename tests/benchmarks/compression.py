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
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from _compression_recipes import LEARNT, METHODS, PRETRAINED, PRUNE, Recipe, recipe
from _contest import append
from cifar import standardised
from torch import Tensor, nn

import bnn_zoo as bz
from bnn_zoo.schedules import cosine

SHARED = Path(os.environ.get("BNN_ZOO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
NETS = {"lenet300": "LeNet-300-100", "lenet5": "LeNet-5-Caffe", "vgg": "VGG-11-FRN"}
BATCH, ROWS = 128, 60_000


@cache
def images(net: str, train: bool) -> tuple[Tensor, Tensor]:
    """The 20,000 images of CIFAR-10 that are there for VGG, digits for the others."""
    if net != "vgg":
        return digits(train)
    x, y, x_test, y_test = standardised()
    return (x, y) if train else (x_test, y_test)


def digits(train: bool) -> tuple[Tensor, Tensor]:
    images = bz.data.mnist_like(SHARED / "MNIST", train=train)
    return images.x, images.y


def net_of(net: str) -> nn.Sequential:
    made = {"lenet300": bz.nets.LeNet300100, "lenet5": bz.nets.LeNet5Caffe, "vgg": partial(bz.nets.VGG, 11, width=16)}
    return made[net]()


def steps(epochs: float, rows: int = ROWS) -> int:
    return int(epochs * rows / BATCH)


def pretrained(net: str, seed: int, out: Path, epochs: float) -> nn.Sequential:
    """The trained network that all methods begin at."""
    torch.manual_seed(seed)
    made = net_of(net)
    model = map_model(made)
    fast = partial(torch.optim.Adam, fused=True)
    count = steps(epochs, len(images(net, True)[0]))
    backend = bz.MAP(steps=count, batch_size=BATCH, init=bz.density.FromNet(made), optimiser=fast)
    posterior = fit(model, backend, seed, out / f"{net}-map-{seed}", images(net, True))
    return filled(made, posterior)


def map_model(made: nn.Sequential) -> bz.BNN:
    return bz.BNN(made, bz.priors.Normal(1.0), bz.likelihoods.Categorical())


def filled(net: nn.Sequential, posterior: bz.Posterior) -> nn.Sequential:
    """The network with the posterior's last draw."""
    sites = posterior.draws.sites
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.as_tensor(sites[name][0, -1]))
    return net


def fit(model: Any, backend: Any, seed: int, folder: Path, rows: Any) -> bz.Posterior:
    if (folder / "done").exists():
        return bz.Posterior.load(folder, model, rows)
    start = time.perf_counter()
    posterior = bz.fit(model, rows, backend, seed=seed, checkpoint=folder, progress=False)
    (folder / "done").write_text(f"{time.perf_counter() - start:.0f}")
    return posterior


def error(net: nn.Module, rows: tuple[Tensor, Tensor]) -> float:
    """Error in percent."""
    x, y = rows
    with torch.no_grad():
        wrong = sum(int((net(a).argmax(1) != b).sum()) for a, b in zip(x.split(1000), y.split(1000), strict=True))
    return 100.0 * wrong / len(y)


def variational(
    net: str, made: nn.Sequential, prior: Any, epochs: float, guide: Any, rate: float, temperature: float = 1.0
) -> tuple[Any, Any]:
    backend = bz.MeanField(
        steps=steps(epochs, len(images(net, True)[0])),
        draws=100,
        batch_size=BATCH,
        learning_rate=cosine(rate),
        init=bz.density.FromNet(made),
        guide=guide,
        handler=bz.handlers.LocalReparameterization,
    )
    model = bz.BNN(net_of(net), prior, bz.likelihoods.Categorical())
    return (model if temperature == 1.0 else bz.handlers.Power(model, "y", power=1 / temperature)), backend


def again(net: str, method: str, posterior: bz.Posterior, epochs: float, rate: float, temperature: float) -> tuple[Any, Any]:
    """Model and backend of a second run: the smaller network that the first has left, from its means, which costs a part."""
    small = bz.compress(posterior, prune=PRUNE[method], code=bz.compression.FixedPoint(0.3)).net
    whole, _ = methods(net, net_of(net), method, epochs, rate)
    prior = whole.model.prior if isinstance(whole, bz.handlers.Power) else whole.prior
    _, backend = variational(net, small, prior, epochs, FAMILY[method], rate, temperature)
    model = bz.BNN(small, prior, bz.likelihoods.Categorical())
    return (model if temperature == 1.0 else bz.handlers.Power(model, "y", power=1 / temperature)), backend


FAMILY = {
    "svd": partial(bz.guides.MeanFieldNormal, init_scale=0.01),
    "gnj": partial(bz.guides.ScaledNormal, init_scale=0.1),
    "ghs": partial(bz.guides.ScaledNormal, init_scale=0.1),
}


def norms(net: nn.Sequential) -> list[str]:
    """Names of the weights of norms: log-uniform ones would let whole channels go by their scale alone."""
    return [n for n, p in net.named_parameters() if n.endswith("weight") and p.dim() == 1]


class Start:
    """Weights of a trained network, and a mixture whose means are spread over where they are."""

    def __init__(self, net: nn.Sequential, components: int) -> None:
        self.net, self.components = net, components

    def __repr__(self) -> str:
        return f"Start({self.components})"

    def __call__(self, log_joint: Any, chains: int, generator: torch.Generator) -> Tensor:
        values = {n: p.detach() for n, p in self.net.named_parameters()}
        values["net_location"] = torch.linspace(-0.6, 0.6, self.components)
        values["net_scale"] = torch.full((self.components,), 0.02)
        values["net_zero_scale"] = torch.full((1,), 0.02)
        values["net_share"] = torch.full((self.components,), 1.0 / self.components)
        return log_joint.unconstrain(
            {site.name: values[site.name][None].expand(chains, *site.shape) for site in log_joint.sites}
        )


def methods(
    net: str, made: nn.Sequential, method: str, epochs: float, rate: float, temperature: float = 1.0
) -> tuple[Any, Any]:
    """Model and backend of the first run."""
    zoo, flat = bz.zoo, net == "lenet300"
    if method == "sws":
        model = (zoo.ullrich_lenet300100 if flat else zoo.ullrich_lenet5)(components=LEARNT + 1)
        backend = bz.MAP(
            steps=steps(epochs),
            batch_size=BATCH,
            step_size=cosine(rate),
            init=Start(made, LEARNT),
            optimiser=partial(torch.optim.Adam, fused=True),
        )
        return bz.handlers.Power(model, "y", power=1 / temperature), backend
    if net == "vgg":
        prior = bz.priors.PerSite(
            {
                "*.bias": bz.priors.Normal(1.0),
                "*.threshold": bz.priors.Normal(1.0),
                **dict.fromkeys(norms(made), bz.priors.Normal(1.0)),
                "*": bz.priors.LogUniform(),
            }
        )
        return variational(net, made, prior, epochs, FAMILY["svd"], rate, temperature)
    if method == "svd":
        prior = (zoo.molchanov_lenet300100 if flat else zoo.molchanov_lenet5)().prior
        return variational(net, made, prior, epochs, FAMILY["svd"], rate, temperature)
    scale = bz.priors.LogUniform() if method == "gnj" else bz.priors.HalfCauchy(bz.priors.HalfCauchy(1e-5))
    prior = (zoo.louizos_lenet300100 if flat else zoo.louizos_lenet5)(scale).prior
    return variational(net, made, prior, epochs, FAMILY[method], rate, temperature)


def row(
    net: str, method: str, how: Recipe, seed: int, made: nn.Sequential, posterior: bz.Posterior, minutes: float, folder: Path
) -> dict[str, Any]:
    """The line of the table; the error after is that of the network that was read from the file."""
    prune, code = how.rules
    small = bz.compress(posterior, prune=prune, code=code)
    path = folder / f"{net}-{method}-{seed}.bnz"
    size = small.save(path)
    back, report = bz.compression.load(path).net, small.report
    factor = (
        sum(p.numel() for p in made.parameters()) / small.parts.original
    )  # of what a first run has left, if there was one
    x, _ = images(net, False)
    with torch.no_grad():
        assert torch.equal(back(x[:1000]), small.net(x[:1000])), "the file holds another network"
    return {
        "network": NETS[net],
        "method": method,
        "seed": seed,
        "error_before": f"{error(made, images(net, False)):.2f}",
        "error_after": f"{error(back, images(net, False)):.2f}",
        "nonzero": f"{100 * report.nonzero / factor:.2f}",
        "architecture": report.architecture,
        "bits": " ".join(str(b) for n, b in report.bits.items() if n.endswith("weight")),
        "rate_pruning": f"{factor * report.rate_pruning:.0f}",
        "rate_fast": f"{factor * report.rate_fast:.0f}",
        "rate_max": f"{factor * report.rate_max:.0f}",
        "bytes": size,
        "minutes": f"{minutes:.1f}",
    }


def made_by(net: str, method: str, how: Recipe, seed: int, out: Path) -> dict[str, Any]:
    """All runs of a row, and the row."""
    start, rows = pretrained(net, seed, out, PRETRAINED[net]), images(net, True)
    if method == "magnitude":
        posterior = bz.Posterior.load(out / f"{net}-map-{seed}", map_model(start), rows)
        return row(net, method, how, seed, start, posterior, 0.0, out)
    model, backend = methods(net, start, method, how.epochs, how.rate, how.temperatures[0])
    folders = [out / f"{net}-{method}-{seed}"]
    posterior = fit(model, backend, seed, folders[0], rows)
    for i, (epochs, temperature) in enumerate(zip(how.again, how.temperatures[1:], strict=True)):
        model, backend = again(net, method, posterior, epochs, how.rate, temperature)
        folders.append(out / f"{net}-{method}-{seed}-again{i}")
        posterior = fit(model, backend, seed, folders[-1], rows)
    minutes = sum(float((folder / "done").read_text()) for folder in folders) / 60
    return row(net, method, how, seed, start, posterior, minutes, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nets", nargs="+", default=["lenet300", "lenet5"], choices=NETS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for net in args.nets:
        for seed in args.seeds:
            for method in args.methods:
                how = recipe(net, method)
                if how is None:
                    print(f"{net}: no recipe for {method}")
                    continue
                found = made_by(net, method, how, seed, args.out)
                print(found, flush=True)
                append(args.csv, list(found), found)


if __name__ == "__main__":
    main()
