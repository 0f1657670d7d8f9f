"""HMC on LeNet5 with the log joint of all 60,000 MNIST images, in chunks of rows.

``python tests/benchmarks/full_batch.py``; three to four minutes of one free core. Printed: peak memory for three chunk
sizes (each in a process of its own), seconds per gradient for 15,000, 30,000 and 60,000 rows (linear in the rows), and for
each trajectory the energy error with the log joint summed in float64 and, for comparison, summed in float32 as Pyro and
plain accumulation do. The start is a short run of Adam, so the first trajectories are a transient; step size and metric
(the prior's variances) are fixed.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyro
import torch
from _common import SHARED
from pyro import poutine

import bnn_zoo as bz
from bnn_zoo import kernels
from bnn_zoo._random import OneStream
from bnn_zoo.density import ChunkedLogJoint, LogJoint, from_prior
from bnn_zoo.kernels.hmc import Dynamics

CHUNK, TRAJECTORIES, LEAPFROGS, STEP_SIZE = 1_000, 3, 2, 1e-3


def mnist() -> tuple[torch.Tensor, torch.Tensor]:
    """The 60,000 training images as float32 in [0, 1], and their labels; random ones of the same shape without the files."""
    raw = Path(os.environ.get("BNN_ZOO_DATA", SHARED)) / "MNIST" / "raw"
    if not raw.is_dir():
        print("MNIST not found (set BNN_ZOO_DATA): random images of the same shape instead")
        generator = torch.Generator().manual_seed(0)
        return torch.rand(60_000, 1, 28, 28, generator=generator), torch.randint(10, (60_000,), generator=generator)
    images = gzip.decompress((raw / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((raw / "train-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32)
    return torch.from_numpy(x).div_(255), torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))


def lenet() -> bz.BNN:
    return bz.BNN(bz.nets.LeNet5(), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Categorical())


def status(field: str) -> float:
    """``VmRSS`` or ``VmHWM`` (its peak) of this process in MiB. Not ``ru_maxrss``: a child starts with its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def memory(row_chunk: int) -> None:
    """Child process: one gradient of the first 20,000 rows, and what it adds to the peak of memory."""
    x, y = (t[:20_000].clone() for t in mnist())
    before = status("VmRSS")
    log_joint = ChunkedLogJoint(lenet(), (x, y), row_chunk=row_chunk)
    log_joint(torch.zeros(1, log_joint.dim))
    print(f"chunks of {row_chunk:6,d} rows: {before:5.0f} MiB before, peak {status('VmHWM'):5.0f} MiB")


def adam(model: bz.BNN, rows: tuple[torch.Tensor, torch.Tensor], steps: int = 400, batch: int = 250) -> torch.Tensor:
    """A position ``[1, dim]`` near a mode."""
    generator = torch.Generator().manual_seed(0)
    minibatch = LogJoint(model, tuple(t[:batch] for t in rows), {"size": len(rows[0])})
    position = 0.5 * from_prior(minibatch, 1, generator)
    optimiser = torch.optim.Adam([position], lr=1e-3)
    for _ in range(steps):
        index = torch.randint(len(rows[0]), (batch,), generator=generator)
        value, gradient = minibatch(position, *(t[index] for t in rows))
        position.grad = -gradient
        optimiser.step()
    print(f"after {steps} steps of Adam: log joint {float(value[0]):.6g}, estimated from {batch} rows")
    return position


def summed_in_float32(model: bz.BNN, log_joint: ChunkedLogJoint, position: torch.Tensor, rows: tuple) -> float:
    """Log joint as Pyro adds it for each chunk, and the chunks added in float32. No Jacobian: all sites are real."""
    conditioned = poutine.condition(model, {name: w[0] for name, w in log_joint.constrain(position).items()})
    total = torch.zeros(())
    with torch.no_grad(), pyro.validation_enabled(False):
        for x, y in zip(*(t.split(CHUNK) for t in rows), strict=True):
            trace = poutine.trace(conditioned).get_trace(x, y, size=len(rows[0]))
            total += trace.log_prob_sum() * (len(x) / len(rows[0]))
    return float(total)


def prior_variances(log_joint: LogJoint) -> torch.Tensor:
    """``1 / fan_in`` of each weight, ``[1, dim]``."""
    fan_in = [site.shape[1:].numel() if len(site.shape) > 1 else 1 for site in log_joint.sites]
    return torch.cat([torch.full((1, s.size), 1.0 / n) for s, n in zip(log_joint.sites, fan_in, strict=True)], 1)


def trajectories(model: bz.BNN, log_joint: ChunkedLogJoint, position: torch.Tensor, rows: tuple) -> None:
    ends: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watched(q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gradient = log_joint(q)
        ends.append((q, value))
        return value, gradient

    random = OneStream(torch.Generator().manual_seed(1), like=position)
    kernel = kernels.HMC(trajectory_length=LEAPFROGS * STEP_SIZE, jitter=0.0, max_leapfrogs=LEAPFROGS)
    parameters = Dynamics(kernels.Diagonal(prior_variances(log_joint)), torch.full((1,), STEP_SIZE))
    state = kernel.init(position, watched, random)
    coarse = summed_in_float32(model, log_joint, position, rows)
    seconds = 0.0
    for i in range(TRAJECTORIES):
        before, begin = state.log_joint, time.process_time()
        state, info = kernel.step(watched, state, parameters, random)
        seconds += time.process_time() - begin
        end, value = ends[-1]
        coarse_end = summed_in_float32(model, log_joint, end, rows)
        error = float(info.energy_error[0])
        error32 = error + float((value - before)[0]) - (coarse_end - coarse)
        accepted = torch.equal(state.position, end)
        coarse = coarse_end if accepted else coarse
        print(
            f"trajectory {i + 1}: log joint {float(value[0]):.4f}, energy error {error:+.4f}, acceptance rate "
            f"{float(info.acceptance_rate[0]):.3f}; float32 sums: {error32:+.4f}, off by {error32 - error:+.4f}"
        )
    print(f"{seconds / (TRAJECTORIES * LEAPFROGS):.1f} s of CPU per leapfrog of {log_joint.size:,} rows")


def main() -> None:
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        memory(int(sys.argv[1]))
        return
    print(f"torch {torch.__version__}, cpu, 1 thread; LeNet5, peak memory of one gradient of 20,000 rows")
    for row_chunk in (1_000, 5_000, 20_000):
        subprocess.run([sys.executable, __file__, str(row_chunk)], check=True)
    rows, model = mnist(), lenet()
    position = adam(model, rows)
    for count in (15_000, 30_000, 60_000):
        log_joint = ChunkedLogJoint(model, tuple(t[:count] for t in rows), row_chunk=CHUNK)
        log_joint(position, *(t[:CHUNK] for t in rows))  # traces the graph
        begin = time.process_time()
        log_joint(position)
        print(f"{count:6,d} rows in chunks of {CHUNK:,}: {time.process_time() - begin:5.1f} s of CPU per gradient")
    trajectories(model, log_joint, position, rows)
    print(f"peak memory of this process {status('VmHWM'):.0f} MiB, of which the images {rows[0].nbytes / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
