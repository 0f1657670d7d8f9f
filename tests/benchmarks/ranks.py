"""Rows over ranks: gradients a second of LeNet-5 with one and with two, what an all-reduce costs, many ranks on paper.

``python tests/benchmarks/ranks.py [--rounds 5]``; two ranks by torchrun and gloo on this machine, one thread each, which
take turns: rank 0 alone with all rows while rank 1 waits, then both with half of them each. Printed: seconds of a gradient
for several numbers of rows, medians over the rounds, and the ratio of each round; seconds of an all-reduce by size, from
which latency α and bandwidth β; from how many rows on two ranks pay; and for 8 to 1,024 ranks the model

    t(R) = a + b N / R + 2 ⌈log₂ R⌉ α + 2 (R − 1)/R · bytes / β

with a and b from one rank's times: each rank on a core of its own, all links as good as the measured one. A ring or a tree
on a real network has other α and β: put yours in.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from full_batch import lenet, mnist

from bnn_zoo._ranks import Ranks, here
from bnn_zoo.density import ChunkedLogJoint, ShardedLogJoint

ROWS, CHUNK = (250, 1_000, 4_000, 15_000, 60_000), 500
SIZES = (4, 1_000, 10_000, 61_708, 250_000, 1_000_000)
"""Numbers in float64 of an all-reduce; 61,708 are the gradient of LeNet-5 and two more."""


def seconds(work: Callable[[], object], times: int = 1) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def reduced(ranks: Ranks, rounds: int) -> dict[int, float]:
    """Median seconds of an all-reduce by size."""
    found = {}
    for size in SIZES:
        buffer = torch.zeros(size, dtype=torch.float64)
        ranks.add(buffer)
        found[size] = float(np.median([seconds(partial(ranks.add, buffer), 20) for _ in range(rounds)]))
    return found


def gradients(ranks: Ranks, rounds: int) -> dict[int, tuple[list[float], list[float]]]:
    """By number of rows the seconds of a gradient on rank 0 alone, and on all ranks, of each round."""
    x, y = mnist()
    found = {}
    for count in ROWS:
        rows, often = (x[:count], y[:count]), max(1, 2_000 // count)
        over = ShardedLogJoint(lenet(), rows, ranks=ranks, row_chunk=CHUNK)
        alone = ChunkedLogJoint(lenet(), rows, row_chunk=CHUNK) if ranks.rank == 0 else None
        at = 0.05 * torch.sin(torch.arange(over.dim, dtype=torch.float32))[None]
        over(at)
        if alone:
            alone(at)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            ranks.wait()
            if alone:
                times[0].append(seconds(partial(alone, at), often))
            ranks.wait()
            times[1].append(seconds(partial(over, at), often))
        found[count] = times
    return found


def tell(times: dict[int, tuple[list[float], list[float]]], all_reduce: dict[int, float]) -> None:
    print(f"\n{'rows':>8s}{'1 rank, s':>12s}{'2 ranks, s':>12s}{'gradients/s':>16s}{'ratio':>8s}   of each round")
    for count, (one, two) in times.items():
        each = [a / b for a, b in zip(one, two, strict=True)]
        a, b = np.median(one), np.median(two)
        rates = f"{1 / a:8.2f}{1 / b:8.2f}"
        print(f"{count:8,}{a:12.4f}{b:12.4f}{rates}{np.median(each):8.2f}   {min(each):.2f} to {max(each):.2f}")
    print(f"\n{'numbers':>10s}{'MB':>8s}{'ms':>9s}   an all-reduce of float64, 2 ranks")
    for size, took in all_reduce.items():
        print(f"{size:10,}{8e-6 * size:8.2f}{1e3 * took:9.3f}")
    alpha = all_reduce[SIZES[0]] / 2
    size = SIZES[-1]
    beta = 8 * size / max(all_reduce[size] - 2 * alpha, 1e-9)  # 2 (R − 1)/R is 1 for two ranks
    counts = np.array(list(times))
    b, a = np.polyfit(counts, [np.median(one) for one, _ in times.values()], 1, w=1 / counts)
    a = max(float(a), 0.0)
    print(f"α = {1e6 * alpha:.0f} µs, β = {beta / 1e6:.0f} MB/s; a gradient of N rows on one rank: {a:.4f} + {b:.3e} N s")
    cost = 2 * alpha + 8 * SIZES[3] / beta
    print(f"an all-reduce of LeNet-5's gradient: {1e3 * cost:.1f} ms; two ranks pay from about {2 * cost / b:,.0f} rows")
    print(f"\n{'ranks':>6s}" + "".join(f"{f'{n:,} rows, s':>20s}{'speed-up':>10s}" for n in (60_000, 1_000_000)))
    for ranks in (1, 2, 8, 32, 128, 512, 1024):
        line = f"{ranks:6,}"
        for n in (60_000, 1_000_000):
            wire = 2 * (ranks - 1) / ranks * 8 * SIZES[3] / beta + 2 * math.ceil(math.log2(ranks)) * alpha
            took = a + b * n / ranks + wire
            line += f"{took:20.4f}{(a + b * n) / took:10.1f}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if "RANK" not in os.environ:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
        sys.exit(subprocess.run([*launch, f"--rounds={args.rounds}"], env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode)
    torch.set_num_threads(1)
    ranks = here()
    all_reduce, times = reduced(ranks, args.rounds), gradients(ranks, args.rounds)
    if ranks.rank == 0:
        print(f"torch {torch.__version__}; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        tell(times, all_reduce)


if __name__ == "__main__":
    main()
