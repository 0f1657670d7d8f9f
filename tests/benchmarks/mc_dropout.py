"""MC dropout as its paper ran it: does averaging over masks beat switching dropout off?

``python tests/benchmarks/mc_dropout.py --out FOLDER [--steps 6000] [--seeds 0 1 2]`` trains what FOLDER lacks, one file a
network, so it may be stopped and taken up; ``--summary`` only prints the table and writes ``docs/results/mc_dropout.csv``.

Gal & Ghahramani 2015, "Bayesian convolutional neural networks with Bernoulli approximate variational inference", on MNIST
and on a quarter of it: Caffe's LeNet (``nets.LeNet5Caffe``: 20-50-500-10, 431,080 weights), half of the outputs dropped
after both convolutions (before pooling) and after the layer of 500; batches of 64, SGD with rate 0.01 (1 + 1e-4 t)^−0.75,
momentum 0.9, weight decay 5e-4, inputs/256, no augmentation; Caffe's start (uniform of variance 1/fan-in, biases 0), one
rate for weights and biases. Prediction averages the probabilities of 50 passes, each image with masks of its own. A mask
on a convolution's outputs before pooling is not one on the inputs of the next layer, which is what ``bz.MCDropout`` has,
so the paper's network is trained by a plain loop here. The methods:

everywhere, end, none   the paper's network with dropout after all three layers, after the layer of 500 alone, nowhere
channels                ``bz.MCDropout`` with the same SGD, prior and rate: it drops inputs of all layers but the first, and
                        those of a convolution are whole channels. Its prediction averages 50 draws, whose masks all images
                        share; "MC, own masks" are 50 of each image, for the same weights
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mnist import images
from torch import Tensor
from torch.nn import functional as F

import bnn_zoo as bz

DATA = {"MNIST": 60_000, "quarter": 15_000}
BATCH, RATE, MOMENTUM, DECAY, MASKS = 64, 0.5, 0.9, 5e-4, 50
DROPPED = {"everywhere": (0, 2, 6), "end": (6,), "none": ()}
"""After which layers of ``LeNet5Caffe`` outputs are dropped: convolutions, and the activation of the layer of 500."""
CHANNELS = ("2.weight", "5.weight", "7.weight")
AVERAGED = (1, 2, 5, 10, 20, 50)
EIGHT = torch.tensor([[2.0 * (byte >> bit & 1) for bit in range(8)] for byte in range(256)])


def rate(step: int) -> float:
    return 0.01 * (1.0 + 1e-4 * step) ** -0.75


def mask(x: Tensor) -> Tensor:
    """0 or 2, each with probability 1/2, in the shape and memory layout of x: one random bit an element."""
    words = torch.randint(-(2**63), 2**63 - 1, (x.numel() // 64 + 1,))
    return EIGHT[words.view(torch.uint8).int()].as_strided(x.shape, x.stride())


def output(net: torch.nn.Module, x: Tensor, dropped: tuple[int, ...], first: int = 0, last: int | None = None) -> Tensor:
    """Layers ``first`` to ``last`` of the network, with new masks after those in ``dropped``."""
    for i, layer in list(enumerate(net.children()))[first:last]:
        x = layer(x)
        if i in dropped:
            x = x * mask(x)
    return x


def start() -> torch.nn.Module:
    """Caffe's start: weights uniform of variance 1/fan-in ("xavier"), biases 0."""
    net = bz.nets.LeNet5Caffe()
    with torch.no_grad():
        for name, p in net.named_parameters():
            bound = math.sqrt(3.0 / p[0].numel()) if name.endswith("weight") else 0.0
            p.uniform_(-bound, bound)
    return net


# ---------------------------------------------------------------------------------------------------- training


def train(x: Tensor, y: Tensor, dropped: tuple[int, ...], steps: int, seed: int) -> torch.nn.Module:
    """The paper's loop; rows in a new order each epoch."""
    torch.manual_seed(seed)
    net = start().to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(net.parameters(), rate(0), momentum=MOMENTUM, weight_decay=DECAY, fused=True)
    rows: list[Tensor] = []
    for step in range(steps):
        if not rows:
            rows = list(torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH))
        batch = rows.pop()
        sgd.param_groups[0]["lr"] = rate(step)
        loss = F.cross_entropy(output(net, x[batch], dropped), y[batch])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    if not math.isfinite(float(loss.detach())):
        raise FloatingPointError("training diverged")
    return net


