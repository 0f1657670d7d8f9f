"""LeNet-5 on the 60,000 digits of MNIST by seven methods, judged on its test images and on the letters of notMNIST.

``python tests/benchmarks/mnist.py --out FOLDER [--methods SGD SGLD …] [--epochs 30]``. A method whose file is in FOLDER is
not run again, so the run may be stopped and taken up; ``--summary`` prints the table. Each file holds class probabilities
of every draw on both sets, in fixed order of the images.

All methods: prior N(0, g²/fan-in), torch's default initialisation, batches of 128, no augmentation. g of SGD, pSGLD and MC
dropout, and the rate of dropout, were chosen by NLL on the last 10,000 training images with the first 50,000 trained on for
ten epochs, as ``--validate --epochs 10 --gain g`` does; the others took g = 2 over, and learning rates were not tuned. One
chain each, so how well chains mix is not known; the ensemble has five members.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bnn_zoo as bz
from bnn_zoo.schedules import cosine, cyclical, exploring

SHARED = Path(os.environ.get("BNN_ZOO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
ROWS, HELD_OUT, BATCH, DRAWS = 60_000, 10_000, 128, 30
GAIN = dict.fromkeys(("SGD", "SGLD", "pSGLD", "cSGHMC", "mean field", "deep ensemble"), 2.0) | {"MC dropout": 4.0}
CYCLES = 6
"""Of ten epochs by default: cSGHMC has twice the steps of the others."""


def methods(epochs: int, rows: int = ROWS) -> dict[str, Any]:
    """The contestants. ε of the Langevin family is 2 · (learning rate of the mean loss) / N."""
    steps = epochs * (rows // BATCH)
    common = {"steps": steps, "batch_size": BATCH, "init": bz.density.FromNet(bz.nets.LeNet5)}
    late = {"warmup": steps * 2 // 3, "thinning": steps // 3 // DRAWS}
    variational = {"learning_rate": cosine(1e-3), "draws": DRAWS}
    return {
        "SGD": bz.SGHMC(
            chains=1, **common, warmup=steps - 1, step_size=cosine(2 * 0.03 / rows), friction=0.1, temperature=0.0
        ),
        "SGLD": bz.SGLD(chains=1, **common, **late, step_size=cosine(2 * 0.3 / rows, end=2 * 0.03 / rows)),
        "pSGLD": bz.PSGLD(chains=1, **common, **late, step_size=cosine(2 * 1e-3 / rows, end=2 * 1e-4 / rows)),
        "cSGHMC": bz.SGHMC(  # draws where steps are so small that the kinetic temperature is near 1
            chains=1,
            **common | {"steps": 2 * steps},
            warmup=0,
            thinning=int(0.15 * 2 * steps) // DRAWS,
            friction=0.1,
            step_size=cyclical(2 * 0.03 / rows, cycles=CYCLES),
            temperature=exploring(cycles=CYCLES, share=0.85),
        ),
        "mean field": bz.MeanField(
            **common,
            **variational,
            handler=bz.handlers.LocalReparameterization,
            guide=partial(bz.guides.MeanFieldNormal, init_scale=0.01),
        ),
        "MC dropout": bz.MCDropout(**common, **variational, rate=0.1),
        "deep ensemble": bz.DeepEnsemble(chains=5, **common),
    }


@dataclass(frozen=True)
class Wider:
    """``gain`` / √fan-in, a rule for a prior's scale."""

    gain: float

    def __call__(self, shape: torch.Size) -> float:
        return self.gain * bz.priors.fan_in(shape)


def model(gain: float) -> bz.BNN:
    return bz.BNN(bz.nets.LeNet5(), bz.priors.Normal(Wider(gain)), bz.likelihoods.Categorical())


