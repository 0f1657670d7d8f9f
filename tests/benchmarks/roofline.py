"""How near a leapfrog step of HMC is to the arithmetic that it cannot do without: products and tanh alone, and ours.

``python tests/benchmarks/roofline.py [--nets mlp50 mlp200] [--chains 4 16 64] [--rounds 3]``

The gradient of a network with one hidden layer of tanh units needs four products (inputs times weights, units times output
weights, and the same two with the residuals for the gradient) and one tanh of every unit in every row. The roofline is the
time of these five calls in float32, by PyTorch's own routines into memory that is already there, one process for each core,
chain after chain or all chains of a process in one call, whichever is faster. Ours is a leapfrog of HMC through ``fit`` with
everything around it, as in ``gradients.py``, compiled. µs of a chain: wall time over (chains × steps); rounds alternate,
medians. A ratio of 1 would be a step that costs nothing besides.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from gradients import CORES, NETS, OURS, data_of, our_figure
from torch import Tensor

SECONDS = 3.0
"""That one figure of the roofline takes."""
COMPILED = ("compiled", "compiled, 1 process")


def arithmetic(x: Tensor, hidden: int, chains: int) -> list[Tensor]:
    """Memory of the five calls for so many chains: weights, output weights, residuals, units, and what the products give."""
    rows, inputs = x.shape
    shapes = [(inputs, hidden), (hidden, 1), (rows, 1), (rows, hidden), (rows, 1), (inputs, hidden), (hidden, 1)]
    return [torch.randn(chains, *shape) for shape in shapes]


def step(x: Tensor, memory: list[Tensor]) -> None:
    """The five calls for the chains of ``memory``."""
    w, v, residuals, units, output, dw, dv = memory
    many = x.expand(len(w), *x.shape)
    torch.bmm(many, w, out=units)
    torch.tanh(units, out=units)
    torch.bmm(units, v, out=output)
    torch.bmm(many.mT, units, out=dw)
    torch.bmm(units.mT, residuals, out=dv)


def steps_a_second(file: Path, hidden: int, chains: int, together: bool) -> float:
    """Of single chains, in this process with one thread."""
    torch.set_num_threads(1)
    x = torch.tensor(np.load(file)["x"])
    memory = arithmetic(x, hidden, chains)
    parts = [memory] if together else [[m[i : i + 1] for m in memory] for i in range(chains)]
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for part in parts:
            step(x, part)
        done += chains
    return done / (time.perf_counter() - begin)


def roofline(file: Path, hidden: int, chains: int, pool: ProcessPoolExecutor) -> float:
    """µs of a chain's step."""
    rates = []
    for together in (False, True):
        work = partial(steps_a_second, file, hidden, max(1, chains // CORES), together)
        rates.append(sum(f.result() for f in [pool.submit(work) for _ in range(CORES)]))
    return 1e6 / max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["mlp50", "mlp200"], choices=[net for net in NETS if net != "lenet5"])
    parser.add_argument("--chains", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {CORES} cores")
    print(f"{'':10s}{'chains':>8s}{'products and tanh':>20s}{'ours':>10s}{'ours / products and tanh':>27s}")
    with ProcessPoolExecutor(CORES, get_context("spawn")) as pool, tempfile.TemporaryDirectory() as folder:
        for net in args.nets:
            file, hidden = data_of(net, Path(folder)), int(NETS[net][0][-1])
            for chains in args.chains:
                bare, ours = [], []
                for _ in range(args.rounds):
                    bare.append(roofline(file, hidden, chains, pool))
                    ours.append(min(our_figure(net, file, chains, OURS[how], "cpu") for how in COMPILED))
                a, b = float(np.median(bare)), float(np.median(ours))
                print(f"{net:10s}{chains:>8d}{a:>20.1f}{b:>10.1f}{b / a:>27.2f}", flush=True)


if __name__ == "__main__":
    main()
