"""20,000 images of CIFAR-10: the residual network of the HMC references, and network-in-network with dropout on and off.

``python tests/benchmarks/cifar.py --out FOLDER [--epochs 6] [--nets ResNet20FRN NIN]``, 5,000 other images to test on; a
JPEG copy of a part of the set, so errors are not those of papers. ``ResNetFRN(20)``, 274,042 weights, prior N(0, 1/5) as
Izmailov, Vikram, Hoffman & Wilson 2021: MAP by Adam. ``NIN``, 966,986 weights: MC dropout of one half before its second and
third part (masks of channels), batches of 64, Adam; from the same weights "off", dropout switched off, and the average over
30 draws of masks (Gal & Ghahramani 2015, table 1, has 10.43 % and 10.27 ± .05 % after training on 50,000 images). Images
mirrored at random are not used. A fit whose file is in FOLDER is not run again, a
broken one is taken up (its CPU time counts from there); ``--summary`` prints the table.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import bnn_zoo as bz
from bnn_zoo.schedules import cosine

SHARED = Path(os.environ.get("BNN_ZOO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
BATCH, DRAWS, RATE = 64, 30, 0.5
DROPPED = ("7.weight", "14.weight")


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
    return torch.cat([net(part).softmax(-1) for part in x.split(100)]).double().numpy()


def fit(name: str, epochs: int, data: tuple[Tensor, ...], kept: Path) -> tuple[dict[str, np.ndarray], float]:
    """Class probabilities of the test images by each way to predict, and seconds of CPU time."""
    x, y, x_test, _ = data
    common = {"steps": epochs * (len(x) // BATCH), "batch_size": BATCH}
    begin = time.process_time()
    if name == "ResNet20FRN":
        net: torch.nn.Module = bz.nets.ResNetFRN(20)
        model = bz.BNN(net, bz.priors.Normal(math.sqrt(0.2)), bz.likelihoods.Categorical())
        start = bz.density.FromNet(lambda: bz.nets.ResNetFRN(20))
        posterior = bz.fit(model, (x, y), bz.MAP(**common, step_size=cosine(3e-3), init=start), checkpoint=kept)
        seconds = time.process_time() - begin
        net.load_state_dict({n: v[0, 0] for n, v in posterior.draws.sites.items()})
        return {"MAP": probabilities(net, x_test)}, seconds
    net = bz.nets.NIN()
    model = bz.BNN(net, bz.priors.Normal(math.sqrt(0.2)), bz.likelihoods.Categorical())
    backend: Any = bz.MCDropout(
        **common,
        draws=DRAWS,
        rate=RATE,
        sites=DROPPED,
        learning_rate=cosine(1e-4),
        init=bz.density.FromNet(he_start),
    )
    posterior = bz.fit(model, (x, y), backend, checkpoint=kept)
    seconds = time.process_time() - begin
    sites = {n: v[0] for n, v in posterior.draws.sites.items()}
    total = np.zeros((len(x_test), 10))
    for t in range(DRAWS):
        net.load_state_dict({n: v[t] for n, v in sites.items()})
        total += probabilities(net, x_test) / DRAWS
    net.load_state_dict({n: undropped(v) if n in DROPPED else v[0] for n, v in sites.items()})
    return {"off": probabilities(net, x_test), "MC": total}, seconds


def he_start() -> torch.nn.Module:
    """Torch's own start is too small for nine layers without normalisation."""
    net = bz.nets.NIN()
    for layer in net:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    return net


def undropped(draws: Tensor) -> Tensor:
    """M, of draws ``[draw, …]`` that are 0 or M / (1 − rate)."""
    return draws.abs().amax(0) * draws.sum(0).sign() * (1.0 - RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--nets", nargs="+", default=["ResNet20FRN", "NIN"])
    parser.add_argument("--test", type=int, default=5_000, help="test images; 30 draws of NIN on all take half an hour")
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    x, y, x_test, y_test = standardised()
    data = (x, y, x_test[: args.test], y_test[: args.test])
    for name in args.nets:
        path = args.out / f"{name}_{args.epochs}.npz"
        if not path.exists() and not args.summary:
            made, seconds = fit(name, args.epochs, data, path.with_suffix(".run"))
            part = path.with_suffix(".part.npz")
            np.savez_compressed(part, **made, about=json.dumps({"cpu": seconds, "epochs": args.epochs}))
            part.rename(path)
    for path in sorted(args.out.glob("*.npz")):
        file = np.load(path)
        print(path.stem, str(file["about"]))
        for how in (k for k in file.files if k != "about"):
            p = file[how] / file[how].sum(-1, keepdims=True)
            y = y_test[: len(p)].numpy()
            error = 100 * (1 - bz.metrics.accuracy(p, y))
            print(f"  {how:4s} error {error:.2f} %  NLL {bz.metrics.nll_probs(p, y):.4f}  ECE {bz.metrics.ece(p, y):.4f}")


if __name__ == "__main__":
    main()
