"""Digits of MNIST turned by any angle: an ordinary network against one whose classes do not see turns by 90 degrees.

``python tests/benchmarks/rotated_mnist.py --out FOLDER [--epochs 15] [--nets Z2CNN P4CNN] [--test 10000]``. The first 12,000
training images of MNIST, each turned once by an angle uniform in 0 … 360° (seed 0, bilinear, zeros outside), and the next
``--test`` for the test, also turned: the sizes of the original set of Larochelle et al. 2007, whose file is not used. Both
networks have about as many weights (21,510 and 24,560 in convolutions), GroupNorm in place of BatchNorm, and the prior
N(0, 2/fan-in). For each: three members by Adam from fresh weights (a deep ensemble; "MAP" is their mean), and one chain of
SGHMC from the first member, 30 draws. A fit whose file is in FOLDER is not run again. ``--summary`` prints the table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bnn_zoo as bz
from bnn_zoo.schedules import cosine

SHARED = Path(os.environ.get("BNN_ZOO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
TRAIN, BATCH, MEMBERS, DRAWS = 12_000, 64, 3, 30
LEARNING_RATE = 5e-3


MODELS = {"Z2CNN": bz.zoo.cohen_welling_z2cnn, "P4CNN": bz.zoo.cohen_welling_p4cnn}
PUBLISHED = {"Z2CNN": 5.03, "P4CNN": 2.28}


def turned(x: Tensor, seed: int) -> Tensor:
    """Each image ``[n, 1, h, w]`` by an angle of its own, uniform in 0 … 2π."""
    angle = 2 * math.pi * torch.rand(len(x), generator=torch.Generator().manual_seed(seed))
    c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([torch.stack([c, -s, zero], 1), torch.stack([s, c, zero], 1)], 1)
    grid = nn.functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, align_corners=False)


def images(test: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    raw = SHARED / "MNIST" / "raw"
    data = bz.data.idx(raw / "train-images-idx3-ubyte.gz", raw / "train-labels-idx1-ubyte.gz")
    x, y = turned(data.x[: TRAIN + test], 0), data.y[: TRAIN + test]
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


def fit(name: str, kind: str, epochs: int, folder: Path, data: tuple[Tensor, ...]) -> None:
    """``member k`` or ``SGHMC``: class probabilities ``[draw, n, class]`` of the test images, written as a whole."""
    x, y, x_test, _ = data
    path = folder / f"{name}_{kind.replace(' ', '_')}.npz"
    if path.exists():
        return
    model = MODELS[name]()
    steps = epochs * (len(x) // BATCH)
    common = {"chains": 1, "steps": steps, "batch_size": BATCH}
    if kind == "SGHMC":
        trained = MODELS[name]().net
        trained.load_state_dict(torch.load(folder / f"{name}_member_0.pt", weights_only=True))
        backend: Any = bz.SGHMC(
            **common,
            warmup=steps // 3,
            thinning=(steps - steps // 3) // DRAWS,
            friction=0.1,
            step_size=cosine(2 * 1e-2 / len(x), end=2 * 1e-3 / len(x)),
            init=bz.density.FromNet(trained),
        )
        seed = 0
    else:
        backend = bz.MAP(**common, step_size=cosine(LEARNING_RATE), init=bz.density.FromNet(lambda: MODELS[name]().net))
        seed = int(kind.split()[1])
    begin = time.process_time()
    posterior = bz.fit(model, (x, y), backend, seed=seed, progress=False)
    seconds = time.process_time() - begin
    if kind != "SGHMC":
        weights = {n: v[0, 0] for n, v in posterior.draws.sites.items()}
        torch.save(weights, folder / f"{name}_{kind.replace(' ', '_')}.pt")
    probs = np.concatenate([posterior.predict(part).f.flatten(0, 1).numpy() for part in x_test.split(2000)], 1)
    stats = {k: float(v.float().mean()) for k, v in posterior.draws.stats.items()}
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, probs=probs, about=json.dumps({"cpu": seconds, "epochs": epochs, **stats}))
    part.rename(path)


def judge(probs: np.ndarray, y: np.ndarray) -> str:
    p = probs.astype(np.float64)
    p /= p.sum(-1, keepdims=True)
    error, count = 100 * (1 - bz.metrics.accuracy(p, y)), len(y)
    margin = 100 * math.sqrt(error / 100 * (1 - error / 100) / count)
    return f"error {error:5.2f} ± {margin:.2f} %  NLL {bz.metrics.nll_probs(p, y):.4f}  ECE {bz.metrics.ece(p, y):.4f}"


def summary(folder: Path, y: np.ndarray) -> None:
    for name in MODELS:
        print(f"{name} (published, original set: {PUBLISHED[name]} %)")
        members = [np.load(p)["probs"] for p in sorted(folder.glob(f"{name}_member_*.npz"))]
        for i, m in enumerate(members):
            print(f"  MAP {i}           {judge(m[0], y)}")
        if members:
            print(f"  ensemble of {len(members)}   {judge(np.concatenate(members).mean(0), y)}")
        if (path := folder / f"{name}_SGHMC.npz").exists():
            file = np.load(path)
            print(f"  SGHMC {len(file['probs'])} draws  {judge(file['probs'].mean(0), y)}  {file['about']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--nets", nargs="+", default=list(MODELS))
    parser.add_argument("--test", type=int, default=10_000, help="images to test on, at most 48,000")
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    data = images(args.test)
    if not args.summary:
        for kind in ("member 0", "SGHMC", *(f"member {i}" for i in range(1, args.members))):
            for name in args.nets:
                fit(name, kind, args.epochs, args.out, data)
                print(name, kind, "done", flush=True)
    summary(args.out, data[3].numpy())


if __name__ == "__main__":
    main()
