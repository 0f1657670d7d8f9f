"""Neal's regression posterior as his program samples it, in many chains: precisions by Gibbs, weights by long trajectories.

``python tests/benchmarks/neal_modes.py --out FOLDER [--iterations 4000]`` goes on from what FOLDER holds and prints what is
there. Data: ``fbm/`` in the folder that ``BNN_ZOO_DATA`` names.

One iteration draws the four precisions from their gamma laws given the weights and residuals, then moves the weights by
2,000 leapfrogs at these precisions; step sizes of single weights follow from the precisions alone (Neal 1996, section 3.5),
so that the move is reversible. Half of the chains start as FBM does, at weights 0, and half where the scale of the output
weights is held at e² for the first iterations: the chains have forgotten their start where both halves give the same share
of large output weights. The standard error of that share is taken over chains.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _common import SHARED
from torch import Tensor

import bnn_zoo as bz
from bnn_zoo.predict.prediction import predict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import fbm

CHAINS, LEAPFROGS, HELD, DROPPED, EVERY = 64, 2_000, 200, 500, 4
ALPHA, WIDTH = 0.5, 0.05
SCALE, BETWEEN = "2.weight_scale", 1.5
"""φ is the logarithm of this site; output weights count as large where it is above e^1.5 = 4.5."""
AT = torch.tensor([[-3.0], [0.0], [3.0]])
PUBLISHED = (
    "first 0.854 ± 0.019, 0.01033, (−1.34, 1.39, 2.27); second 0.805 ± 0.027, 0.02016, (−2.19, 1.38, 3.02); "
    "both 0.830 ± 0.022, 0.01873, (−2.10, 1.38, 2.96)"
)
GROUPS = {"0.weight": "0.weight_scale", "0.bias": "0.bias_scale", "2.weight": SCALE}


@dataclass
class Posterior:
    """The log joint with its coordinates by name; logarithms of scales lie where the scales' sites do."""

    log_joint: bz.LogJoint
    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        ends = np.cumsum([0, *(site.size for site in self.log_joint.sites)])
        named = zip((site.name for site in self.log_joint.sites), ends[:-1], ends[1:], strict=True)
        self.at = {name: slice(int(a), int(b)) for name, a, b in named}

    def residuals(self, q: Tensor) -> Tensor:
        w, b, v, c = (q[:, self.at[name]] for name in ("0.weight", "0.bias", "2.weight", "2.bias"))
        return self.y - (torch.tanh(w[:, None] * self.x[:, None] + b[:, None]) @ v[..., None]).squeeze(-1) - c

    def draw_precisions(self, q: Tensor, held: Tensor, generator: torch.Generator) -> Tensor:
        """τ | values ~ Gamma(α/2 + n/2, α width²/2 + Σ values²/2), as −½ log τ; ``held`` keep theirs."""
        q = q.clone()
        for name, scale in (*GROUPS.items(), ("noise", "noise")):
            values = self.residuals(q) if name == "noise" else q[:, self.at[name]]
            width2 = WIDTH**2 / (8 if name == "2.weight" else 1)
            rate = 0.5 * ALPHA * width2 + 0.5 * values.double().square().sum(-1)
            shape = torch.full_like(rate, 0.5 * (ALPHA + values.shape[1]))
            new = -0.5 * (torch._standard_gamma(shape, generator=generator) / rate).log().float()
            old = q[:, self.at[scale]].squeeze(-1)
            q[:, self.at[scale]] = torch.where(held, old, new)[:, None] if name == "2.weight" else new[:, None]
        return q

    def steps(self, q: Tensor) -> Tensor:
        """Step sizes ``[chain, dim]`` from the precisions: 1/√(prior's + n τ_noise slope²), 0 for scales."""
        tau = {name: (-2.0 * q[:, self.at[scale]]).exp() for name, scale in GROUPS.items()}
        rows = len(self.y) * (-2.0 * q[:, self.at["noise"]]).exp()
        size = torch.zeros_like(q)
        size[:, self.at["0.weight"]] = (tau["0.weight"] + rows * self.x.square().mean() / tau["2.weight"]).rsqrt()
        size[:, self.at["0.bias"]] = (tau["0.bias"] + rows / tau["2.weight"]).rsqrt()
        size[:, self.at["2.weight"]] = (tau["2.weight"] + rows).rsqrt()
        size[:, self.at["2.bias"]] = (1e-4 + rows).rsqrt()
        return size

    def move(self, q: Tensor, epsilon: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """2,000 leapfrogs of all chains and a Metropolis step. Rates of acceptance ``[chain]`` too."""
        size = epsilon[:, None] * self.steps(q)
        p = torch.randn(q.shape, generator=generator)
        value, gradient = self.log_joint(q)
        start = value - 0.5 * self.kinetic(p)
        new, half = q.clone(), 0.5 * size
        p = p + half * gradient
        for i in range(LEAPFROGS):
            new = torch.addcmul(new, size, p)
            value, gradient = self.log_joint(new)
            p = torch.addcmul(p, size if i < LEAPFROGS - 1 else half, gradient)
        change = (value - 0.5 * self.kinetic(p) - start).nan_to_num(nan=-math.inf)
        yes = torch.rand(len(q), generator=generator).log() < change
        return torch.where(yes[:, None], new, q), change.clamp(max=0).exp()

    def kinetic(self, p: Tensor) -> Tensor:
        """Σ p² of the coordinates that move."""
        still = [self.at[name].start for name in (*GROUPS.values(), "noise")]
        return p.square().sum(-1) - p[:, still].square().sum(-1)


def start(posterior: Posterior) -> tuple[Tensor, Tensor]:
    """Weights 0 and scales e^½, as FBM; the second half with output weights of the scale e² and both kinds at random."""
    q = torch.zeros(CHAINS, posterior.log_joint.dim)
    for name in (*GROUPS.values(), "noise"):
        q[:, posterior.at[name]] = math.log(0.5)
    held = torch.arange(CHAINS) >= CHAINS // 2
    q[held, posterior.at[SCALE]] = 2.0
    return q, held


def run(posterior: Posterior, path: Path, iterations: int) -> None:
    """``iterations`` in all; what is there is read, what is made is kept each 200 iterations."""
    generator = torch.Generator()
    q, half = start(posterior)
    kept: list[Tensor] = []
    epsilon, rates, seconds, first = torch.full((CHAINS,), 0.2), [], 0.0, 0
    generator.manual_seed(0)
    if path.exists():
        state = torch.load(path, weights_only=True)
        q, kept, epsilon, seconds, first = state["q"], list(state["kept"]), state["epsilon"], state["seconds"], state["i"]
        generator.set_state(state["generator"])
    for i in range(first, iterations):
        begin = time.perf_counter()
        q = posterior.draw_precisions(q, half & (i < HELD), generator)
        jittered = epsilon * (0.2 * torch.randn(CHAINS, generator=generator)).exp()
        q, rate = posterior.move(q, jittered, generator)
        if i < DROPPED:
            epsilon = epsilon * (0.5 * (rate.mean() - 0.8) * (1 + i / 20) ** -0.5).exp()
        seconds += time.perf_counter() - begin
        rates.append(rate.mean())
        if i % EVERY == 0:
            kept.append(q)
        if (i + 1) % 200 == 0:
            state = {"q": q, "kept": torch.stack(kept), "epsilon": epsilon, "seconds": seconds, "i": i + 1}
            torch.save({**state, "generator": generator.get_state()}, path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
            phi = q[:, posterior.at[SCALE]].squeeze(-1)
            large = [float((part > BETWEEN).float().mean()) for part in (phi[~half], phi[half])]
            rate = torch.stack(rates[-200:]).mean()
            print(f"{i + 1} {seconds:.0f} s, acceptance {rate:.2f}, ε {epsilon[0]:.3f}, large now {large}", flush=True)


def describe(q: Tensor, log_joint: bz.LogJoint, model: bz.BNN, test: tuple[Tensor, Tensor]) -> np.ndarray:
    """Of draws ``[draw, dim]``: test log density, squared error, mean of f at −3, 0, 3."""
    sites = {name: value.unsqueeze(0) for name, value in log_joint.constrain(q).items()}
    on_test, at = predict(model, sites, (test[0],)), predict(model, sites, (AT,))
    log_prob = torch.logsumexp(on_test.log_likelihood(test[1])[0].double(), 0) - math.log(len(q))
    f, there = (part.f[0].squeeze(-1).double().mean(0).numpy() for part in (on_test, at))
    return np.array([float(log_prob.mean()), ((f - test[1].numpy()) ** 2).mean(), *there])


def of_chains(q: Tensor, posterior: Posterior, model: bz.BNN) -> tuple[np.ndarray, np.ndarray]:
    """Mean of f at −3, 0, 3 over all draws ``[draw, chain, dim]``, and its standard error over chains."""
    sites = {name: value.transpose(0, 1) for name, value in posterior.log_joint.constrain(q).items()}
    each = predict(model, sites, (AT,)).f.squeeze(-1).double().mean(1).numpy()
    return each.mean(0), each.std(0, ddof=1) / math.sqrt(len(each))


def report(posterior: Posterior, model: bz.BNN, test: tuple[Tensor, Tensor], path: Path) -> None:
    """Share of large output weights by start and half of the run; answers of small, large and all; cost."""
    state = torch.load(path, weights_only=True)
    q, per = state["kept"][DROPPED // EVERY :], 1e6 * state["seconds"] / (state["i"] * CHAINS * LEAPFROGS)
    print(f"{state['i']} iterations of {LEAPFROGS} leapfrogs in {CHAINS} chains, {per:.1f} µs a leapfrog (FBM: 8.5)")
    phi, middle = q[:, :, posterior.at[SCALE]].squeeze(-1), CHAINS // 2
    for name, part in (("all", phi), ("first half", phi[: len(phi) // 2]), ("second half", phi[len(phi) // 2 :])):
        each = (part > BETWEEN).double().mean(0).numpy()
        halves = [f"{e.mean():.3f} ± {e.std(ddof=1) / math.sqrt(len(e)):.3f}" for e in (each[:middle], each[middle:], each)]
        print(f"share of large output weights, {name}: from 0 {halves[0]}, from large {halves[1]}, together {halves[2]}")
    side = torch.where(phi < BETWEEN - 0.5, -1, torch.where(phi > BETWEEN + 0.5, 1, 0)).numpy().T
    moves = [int((np.diff(column[column != 0]) != 0).sum()) for column in side]
    print(f"moves between small and large (by e^±½ around 4.5) a chain: {np.mean(moves):.1f}, least {min(moves)}")
    flat, level = q.flatten(0, 1), phi.flatten()
    generator = torch.Generator().manual_seed(0)
    for name, inside in (("small", level < BETWEEN), ("large", level >= BETWEEN), ("all", level < math.inf)):
        rows = inside.nonzero().squeeze(-1)
        rows = rows[torch.randperm(len(rows), generator=generator)[:4_000]]
        if not len(rows):
            continue
        answers = describe(flat[rows], posterior.log_joint, model, test)
        print(f"{name:7s} test log density {answers[0]:.3f}, MSE {answers[1]:.5f}, f {np.round(answers[2:], 2)}")
    mean, error = of_chains(q, posterior, model)
    print(f"f of all draws {np.round(mean, 3)} ± {np.round(error, 3)}")
    print(f"published: {PUBLISHED}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=4_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    train, test = fbm.load(Path(os.environ.get("BNN_ZOO_DATA", SHARED)), fbm.CASES["fbm-regression"])
    model = bz.zoo.neal_regression()
    posterior = Posterior(bz.LogJoint(model, train, compile=True), train[0].squeeze(-1), train[1])
    run(posterior, args.out / "neal_modes.pt", args.iterations)
    report(posterior, model, test, args.out / "neal_modes.pt")


if __name__ == "__main__":
    main()
