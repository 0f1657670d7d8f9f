"""Street scenes of CamVid, a class for each pixel: MC dropout and an ensemble of SegNet-Basic, with maps of what they doubt.

``python tests/benchmarks/camvid.py --out FOLDER [--network published] [--epochs 40]``. 367 images for training and 233 for
the test at 120×90 (a quarter of the paper's sides), 11 classes, void pixels left out; classes weighed in training by the
square root of median over own frequency (the paper's weights themselves, without the root, left the network half trained
after so few epochs). Each training image is there as it is and mirrored, 734 rows; an epoch is as many rows as images.
Dropout of one half before the deepest encoder and the first three decoders, where Kendall, Badrinarayanan & Cipolla 2015
have it. Adam from fresh weights. Networks:

small       ``nets.SegNetBasic(width=24, kernel_size=5)``, 103,643 weights, batches of 8, float32
published   ``nets.SegNetBasic()``, 1,417,099 weights, batches of 4, products in bfloat16, weights and loss in float32

A fit whose file is in FOLDER is not run again; ``--summary`` prints the table and draws the pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from _bfloat16 import Bfloat16
from torch import Tensor

import bnn_zoo as bz
from bnn_zoo.schedules import cosine

SHARED = Path(os.environ.get("BNN_ZOO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)
VOID, DRAWS, MEMBERS = len(CLASSES), 30, 2


@dataclass(frozen=True)
class Network:
    """What makes it, the names of the weights whose inputs are dropped, rows of a batch, Adam's first rate."""

    make: Callable[[], torch.nn.Module]
    deep: tuple[str, ...]
    batch: int
    rate: float


DEEP = ("encoders.3.0.weight", *(f"decoders.{i}.0.weight" for i in range(3)))
NETWORKS = {
    "small": Network(lambda: bz.nets.SegNetBasic(width=24, kernel_size=5), DEEP, 8, 1e-2),
    "published": Network(lambda: Bfloat16(bz.nets.SegNetBasic()), tuple(f"net.{name}" for name in DEEP), 4, 3e-3),
}


def images(split: str) -> tuple[Tensor, Tensor]:
    """x ``[n, 3, 90, 120]``, standardised by the training images' channels, and y ``[n, 90, 120]``."""
    file = np.load(SHARED / "camvid" / "camvid_120x90.npz")
    train = torch.from_numpy(file["x_train"]).float().movedim(-1, 1) / 255
    mean, sd = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), keepdim=True)
    x = torch.from_numpy(file[f"x_{split}"]).float().movedim(-1, 1) / 255
    return (x - mean) / sd, torch.from_numpy(file[f"y_{split}"]).long()


def median_frequency(y: Tensor) -> Tensor:
    """Weight of a class: median over classes of its share of pixels in the images that hold it, over that share."""
    held = [((y == c).sum().item(), (y == c).flatten(1).any(1).sum().item() * y[0].numel()) for c in range(VOID)]
    share = torch.tensor([count / pixels for count, pixels in held])
    return share.median() / share


