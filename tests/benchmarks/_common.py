"""What the benchmarks share: the data, one thread, alternating measurements."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import bnn_zoo as bz

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def concrete(split: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Training rows of UCI concrete, standardised; rows of the same shape drawn at random where the file is absent."""
    path = Path(os.environ.get("BNN_ZOO_DATA", SHARED)) / "uci" / "concrete.npz"
    if path.exists():
        file = np.load(path)
        rows = file[f"train_{split}"]
        x, y = file["X"][rows], file["y"][rows]
    else:
        print("concrete not found (set BNN_ZOO_DATA): random rows of the same shape instead")
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(927, 8)), rng.normal(size=927)
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


FILES = {"boston": "bostonHousing", "power": "power-plant"}
"""UCI sets whose file has another name."""


def uci(name: str, split: int = 0) -> bz.data.Table:
    """UCI set ``name`` (boston, concrete, energy, kin8nm, power, yacht) and its standard 90/10 split, float32.

    Standardised with the training rows' statistics only: x, x_test ``[n, d]``; y, y_test ``[n]`` in units of ``y_scale``
    around ``y_mean``. Raises DataError where the file is absent (set BNN_ZOO_DATA) or has no such split.
    """
    folder = Path(os.environ.get("BNN_ZOO_DATA", SHARED)) / "uci"
    return bz.data.table(str(folder / f"{FILES.get(name, name)}.npz"), split=split)


def alternate(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Run each in turn, ``rounds`` times: ``[(wall, process) seconds per unit of work]``; a call returns its units."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            wall, process = time.perf_counter(), time.process_time()
            units = work()
            times[name].append(((time.perf_counter() - wall) / units, (time.process_time() - process) / units))
    return times


def report(times: dict[str, list[tuple[float, float]]], unit: str, ours: str, peer: str) -> float:
    """Print medians and the ratio peer / ours of CPU time; return that ratio."""
    print(f"{'':24s}{'wall':>12s}{'CPU':>12s}   per {unit}, ms, median of {len(times[ours])}")
    for name, values in times.items():
        wall, process = np.median(np.array(values), 0) * 1e3
        print(f"{name:24s}{wall:12.3f}{process:12.3f}")
    each = [p[1] / o[1] for o, p in zip(times[ours], times[peer], strict=True)]
    print(f"ratio {peer} / {ours}: {np.median(each):.2f} (CPU time; rounds {min(each):.2f} to {max(each):.2f})")
    return float(np.median(each))


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {args.device}, {torch.get_num_threads()} thread")
    return args
