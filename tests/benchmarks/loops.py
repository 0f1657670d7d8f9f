"""Time series as loops in Python: seconds to trace and to compile, and ms of a gradient, against the number of steps.

``python tests/benchmarks/loops.py --models arma garch local_level --steps 50 200 1000``; ``--fit`` runs NUTS, 4 chains,
1,000 + 1,000, instead. Float64, 4 chains, the models of ``tests/recursions.py``. Each figure in a process of its own; caches
of the compiler are empty where ``TORCHINDUCTOR_CACHE_DIR`` is.
"""

from __future__ import annotations

import argparse
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import recursions

import bnn_zoo as bz

CHAINS, REPEATS = 4, 30


def seconds(f, clock=time.perf_counter) -> float:
    begin = clock()
    f()
    return clock() - begin


def data(name: str, steps: int) -> tuple[torch.Tensor]:
    return (recursions.series(steps, noise=0.3 if name == "local_level" else 0.0),)


def gradients(name: str, steps: int) -> str:
    log_joint = bz.LogJoint(getattr(recursions, name), data(name, steps), compile=True)
    position = 0.3 * torch.sin(torch.arange(CHAINS * log_joint.dim, dtype=torch.float64)).reshape(CHAINS, -1)
    tracing = seconds(lambda: log_joint.graph(position), time.process_time)
    graph = log_joint.graph(position)
    plain = seconds(lambda: [graph(position, *log_joint.tensors) for _ in range(3)]) / 3
    log_joint.anew(10_000)
    compiling = seconds(lambda: log_joint(position))
    compiled = seconds(lambda: [log_joint(position) for _ in range(REPEATS)]) / REPEATS
    return (
        f"{len(graph.graph.nodes):6d} nodes, traced in {tracing:6.1f} s of a core, compiled in {compiling:6.1f} s; "
        f"a gradient {1e3 * plain:8.2f} ms traced, {1e3 * compiled:8.3f} ms compiled"
    )


def fit(name: str, steps: int) -> str:
    backend = bz.NUTS(chains=CHAINS, warmup=1_000, draws=1_000)
    begin = time.perf_counter()
    posterior = bz.fit(getattr(recursions, name), data(name, steps), backend, seed=0, progress=False)
    wall, attrs = time.perf_counter() - begin, posterior.draws.attrs
    ess = posterior.summary()["min_ess_bulk"].min()
    return (
        f"{wall:6.1f} s in all, {attrs['sampling_time']:.1f} s for the draws, {attrs['compile_time']:.1f} s to compile; "
        f"compiled: {attrs['compiled']}, {attrs['gradients']} gradients, smallest ESS {ess:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["arma", "garch", "local_level"])
    parser.add_argument("--steps", nargs="+", type=int, default=[50, 200, 1000])
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    for name in options.models:
        for steps in options.steps:
            with get_context("spawn").Pool(1) as pool:
                print(f"{name:>12} {steps:5d}: {pool.apply(fit if options.fit else gradients, (name, steps))}", flush=True)


if __name__ == "__main__":
    main()
