"""20,000 images of CIFAR-10: the residual network of the HMC references, and network-in-network with dropout on and off.

``python tests/benchmarks/cifar.py --out FOLDER [--epochs 60] [--nets ResNet20FRN NIN NIN-channels]``, 5,000 other images to
test on; a JPEG copy of a part of the set, so errors are not those of papers. Images mirrored at random are not used.

ResNet20FRN   ``ResNetFRN(20)``, 274,042 weights, prior N(0, 1/5) as Izmailov, Vikram, Hoffman & Wilson 2021: MAP by Adam
NIN           network in network as its paper and as Gal & Ghahramani 2015 have it: half of the values dropped after each of
              the two poolings, each image with masks of its own, L2 of 5e-4. A plain loop. From the same weights "off",
              dropout switched off, "one", one pass, and "MC", the average over 50 passes (table 1 there has
              10.43 % and 10.27 ± .05 % after training on 50,000 images)
NIN-channels  the same network by ``bz.MCDropout`` with the same prior and rate: a mask is one for all rows of the batch, and
              drops whole channels, so that a draw is a function

The products of NIN are in bfloat16 (``torch.autocast``), three to five times as fast where the processor multiplies such
numbers by itself; weights, loss and optimiser are float32. NIN starts at He's law with biases of 1 before its last ReLU:
with 0 all ten of its outputs soon die. A fit whose file is in FOLDER is not run again, a broken one is taken up;
``--summary`` prints the table.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from _bfloat16 import Bfloat16, in_bfloat16
from mc_dropout import mask, output
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import bnn_zoo as bz
from bnn_zoo.schedules import cosine

SHARED = Path(os.environ.get("BNN_ZOO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
BATCH, MASKS, RATE = 64, 50, 0.5
NIN_RATE, DECAY = 5e-4, 5e-4
DROPPED = (6, 13)
"""After which layers of ``NIN`` values are dropped: its two poolings."""
CHANNELS = ("7.weight", "14.weight")


def images(split: str) -> tuple[Tensor, Tensor]:
    """x ``[n, 3, 32, 32]`` in [0, 1] and y ``[n]``."""
    file = np.load(SHARED / "cifar10" / "cifar10_jpeg.npz")
    ends = file[f"size_{split}"].astype(np.int64).cumsum()
    whole = file[f"jpeg_{split}"].tobytes()
    starts = np.concatenate([[0], ends[:-1]])
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(whole[a:b]))) for a, b in zip(starts, ends, strict=True)])
    return torch.from_numpy(pixels).float().movedim(-1, 1) / 255, torch.from_numpy(file[f"y_{split}"]).long()


def standardised() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (x, y), (x_test, y_test) = images("train"), images("test")
    mean, sd = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return (x - mean) / sd, y, (x_test - mean) / sd, y_test


@torch.no_grad()
def probabilities(net: torch.nn.Module, x: Tensor) -> np.ndarray:
    """Class probabilities ``[n, 10]``, in float32 throughout."""
    return torch.cat([net(part).softmax(-1) for part in x.split(100)]).double().numpy()


def start_of_nin() -> torch.nn.Module:
    net = bz.nets.NIN()
    for layer in net:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    torch.nn.init.ones_(net[18].bias)
    return net


# ---------------------------------------------------------------------------------------------------- the networks


def residual(epochs: int, data: tuple[Tensor, ...], kept: Path) -> dict[str, np.ndarray]:
    x, y, x_test, _ = data
    net = bz.nets.ResNetFRN(20)
    model = bz.BNN(net, bz.priors.Normal(math.sqrt(0.2)), bz.likelihoods.Categorical())
    start = bz.density.FromNet(lambda: bz.nets.ResNetFRN(20))
    backend = bz.MAP(steps=epochs * (len(x) // BATCH), batch_size=BATCH, step_size=cosine(3e-3), init=start)
    posterior = bz.fit(model, (x, y), backend, checkpoint=kept)
    net.load_state_dict({n: v[0, 0] for n, v in posterior.draws.sites.items()})
    return {"MAP": probabilities(net, x_test)}


def as_published(epochs: int, data: tuple[Tensor, ...], kept: Path) -> dict[str, np.ndarray]:
    x, y, x_test, _ = data
    torch.manual_seed(0)
    net = start_of_nin().to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(net.parameters(), NIN_RATE, weight_decay=DECAY, fused=True)
    x, done, per = x.contiguous(memory_format=torch.channels_last), 0, len(x) // BATCH
    if kept.exists():
        state = torch.load(kept)
        done = state["epoch"]
        net.load_state_dict(state["net"])
        adam.load_state_dict(state["adam"])
        torch.set_rng_state(state["rng"])
    for epoch in range(done, epochs):
        total = 0.0
        for i, rows in enumerate(torch.randperm(len(x))[: per * BATCH].split(BATCH)):
            for group in adam.param_groups:
                group["lr"] = NIN_RATE * (1.0 + math.cos(math.pi * (epoch + i / per) / epochs)) / 2.0
            with in_bfloat16():
                f = output(net, x[rows], DROPPED).float()
            loss = F.cross_entropy(f, y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() / per
        now = {"net": net.state_dict(), "adam": adam.state_dict(), "epoch": epoch + 1, "rng": torch.get_rng_state()}
        torch.save(now, kept.with_suffix(".part"))
        kept.with_suffix(".part").rename(kept)
        print(f"NIN: epoch {epoch + 1} of {epochs}, loss {total:.4f}", flush=True)
    return {"off": probabilities(net, x_test)} | averages(net, x_test)


@torch.no_grad()
def averages(net: torch.nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """The first of ``MASKS`` passes with masks of each image, and the mean of all."""
    first, mean = [], []
    for part in x.split(100):
        before = output(net, part, (), last=DROPPED[0] + 1)
        each = []
        for _ in range(MASKS):
            with in_bfloat16():
                f = output(net, before * mask(before), DROPPED, first=DROPPED[0] + 1)
            each.append(f.double().softmax(-1))
        first.append(each[0])
        mean.append(torch.stack(each).mean(0))
    return {"one": torch.cat(first).numpy(), "MC": torch.cat(mean).numpy()}


def by_library(epochs: int, data: tuple[Tensor, ...], kept: Path) -> dict[str, np.ndarray]:
    x, y, x_test, _ = data
    n = len(x)

    def scale(share: float) -> bz.priors.Normal:  # KL of a dropped weight: M² / (2 (1 − rate) s²)
        return bz.priors.Normal(1.0 / math.sqrt(n * DECAY * share))

    names = tuple(f"net.{name}" for name in CHANNELS)
    prior = bz.priors.PerSite(dict.fromkeys(names, scale(1.0 - RATE)) | {"*": scale(1.0)})
    model = bz.BNN(Bfloat16(bz.nets.NIN()), prior, bz.likelihoods.Categorical())
    backend = bz.MCDropout(
        steps=epochs * (n // BATCH),
        batch_size=BATCH,
        draws=MASKS,
        rate=RATE,
        sites=names,
        learning_rate=cosine(NIN_RATE),
        init=bz.density.FromNet(lambda: Bfloat16(start_of_nin())),
    )
    posterior = bz.fit(model, (x, y), backend, checkpoint=kept)
    sites = {name.removeprefix("net."): v[0] for name, v in posterior.draws.sites.items()}
    net = bz.nets.NIN()

    def of(weights: dict[str, Tensor]) -> np.ndarray:
        net.load_state_dict(weights)
        with in_bfloat16():
            return probabilities(net, x_test)

    each = [of({name: v[t] for name, v in sites.items()}) for t in range(MASKS)]
    off = of({name: undropped(v) if name in CHANNELS else v[0] for name, v in sites.items()})
    return {"off": off, "one": each[0], "MC": np.mean(each, axis=0)}


def undropped(draws: Tensor) -> Tensor:
    """M, of draws ``[draw, …]`` that are 0 or M / (1 − rate)."""
    return draws.abs().amax(0) * draws.sum(0).sign() * (1.0 - RATE)


NETS = {"ResNet20FRN": residual, "NIN": as_published, "NIN-channels": by_library}


# ---------------------------------------------------------------------------------------------------- runs and tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--summary", action="store_true", help="train nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # L2 makes thousands of weights so small that a pass takes ten times as long
    args.out.mkdir(parents=True, exist_ok=True)
    data = standardised()
    for name in args.nets:
        path = args.out / f"{name}_{args.epochs}.npz"
        if not path.exists() and not args.summary:
            begin = time.process_time()
            made = NETS[name](args.epochs, data, path.with_suffix(".run"))
            part = path.with_suffix(".part.npz")
            np.savez_compressed(part, **made, about=json.dumps({"cpu": time.process_time() - begin, "epochs": args.epochs}))
            part.rename(path)
    y = data[-1].numpy()
    for path in sorted(args.out.glob("*.npz")):
        file = np.load(path)
        print(path.stem, str(file["about"]))
        ways = [name for name in file.files if name != "about"]
        for way in ways:
            p = file[way] / file[way].sum(-1, keepdims=True)
            wrong = 100 * (p.argmax(-1) != y)
            line = f"  {way:4s} error {wrong.mean():.2f} %  NLL {bz.metrics.nll_probs(p, y):.4f}"
            line += f"  ECE {bz.metrics.ece(p, y):.4f}"
            if "off" in ways and way != "off":
                less = wrong - 100 * (file["off"].argmax(-1) != y)
                line += f"  less off {less.mean():+.2f} ± {less.std() / len(y) ** 0.5:.2f}"
            print(line)


if __name__ == "__main__":
    main()
