"""The no-U-turn sampler as a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .. import kernels
from ._hamiltonian import Hamiltonian
from ._settings import at_least

OPENING = 6
"""Depth of trees before the first mass matrix: a wrong one makes them as long as they may be."""


@dataclass(frozen=True, kw_only=True)
class NUTS(Hamiltonian):
    """No-U-turn sampler: exact up to Monte Carlo error, full batch, all chains in lockstep. Hoffman & Gelman 2014.

    The other settings are those of ``Hamiltonian``.

    max_tree_depth
        at most 2^depth − 1 leapfrog steps a draw.
    warmup_tree_depth
        the same for warm-up; None takes ``max_tree_depth``. Tuning needs no turned trajectories, and in a network's warm-up
        they are the longest: 6 or 7 spare most of its gradients where chains start near the posterior (``init=Adam()``).
    """

    between: ClassVar[int] = 75
    max_tree_depth: int = 10
    warmup_tree_depth: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, max_tree_depth=1, warmup_tree_depth=1)

    @property
    def kernel(self) -> kernels.NUTS:
        return kernels.NUTS(self.max_tree_depth)

    @property
    def warmup_kernel(self) -> kernels.NUTS:
        return kernels.NUTS(self.warmup_tree_depth or self.max_tree_depth)

    @property
    def opening_kernel(self) -> kernels.NUTS:
        return kernels.NUTS(min(OPENING, self.warmup_kernel.max_tree_depth))