def fit(network: Network, name: str, epochs: int, folder: Path) -> None:
    """Mean class probabilities, and mean entropy of the draws, of the test images; and those of each draw for one image."""
    path = folder / f"{name.replace(' ', '_')}.npz"
    if path.exists():
        return
    x, y = images("train")
    x, y = torch.cat([x, x.flip(-1)]), torch.cat([y, y.flip(-1)])
    x_test, _ = images("test")
    likelihood = bz.likelihoods.Categorical(ignore=VOID, class_weights=median_frequency(y).sqrt())
    model = bz.BNN(network.make(), bz.priors.Normal(bz.priors.he), likelihood)
    common = {
        "steps": epochs * (len(x) // 2 // network.batch),
        "batch_size": network.batch,
        "init": bz.density.FromNet(network.make),
    }
    if name.startswith("member"):
        backend: Any = bz.MAP(**common, step_size=cosine(network.rate))
        seed = int(name.split()[1])
    else:
        backend = bz.MCDropout(**common, learning_rate=cosine(network.rate), draws=DRAWS, rate=0.5, sites=network.deep)
        seed = 0
    begin = time.process_time()
    posterior = bz.fit(model, (x, y), backend, seed=seed, checkpoint=path.with_suffix(".run"))
    seconds = time.process_time() - begin
    mean, entropy = [], []
    for part in x_test.split(8):
        p = posterior.predict(part).f.flatten(0, 1).double().numpy()
        p /= p.sum(-1, keepdims=True)
        mean.append(p.mean(0).astype(np.float32))
        entropy.append(
            np.stack([bz.metrics.predictive_entropy(d.reshape(-1, VOID)).reshape(d.shape[:-1]) for d in p]).mean(0)
        )
    about = {"name": name, "cpu": seconds, "epochs": epochs}
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(
        unfinished,
        probs=np.concatenate(mean),
        entropy_of_draws=np.concatenate(entropy).astype(np.float32),
        about=json.dumps(about),
    )
    unfinished.rename(path)


def judge(probs: np.ndarray, y: np.ndarray) -> dict[str, float]:
    p = probs.astype(np.float64)
    p /= p.sum(-1, keepdims=True)
    return {
        "global %": 100 * bz.metrics.accuracy(p, y, ignore=VOID),
        "class %": 100 * float(np.nanmean(bz.metrics.class_accuracy(p, y, ignore=VOID))),
        "IoU %": 100 * float(np.nanmean(bz.metrics.iou(p, y, ignore=VOID))),
        "NLL": bz.metrics.nll_probs(p, y, ignore=VOID),
        "ECE": bz.metrics.ece(p, y, ignore=VOID),
    }


def contestants(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name: mean probabilities ``[n, h, w, C]`` and mean entropy of draws."""
    out = {}
    members = [np.load(p) for p in sorted(folder.glob("member_*.npz"))]
    for i, m in enumerate(members):
        out[f"member {i}"] = m["probs"], m["entropy_of_draws"]
    if len(members) > 1:
        probs, entropy = (np.mean([m[k] for m in members], 0) for k in ("probs", "entropy_of_draws"))
        out[f"ensemble of {len(members)}"] = probs, entropy
    if (path := folder / "MC_dropout.npz").exists():
        out["MC dropout"] = np.load(path)["probs"], np.load(path)["entropy_of_draws"]
    return out


def kept_curve(probs: np.ndarray, y: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Accuracy of the share of pixels that are kept, the surest first."""
    seen = y != VOID
    sure, right = probs.max(-1)[seen], (probs.argmax(-1) == y)[seen]
    ordered = right[np.argsort(-sure, kind="stable")].cumsum()
    counts = (shares * len(ordered)).astype(int)
    return ordered[counts - 1] / counts


def pictures(folder: Path, found: dict[str, tuple[np.ndarray, np.ndarray]], y: np.ndarray, to: Path) -> None:
    shares = np.linspace(0.1, 1.0, 19)
    fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, (probs, _) in found.items():
        if not name.startswith("member") or name == "member 0":
            ax.plot(100 * shares, 100 * kept_curve(probs, y, shares), label=name)
    ax.set(xlabel="share of pixels kept, surest first (%)", ylabel="accuracy of those (%)")
    ax.legend()
    fig.savefig(to / "camvid_kept.png", dpi=110)
    raw = np.load(SHARED / "camvid" / "camvid_120x90.npz")["x_test"]
    names = [n for n in found if not n.startswith("member")]
    chosen = (10, 90, 200)
    fig, axes = plt.subplots(
        len(chosen) * len(names), 5, figsize=(12, 1.95 * len(chosen) * len(names)), layout="constrained"
    )
    titles = ("image", "true class", "found", "predictive entropy (nats)", "mutual information (nats)")
    colours = matplotlib.colormaps["tab20"]
    for row, (i, name) in enumerate((i, n) for i in chosen for n in names):
        probs, entropy = found[name]
        p = probs[i].astype(np.float64)
        p /= p.sum(-1, keepdims=True)
        whole = bz.metrics.predictive_entropy(p.reshape(-1, VOID)).reshape(p.shape[:-1])
        shown = np.where(y[i] == VOID, np.nan, y[i])
        maps: list[Any] = [raw[i], shown, p.argmax(-1), whole, np.maximum(whole - entropy[i], 0.0)]
        for k, (ax, m) in enumerate(zip(axes[row], maps, strict=True)):
            if k in (1, 2):
                ax.imshow(m, cmap=colours, vmin=0, vmax=19, interpolation="nearest")
            elif k == 0:
                ax.imshow(m)
            else:
                fig.colorbar(ax.imshow(m, vmin=0, vmax=2.4 if k == 3 else 0.6, cmap="magma"), ax=ax)
            ax.set(xticks=[], yticks=[])
            if row == 0:
                ax.set_title(titles[k], fontsize=9)
        axes[row][0].set_ylabel(name, fontsize=9)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours(c / 19)) for c in range(VOID)]
    fig.legend(handles, CLASSES, loc="outside lower center", ncols=6, fontsize=8)
    fig.savefig(to / "camvid_maps.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--epochs", type=int, default=40, help="over the 367 images")
    parser.add_argument(
        "--methods", nargs="+", default=["member 0", "MC dropout", *(f"member {i}" for i in range(1, MEMBERS))]
    )
    parser.add_argument("--pictures", type=Path, help="a folder for the pictures; by default FOLDER")
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.methods:
        if not args.summary:
            fit(NETWORKS[args.network], name, args.epochs, args.out)
            print(name, "done", flush=True)
    y = images("test")[1].numpy()
    found = contestants(args.out)
    for name, (probs, _) in found.items():
        print(f"{name:14s}", {k: round(v, 4) for k, v in judge(probs, y).items()}, flush=True)
    for path in sorted(args.out.glob("*.npz")):
        print(str(np.load(path)["about"]))
    pictures(args.out, found, y, args.pictures or args.out)


if __name__ == "__main__":
    main()
