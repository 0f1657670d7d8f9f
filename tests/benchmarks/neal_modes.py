"""How much of Neal's regression posterior has large output weights, where free chains hardly go: windows along their scale.

``python tests/benchmarks/neal_modes.py --out FOLDER [--seeds 0 1 2]`` runs what FOLDER lacks and prints what is there. Data:
``fbm/`` in the folder that ``BNN_ZOO_DATA`` names.

Free chains on ``bz.zoo.neal_regression`` move slowly along φ, the logarithm of the scale of the output weights. Here chains
of HMC on its log joint are held in windows, by −κ/2 (φ − c)² added to it, and neighbouring windows exchange states by
Metropolis steps (umbrella sampling: Torrie & Valleau 1977; replica exchange: Sugita, Kitao & Okamoto 2000). All draws
together are weighed back to the posterior (MBAR: Shirts & Chodera 2008). Starts come from the default ``BestOf`` and are
drawn to their windows during the first third of the warm-up. Several sets of windows run side by side without meeting; each
is weighed alone, and their spread is the standard error that is printed. The share of each half of the run shows whether it
has settled.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _common import SHARED
from torch import Tensor

import bnn_zoo as bz
from bnn_zoo import kernels
from bnn_zoo._random import OneStream
from bnn_zoo.kernels.hmc import Dynamics, HMCState
from bnn_zoo.kernels.metric import Diagonal
from bnn_zoo.predict.prediction import predict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import fbm

CENTRES = torch.arange(-0.5, 2.8, 0.4)
STIFFNESS = 10.0
SETS, LEAPFROGS = 6, 60
SCALE, BETWEEN = "2.weight_scale", 1.5
"""φ is the logarithm of this site; output weights count as large where it is above e^1.5 = 4.5."""
AT = torch.tensor([[-3.0], [0.0], [3.0]])
PUBLISHED = (
    "first 0.854 ± 0.019, 0.01033, (−1.34, 1.39, 2.27); second 0.805 ± 0.027, 0.02016, (−2.19, 1.38, 3.02); "
    "both 0.830 ± 0.022, 0.01873, (−2.10, 1.38, 2.96)"
)


class Windows:
    """The log joint of chains ``[window · set]``, each with its window's −κ/2 (φ − c)²; ``share`` of the way to c."""

    def __init__(self, log_joint: bz.LogJoint, sets: int) -> None:
        before = [site.name for site in log_joint.sites].index(SCALE)
        self.log_joint, self.sets = log_joint, sets
        self.index = sum(site.size for site in log_joint.sites[:before])  # φ is a coordinate: the scale's bijection is exp
        self.target = CENTRES.repeat_interleave(sets)
        self.centre = self.target

    def draw_to(self, start: Tensor, share: float) -> None:
        self.centre = torch.lerp(start, self.target, min(share, 1.0))

    def bias(self, phi: Tensor) -> Tensor:
        return -0.5 * STIFFNESS * (phi - self.centre).square()

    def __call__(self, q: Tensor) -> tuple[Tensor, Tensor]:
        return self.add(q, *self.log_joint(q), 1.0)

    def add(self, q: Tensor, value: Tensor, gradient: Tensor, sign: float) -> tuple[Tensor, Tensor]:
        """Value and gradient with the window's term, or (sign −1) without it."""
        phi, gradient = q[:, self.index], gradient.clone()
        gradient[:, self.index] -= sign * STIFFNESS * (phi - self.centre)
        return value + sign * self.bias(phi), gradient


class Tuning:
    """Step size and mass of each window, shared by its sets: acceptance 0.8, variance = sd(draws) / sd(gradients)."""

    def __init__(self, dim: int) -> None:
        self.step, self.variance = torch.full((len(CENTRES),), 0.02), torch.ones(len(CENTRES), dim)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def update(self, i: int, state: HMCState, rate: Tensor) -> None:
        self.step = self.step * torch.exp(0.3 * (_by_window(rate).mean(1) - 0.8) * (1 + i / 20) ** -0.5)
        self.seen.append((_by_window(state.position), _by_window(state.gradient)))

    def rescale(self) -> None:
        position, gradient = (
            torch.stack(part).double().transpose(0, 1).flatten(1, 2) for part in zip(*self.seen, strict=True)
        )
        new = (position.std(1) / gradient.square().mean(1).sqrt()).float()
        self.step = self.step * (self.variance / new).log().mean(1).mul(0.5).exp()
        self.variance, self.seen = new, []


