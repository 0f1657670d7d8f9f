"""The same arithmetic whatever the caller has set: threads and the default dtype are part of what a seed means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor

from .._ranks import ONE, Ranks
from ..density import LogJoint

SMALL = 10_000_000
"""Products of weights and inputs in a step, below which more threads than one gain little: a millisecond or two."""


def cores() -> int:
    """CPU cores that the operating system lets this process use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call
        return os.cpu_count() or 1


def threads_for(log_joint: LogJoint, chains: int, ranks: Ranks = ONE) -> int:
    """Torch threads for a step of so many chains: one where it is small, else all cores, or this rank's share of them.

    A function of the model, the data and the machine alone. Sums depend on the number of threads in their last bits, and
    chains that differ in a last bit are soon different chains.
    """
    rows = max((t.shape[0] * prod(t.shape[2:]) for t in log_joint.args if isinstance(t, Tensor) and t.dim()), default=1)
    return 1 if rows * log_joint.dim * chains <= SMALL else max(cores() // ranks.beside, 1)


@contextmanager
def steady(log_joint: LogJoint, chains: int, given: int | None = None) -> Iterator[int]:
    """Inside, torch's number of threads (on a CPU) and default dtype are those of this problem; both are put back after.

    Gives the number of threads, which is ``given`` where that is settled, as for a run that goes on.
    """
    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    threads = (given or threads_for(log_joint, chains)) if log_joint.device.type == "cpu" else before
    try:
        torch.set_default_dtype(log_joint.dtype)
        torch.set_num_threads(threads)
        yield threads
    finally:
        torch.set_num_threads(before)
        torch.set_default_dtype(dtype)