def images(folder: str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """x ``[n, 1, 28, 28]`` in [0, 1] and y ``[n]``."""
    raw = SHARED / folder / "raw"
    data = bz.data.idx(raw / f"{split}-images-idx3-ubyte.gz", raw / f"{split}-labels-idx1-ubyte.gz")
    return data.x, data.y


def run(name: str, gain: float, backend: Any, path: Path, seed: int, validate: bool) -> None:
    """Fit, predict the sets draw by draw, and write the file as a whole. To validate, the letters stay out of sight."""
    (x, y), (digits, labels) = images("MNIST", "train"), images("MNIST", "t10k")
    if validate:
        (x, digits), (y, labels) = x.split([ROWS - HELD_OUT, HELD_OUT]), y.split([ROWS - HELD_OUT, HELD_OUT])
    begin = time.perf_counter(), time.process_time()
    posterior = bz.fit(model(gain), (x, y), backend, seed=seed, progress=False)
    seconds = time.perf_counter() - begin[0], time.process_time() - begin[1]
    sets = {"digits": digits} if validate else {"digits": digits, "letters": images("notMNIST", "t10k")[0]}
    on = {k: posterior.predict(x).f.flatten(0, 1).numpy() for k, x in sets.items()}
    about = {"method": name, "gain": gain, "wall": seconds[0], "cpu": seconds[1], **posterior.draws.attrs}
    stats = {k: float(v.float().mean()) for k, v in posterior.draws.stats.items()}
    part = path.with_suffix(".part.npz")
    np.savez(part, **on, labels=labels.numpy(), about=json.dumps(about | {"stats": stats}))
    part.rename(path)


def judge(path: Path) -> dict[str, float]:
    """The row of a method: on digits error, NLL and ECE; on letters confidence and AUROCs; and the artefact."""
    file = np.load(path)
    draws = {k: file[k].astype(np.float64) for k in ("digits", "letters") if k in file}
    draws = {k: v / v.sum(-1, keepdims=True) for k, v in draws.items()}
    mean, y = {k: v.mean(0) for k, v in draws.items()}, file["labels"]
    row = {
        "draws": len(draws["digits"]),
        "error %": round(100 * (1 - bz.metrics.accuracy(mean["digits"], y)), 6),
        "NLL": bz.metrics.nll_probs(mean["digits"], y),
        "ECE": bz.metrics.ece(mean["digits"], y),
        "ECE if calibrated": calibrated(mean["digits"]),
        "confidence on digits": float(mean["digits"].max(1).mean()),
    }
    if "letters" in draws:
        ood = bz.metrics.ood_report(mean["digits"], mean["letters"])
        rng = np.random.default_rng(0)
        shuffled = np.stack([np.log(np.clip(d[rng.permutation(len(d))], 1e-8, 1)) for d in draws["letters"]])
        row |= {
            "confidence on letters": float(mean["letters"].max(1).mean()),
            "AUROC (confidence)": ood["one_minus_confidence"]["auroc"],
            "AUROC (entropy)": ood["entropy"]["auroc"],
            "artefact: exp of shuffled mean log p": float(np.exp(shuffled.mean(0)).max(1).mean()),
        }
    return row | {"CPU s": json.loads(str(file["about"]))["cpu"]}


def calibrated(probs: np.ndarray, times: int = 50) -> float:
    """The ECE that these probabilities would show with labels drawn from them: what is left of it is chance."""
    rng, below = np.random.default_rng(0), probs.cumsum(1)
    drawn = ((rng.random((len(probs), 1)) > below).sum(1).clip(max=probs.shape[1] - 1) for _ in range(times))
    return float(np.mean([bz.metrics.ece(probs, y) for y in drawn]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="part of the file's name where it is not 0")
    parser.add_argument("--validate", action="store_true", help="train on 50,000 images, score on the other 10,000")
    parser.add_argument("--gain", type=float, help="instead of the method's own")
    parser.add_argument("--summary", action="store_true", help="only print what FOLDER holds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    all_methods = methods(args.epochs, ROWS - HELD_OUT if args.validate else ROWS)
    for name in args.methods or all_methods:
        path = args.out / f"{name.replace(' ', '_')}{f'_{args.seed}' if args.seed else ''}.npz"
        if not path.exists() and not args.summary:
            run(name, args.gain or GAIN[name], all_methods[name], path, args.seed, args.validate)
        if path.exists():
            print(name, {k: round(v, 4) for k, v in judge(path).items()}, flush=True)


if __name__ == "__main__":
    main()
