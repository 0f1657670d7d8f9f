"""LeNet-5 on the 60,000 digits of MNIST by seven methods, judged on its test images and on the letters of notMNIST.

``python tests/benchmarks/mnist.py --out FOLDER [--methods SGD SGLD …] [--epochs 20]``. A method whose file is in FOLDER is
not run again, so the run may be stopped and taken up; ``--summary`` prints the table. Each file holds class probabilities
of every draw on both sets, in fixed order of the images.

All methods: prior N(0, 1/fan-in), torch's default initialisation, batches of 128, no augmentation, nothing tuned on the
test images. One chain each, so how well chains mix is not known; the ensemble has five members.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bnn_zoo as bz
from bnn_zoo.schedules import cosine, cyclical, exploring

SHARED = Path(os.environ.get("BNN_ZOO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
ROWS, BATCH, DRAWS = 60_000, 128, 30


def methods(epochs: int) -> dict[str, Any]:
    """The contestants. ε of the Langevin family is 2 · (learning rate of the mean loss) / N."""
    steps = epochs * (ROWS // BATCH)
    common = {"steps": steps, "batch_size": BATCH, "init": bz.density.FromNet(bz.nets.LeNet5)}
    late = {"warmup": steps * 2 // 3, "thinning": steps // 3 // DRAWS}
    variational = {"learning_rate": cosine(1e-3), "draws": DRAWS}
    return {
        "SGD": bz.SGHMC(
            chains=1, **common, warmup=steps - 1, step_size=cosine(2 * 0.03 / ROWS), friction=0.1, temperature=0.0
        ),
        "SGLD": bz.SGLD(chains=1, **common, **late, step_size=cosine(2 * 0.1 / ROWS, end=2 * 0.01 / ROWS)),
        "pSGLD": bz.PSGLD(chains=1, **common, **late, step_size=cosine(2 * 1e-3 / ROWS, end=2 * 1e-4 / ROWS)),
        "cSGHMC": bz.SGHMC(
            chains=1,
            **common,
            warmup=0,
            thinning=int(0.3 * steps) // DRAWS,
            friction=0.1,
            step_size=cyclical(2 * 0.03 / ROWS, cycles=4),
            temperature=exploring(cycles=4, share=0.7),
        ),
        "mean field": bz.MeanField(
            **common,
            **variational,
            handler=bz.handlers.LocalReparameterization,
            guide=partial(bz.guides.MeanFieldNormal, init_scale=0.01),
        ),
        "MC dropout": bz.MCDropout(**common, **variational, rate=0.3, sites=("7.weight", "9.weight", "11.weight")),
        "deep ensemble": bz.DeepEnsemble(chains=5, **common),
    }


def model() -> bz.BNN:
    return bz.BNN(bz.nets.LeNet5(), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Categorical())


def images(folder: str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """x ``[n, 1, 28, 28]`` in [0, 1] and y ``[n]``."""
    raw = SHARED / folder / "raw"
    data = bz.data.idx(raw / f"{split}-images-idx3-ubyte.gz", raw / f"{split}-labels-idx1-ubyte.gz")
    return data.x, data.y


def run(name: str, backend: Any, path: Path) -> None:
    """Fit, predict both sets draw by draw, and write the file as a whole."""
    train, (digits, labels), (letters, _) = images("MNIST", "train"), images("MNIST", "t10k"), images("notMNIST", "t10k")
    begin = time.perf_counter(), time.process_time()
    posterior = bz.fit(model(), train, backend, seed=0, progress=False)
    seconds = time.perf_counter() - begin[0], time.process_time() - begin[1]
    on = {k: posterior.predict(x).f.flatten(0, 1).numpy() for k, x in (("digits", digits), ("letters", letters))}
    about = {"method": name, "wall": seconds[0], "cpu": seconds[1], "gradients": posterior.draws.attrs["gradients"]}
    stats = {k: float(v.float().mean()) for k, v in posterior.draws.stats.items()}
    part = path.with_suffix(".part.npz")
    np.savez(part, **on, labels=labels.numpy(), about=json.dumps(about | {"stats": stats}))
    part.rename(path)


def judge(path: Path) -> dict[str, float]:
    """The row of a method: on digits error, NLL and ECE; on letters confidence and AUROCs; and the artefact."""
    file = np.load(path)
    draws = {k: file[k].astype(np.float64) for k in ("digits", "letters")}
    draws = {k: v / v.sum(-1, keepdims=True) for k, v in draws.items()}
    mean, y = {k: v.mean(0) for k, v in draws.items()}, file["labels"]
    at_label = np.clip(mean["digits"][np.arange(len(y)), y], 1e-7, 1)
    entropy = {k: bz.metrics.predictive_entropy(v) for k, v in mean.items()}
    rng = np.random.default_rng(0)
    shuffled = np.stack([np.log(np.clip(d[rng.permutation(len(d))], 1e-8, 1)) for d in draws["letters"]])
    return {
        "draws": len(draws["digits"]),
        "error %": 100 * (1 - bz.metrics.accuracy(mean["digits"], y)),
        "NLL": -float(np.log(at_label).mean()),
        "ECE": bz.metrics.ece(mean["digits"], y),
        "confidence on digits": float(mean["digits"].max(1).mean()),
        "confidence on letters": float(mean["letters"].max(1).mean()),
        "AUROC (confidence)": bz.metrics.auroc(-mean["digits"].max(1), -mean["letters"].max(1)),
        "AUROC (entropy)": bz.metrics.auroc(entropy["digits"], entropy["letters"]),
        "artefact: exp of shuffled mean log p": float(np.exp(shuffled.mean(0)).max(1).mean()),
        "CPU s": json.loads(str(file["about"]))["cpu"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    all_methods = methods(args.epochs)
    for name in args.methods or all_methods:
        path = args.out / f"{name.replace(' ', '_')}.npz"
        if not path.exists() and not args.summary:
            run(name, all_methods[name], path)
        if path.exists():
            print(name, {k: round(v, 4) for k, v in judge(path).items()}, flush=True)


if __name__ == "__main__":
    main()