@torch.no_grad()
def off(net: torch.nn.Module, x: Tensor) -> Tensor:
    """Class probabilities ``[n, 10]`` with dropout switched off."""
    return torch.cat([net(part).softmax(-1) for part in x.split(100)]).double()


@torch.no_grad()
def averages(net: torch.nn.Module, x: Tensor, dropped: tuple[int, ...]) -> Tensor:
    """Probabilities ``[len(AVERAGED), n, 10]``, averaged over so many passes; up to the first mask, one is enough."""
    found = []
    for part in x.split(100):
        first = min(dropped)
        before, total, kept = output(net, part, (), last=first + 1), 0.0, []
        for t in range(1, MASKS + 1):
            f = output(net, before * mask(before), dropped, first=first + 1)
            total = total + f.double().softmax(-1)
            kept += [total / t] if t in AVERAGED else []
        found.append(torch.stack(kept))
    return torch.cat(found, 1)


def paper(x: Tensor, y: Tensor, digits: Tensor, where: str, steps: int, seed: int) -> dict[str, Tensor]:
    """Probabilities of the trained network on the test images by each way to predict."""
    net, dropped = train(x, y, DROPPED[where], steps, seed), DROPPED[where]
    return {"off": off(net, digits)} | ({"MC": averages(net, digits, dropped)} if dropped else {})


def channels(x: Tensor, y: Tensor, digits: Tensor, steps: int, seed: int) -> dict[str, Tensor]:
    """The library's MC dropout under the same protocol: the ELBO's gradient is that of the mean loss times −N."""
    n = len(x)

    def scale(kept: float) -> bz.priors.Normal:  # KL of a dropped weight: M² / (2 (1 − rate) s²)
        return bz.priors.Normal(1.0 / math.sqrt(n * DECAY * kept))

    prior = bz.priors.PerSite(dict.fromkeys(CHANNELS, scale(1.0 - RATE)) | {"*": scale(1.0)})
    backend = bz.MCDropout(
        steps=steps,
        draws=MASKS,
        batch_size=BATCH,
        rate=RATE,
        sites=CHANNELS,
        init=bz.density.FromNet(start),
        optimiser=partial(torch.optim.SGD, momentum=MOMENTUM, fused=True),
        learning_rate=bz.schedules.polynomial(10.0 / n, b=1e4, gamma=0.75),  # 0.01 (1 + 1e-4 t)^−0.75 / N
    )
    model = bz.BNN(bz.nets.LeNet5Caffe(), prior, bz.likelihoods.Categorical())
    posterior = bz.fit(model, (x, y), backend, seed=seed, progress=False)
    sites = {name: draws[0] for name, draws in posterior.draws.sites.items()}
    net = bz.nets.LeNet5Caffe().to(memory_format=torch.channels_last)
    total, shared = torch.zeros(()), []
    for t in range(MASKS):  # as posterior.predict does, one draw after the other
        net.load_state_dict({name: draws[t] for name, draws in sites.items()})
        total = total + off(net, digits)
        shared += [total / (t + 1)] if t + 1 in AVERAGED else []
    net.load_state_dict({name: undropped(name, draws) for name, draws in sites.items()})
    return {
        "off": off(net, digits),
        "MC": torch.stack(shared),
        "MC, own masks": own_masks(net, digits),
    }


def undropped(name: str, draws: Tensor) -> Tensor:
    """M, of draws ``[draw, …]`` that are 0 or M / (1 − rate) where inputs are dropped."""
    return draws.abs().amax(0) * draws.sum(0).sign() * (1.0 - RATE) if name in CHANNELS else draws[0]