def _by_window(values: Tensor) -> Tensor:
    return values.reshape(len(CENTRES), -1, *values.shape[1:])


def exchange(i: int, state: HMCState, windows: Windows, generator: torch.Generator) -> tuple[HMCState, Tensor]:
    """Neighbours of even and odd windows by turns: accept with exp of the change of the terms. The new order too."""
    order = _by_window(torch.arange(len(state.position)))
    phi, centre = _by_window(state.position[:, windows.index]), CENTRES.unsqueeze(1)
    for k in range(i % 2, len(CENTRES) - 1, 2):
        log_ratio = STIFFNESS * (centre[k + 1] - centre[k]) * (phi[k] - phi[k + 1])
        yes = torch.rand(windows.sets, generator=generator).log() < log_ratio
        order[k], order[k + 1] = torch.where(yes, order[k + 1], order[k]), torch.where(yes, order[k], order[k + 1])
    flat = order.flatten()
    value, gradient = windows.add(*state, -1.0)
    q = state.position[flat]
    return HMCState(q, *windows.add(q, value[flat], gradient[flat], 1.0)), flat


def sample(log_joint: bz.LogJoint, warmup: int, rounds: int, thinning: int, seed: int) -> dict[str, np.ndarray]:
    """Positions ``[draw, window, set, dim]``, where each chain was ``[round, window, set]``, and what it cost."""
    generator = torch.Generator().manual_seed(seed)
    windows = Windows(log_joint, SETS)
    position = bz.density.BestOf()(log_joint, len(windows.target), generator)
    start, tuning, random = position[:, windows.index], Tuning(log_joint.dim), OneStream(generator, like=position)
    windows.draw_to(start, 0.0)
    state = HMCState(position, *windows(position))
    who, kept, path, begin = torch.arange(len(position)), [], [], time.perf_counter()
    for i in range(warmup + rounds):
        if i <= warmup // 3:
            windows.draw_to(start, 3 * i / warmup)
            state = HMCState(state.position, *windows(state.position))
        length = 0.999 * LEAPFROGS * float(tuning.step.mean())
        metric = Diagonal(tuning.variance.repeat_interleave(SETS, 0))
        kernel = replace(kernels.HMC(), trajectory_length=length, jitter=0.3)
        state, info = kernel.step(windows, state, Dynamics(metric, tuning.step.repeat_interleave(SETS)), random)
        if i < warmup:
            tuning.update(i, state, info.acceptance_rate)
            if i in [warmup * share // 10 for share in (4, 5, 7, 9)]:
                tuning.rescale()
        if i > warmup // 3:
            state, order = exchange(i, state, windows, generator)
            who = who[order]
        if i == warmup:
            begin, before = time.perf_counter(), log_joint.evaluations
        if i >= warmup:
            path.append(_by_window(who).clone())
            if i % thinning == 0:
                kept.append(_by_window(state.position))
    seconds = time.perf_counter() - begin
    count = log_joint.evaluations - before
    return {"q": torch.stack(kept).numpy(), "path": torch.stack(path).numpy(), "cost": np.array([seconds, count])}


# ---------------------------------------------------------------------------------------------------- weighing


def weights(phi: np.ndarray) -> np.ndarray:
    """Weights of draws ``[draw, window]`` of φ that turn them into draws of the posterior; they sum to one. MBAR, eq. 11."""
    terms = -0.5 * STIFFNESS * (phi[..., None] - CENTRES.double().numpy()) ** 2  # [draw, window drawn in, window]
    free = np.zeros(len(CENTRES))
    for _ in range(20_000):
        log_w = -np.log(np.exp(terms + free).mean(-1))
        new = -np.log(np.exp(terms + log_w[..., None]).mean((0, 1)))
        new -= new[0]
        if np.abs(new - free).max() < 1e-9:
            break
        free = new
    w = np.exp(log_w - log_w.max())
    return w / w.sum()


def describe(q: Tensor, w: np.ndarray, log_joint: bz.LogJoint, model: bz.BNN, test: tuple[Tensor, Tensor]) -> np.ndarray:
    """Of weighted draws ``[draw, dim]``: test log density, squared error, mean of f at −3, 0, 3."""
    sites = {name: value.unsqueeze(0) for name, value in log_joint.constrain(q).items()}
    on_test, at = predict(model, sites, (test[0],)), predict(model, sites, (AT,))
    log_prob = on_test.log_likelihood(test[1])[0].double().numpy()
    f, there = (np.average(part.f[0].squeeze(-1).double().numpy(), 0, w) for part in (on_test, at))
    return np.array([np.log(w @ np.exp(log_prob)).mean(), ((f - test[1].numpy()) ** 2).mean(), *there])


def report(log_joint: bz.LogJoint, model: bz.BNN, test: tuple[Tensor, Tensor], paths: list[Path]) -> None:
    """The share of large output weights and the answers of small and large ones and of all, beside the published ones."""
    files = [np.load(path) for path in paths]
    index = Windows(log_joint, SETS).index
    sets = [file["q"][:, :, s] for file in files for s in range(SETS)]
    each = [weights(q[..., index].astype(float)) for q in sets]
    phi, w = np.concatenate([q[..., index].ravel() for q in sets]), np.concatenate([w.ravel() for w in each]) / len(sets)
    moves = sum(crossings(file["path"]) for file in files)
    seconds, count = sum(file["cost"] for file in files)
    print(
        f"{len(sets)} sets of {len(CENTRES)} windows, {count:.3g} gradients, {1e6 * seconds / count:.1f} µs each (FBM: 8.5)"
    )
    print(f"chains that went from the windows of one end to those of the other: {moves}")
    half = len(sets[0]) // 2
    for name, part in (("all", slice(None)), ("first half", slice(half)), ("second half", slice(half, None))):
        shares = np.array([_share(q[part, :, index].astype(float)) for q in sets])
        print(
            f"share of large output weights, {name}: {shares.mean():.3f} ± {_error(shares):.3f}; sets {np.round(shares, 2)}"
        )
    flat = torch.tensor(np.concatenate([q.reshape(-1, q.shape[-1]) for q in sets]))
    generator = np.random.default_rng(0)
    for name, inside in (("small", phi < BETWEEN), ("large", phi >= BETWEEN), ("all", phi < np.inf)):
        part = w * inside / (w * inside).sum()
        rows = generator.choice(len(w), 2_000, p=part)
        answers = describe(flat[rows], np.full(len(rows), 1 / len(rows)), log_joint, model, test)
        print(f"{name:7s} test log density {answers[0]:.3f}, MSE {answers[1]:.5f}, f {np.round(answers[2:], 2)}")
    print(f"published: {PUBLISHED}")


def crossings(path: np.ndarray) -> int:
    """How often a chain went from the lowest three windows to the highest two, or back."""
    where = np.empty((len(path), path[0].size), int)
    np.put_along_axis(where, path.reshape(len(path), -1), np.repeat(np.arange(len(CENTRES)), path.shape[2])[None], 1)
    sign = np.where(where <= 2, -1, np.where(where >= 7, 1, 0))
    return sum(int((np.diff(column[column != 0]) != 0).sum()) for column in sign.T)


def _share(phi: np.ndarray) -> float:
    return float(weights(phi)[phi > BETWEEN].sum())


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--warmup", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=6_000)
    parser.add_argument("--thinning", type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    train, test = fbm.load(Path(os.environ.get("BNN_ZOO_DATA", SHARED)), fbm.CASES["fbm-regression"])
    model = bz.zoo.neal_regression()
    for seed in args.seeds:
        path = args.out / f"neal_modes_{seed}.npz"
        if not path.exists():
            made = sample(bz.LogJoint(model, train, compile=True), args.warmup, args.rounds, args.thinning, seed)
            np.savez(path, **made)
    report(bz.LogJoint(model, train), model, test, sorted(args.out.glob("neal_modes_*.npz")))


if __name__ == "__main__":
    main()