@torch.no_grad()
def own_masks(net: torch.nn.Module, x: Tensor) -> Tensor:
    """As ``averages``, with the masks of ``CHANNELS``: before layers 2 (channels), 5 and 7 (units)."""
    found = []
    for part in x.split(100):
        before, total, kept = output(net, part, (), last=2), 0.0, []
        for t in range(1, MASKS + 1):
            h = before * mask(before[:, :, :1, :1].contiguous())
            h = output(net, h, (), first=2, last=5)
            h = output(net, h * mask(h), (6,), first=5)
            total = total + h.double().softmax(-1)
            kept += [total / t] if t in AVERAGED else []
        found.append(torch.stack(kept))
    return torch.cat(found, 1)


METHODS: dict[str, Callable[..., dict[str, Tensor]]] = {
    name: partial(paper, where=name) for name in ("everywhere", "end", "none")
} | {"channels": channels}


# ---------------------------------------------------------------------------------------------------- runs and tables


def run(method: str, data: str, steps: int, seed: int, path: Path) -> None:
    """Train one network and write what it says of the test images."""
    (x, y), (digits, labels) = images("MNIST", "train"), images("MNIST", "t10k")
    rows, begin = DATA[data], time.process_time()
    made = METHODS[method](255 / 256 * x[:rows], y[:rows], 255 / 256 * digits, steps=steps, seed=seed)
    part = path.with_suffix(".part.npz")
    about = {"labels": labels.numpy(), "cpu": time.process_time() - begin, "steps": steps}
    np.savez(part, **{k: v.float().numpy() for k, v in made.items()}, **about)
    part.rename(path)


def judge(path: Path) -> list[dict[str, object]]:
    """A row for each way to predict and number of masks: error and NLL, and both less those with dropout off, with standard
    errors over test images of the paired differences."""
    method, data, seed = path.stem.split("_")
    file = np.load(path)
    labels, rows = file["labels"], []
    base = _losses(file["off"], labels)
    for way in (k for k in file.files if k not in ("labels", "cpu", "steps")):
        for masks, probs in zip(AVERAGED if way != "off" else (0,), file[way].reshape(-1, len(labels), 10), strict=True):
            wrong, nll = _losses(probs, labels)
            row = {"method": method, "data": data, "seed": int(seed), "way": way, "masks": masks}
            row |= {"error %": 100 * wrong.mean(), "NLL": nll.mean()}
            for name, mine, theirs in (("error %", 100 * wrong, 100 * base[0]), ("NLL", nll, base[1])):
                row[f"Δ {name}"], row[f"se Δ {name}"] = (mine - theirs).mean(), (mine - theirs).std() / len(labels) ** 0.5
            rows.append(row | {"steps": int(file["steps"]), "CPU s": round(float(file["cpu"]))})
    return rows


def _losses(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probs = probs.astype(np.float64)
    right = probs[np.arange(len(labels)), labels] / probs.sum(-1)
    return (probs.argmax(-1) != labels).astype(float), -np.log(right)


def summary(folder: Path) -> pd.DataFrame:
    """Print means over seeds with their standard errors; returns all rows."""
    table = pd.DataFrame([row for path in sorted(folder.glob("*_*_*.npz")) for row in judge(path)])
    last = table[table["masks"].isin((0, MASKS))]
    for (data, method, way), part in last.groupby(["data", "method", "way"], sort=False):
        n = len(part)
        text = f"{data:8s} {method:11s} {way:14s} {n} seeds"
        for name in ("error %", "NLL", "Δ error %", "Δ NLL"):
            error = part[name].std(ddof=1) / n**0.5 if n > 1 else math.nan
            text += f"  {name} {part[name].mean():.4f} ± {error:.4f}"
        print(text)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--summary", action="store_true", help="train nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in () if args.summary else args.seeds:
        for data in args.data:
            for method in args.methods:
                path = args.out / f"{method}_{data}_{seed}.npz"
                if not path.exists():
                    run(method, data, args.steps, seed, path)
                    print(judge(path)[-1], flush=True)
    table = summary(args.out)
    if args.summary:
        file = Path(__file__).resolve().parents[2] / "docs" / "results" / "mc_dropout.csv"
        table.to_csv(file, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
