"""Laplace approximations as backends: a normal law at the mode with the curvature found there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from .._interrupt import safe_point
from .._ranks import ALONE, Pool
from ..density import LogJoint
from ..run import Run
from ..types import ModelError
from ._diffusion import Diffusion
from ._draws import Place, blocks
from ._rows import rows_at
from ._settings import at_least, names
from ._sinks import before_lost
from .map import MAP

LOOKED, FAR, NATS = 20, 2.0, 5.0
"""So many draws of each chain are looked at. Their median distance below the mode, in nats, may be ``FAR`` times that of a
normal posterior and ``NATS``."""


@dataclass(frozen=True, kw_only=True)
class Laplace(MAP):
    """Draws of ``N(θ*, H⁻¹)``: θ* the mode that ``MAP`` finds, H the Hessian of −log joint there. MacKay 1992.

    The Hessian is exact, over all rows (with minibatches over one pass, but for rows that fill no batch), in the coordinates
    that ``sites`` names; the others stay at the mode. So ``sites=("4.*",)`` is last-layer Laplace for a network whose last
    layer is ``"4"``. Its cost grows as coordinates², so it is for some thousands at most. Settings: those of ``MAP``, and

    draws
        draws from each chain's law.
    sites
        patterns as of ``fnmatch``.
    """

    draws: int = 500
    sites: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, draws=1)
        names(self, "sites")

    def program(self, log_joint: LogJoint, pool: Pool = ALONE) -> Diffusion:
        self.coordinates(log_joint)
        return super().program(log_joint, pool)

    def coordinates(self, log_joint: LogJoint) -> Tensor:
        """Numbers of the coordinates that ``sites`` names. Raises ModelError where there are none."""
        chosen = [any(fnmatchcase(site.name, pattern) for pattern in self.sites) for site in log_joint.sites]
        if not any(chosen):
            known = [site.name for site in log_joint.sites]
            raise ModelError(f"{type(self).__name__}: sites={self.sites} matches none of {known}")
        flags = [torch.full((site.size,), on) for site, on in zip(log_joint.sites, chosen, strict=True)]
        return torch.cat(flags).nonzero()[:, 0].to(log_joint.device)

    def finished(self, run: Run, where: Place, batches: Any) -> tuple[dict[str, Tensor], list[str]]:
        modes, stats = run.sink.result()
        doubts = self.lost(before_lost(torch.isfinite(modes).all(-1).all(0)), modes.shape[1])
        index = self.coordinates(run.target)
        looked = []
        for chain, precision in enumerate(self._precisions(run, batches, modes[:, 0], index)):
            root = self.root(precision)
            for block in blocks(run.target, self.draws):
                draws = modes[chain].repeat(len(block), 1)
                draws[:, index] += root(run.random.own(chain, len(block), len(index)))
                where.put(chain, block.start, run.target.constrain(draws))
                if block.start == 0:
                    looked.append(draws[:LOOKED].clone())
        doubts += self._far_below(run, rows_at(batches, self.steps), modes[:, 0], torch.stack(looked), len(index))
        return {"lp_mode": stats["lp"].expand(-1, self.draws).clone()}, doubts

    def _precisions(self, run: Run, batches: Any, modes: Tensor, index: Tensor) -> list[Tensor]:
        """−Hessian ``[k, k]`` of the log joint at each chain's mode, averaged over the batches of one pass."""
        total = [modes.new_zeros(len(index), len(index)) for _ in modes]
        count = 1 if batches is None else batches.size // batches.batch_size
        first = -(-self.steps // count) * count  # of an epoch that no step has seen
        for step in range(first, first + count):
            rows = rows_at(batches, step)
            for chain, mode in enumerate(modes):
                safe_point()
                total[chain] -= run.target.hessian(mode, index, *(t[chain] for t in rows))
        return [each / count for each in total]

    def _far_below(self, run: Run, rows: tuple[Tensor, ...], modes: Tensor, draws: Tensor, count: int) -> list[str]:
        """A doubt where ``draws [chain, draw, dim]`` lie far below the modes. With k coordinates of a normal posterior the
        distance is half of a χ² of k degrees of freedom: k/2 nats on average."""
        safe_point()
        top = run.target(modes, *rows)[0]
        falls = torch.stack([top - run.target(draws[:, i], *rows)[0] for i in range(draws.shape[1])])
        fall = float(falls.nan_to_num(nan=torch.inf).median())
        if fall <= FAR * count / 2 + NATS:
            return []
        return [
            f"its draws lie {fall:.3g} nats below the mode, where those of a normal posterior of {count} coordinates lie "
            f"{count / 2:.4g} below: this posterior is not normal so far out, and the spread of predictions is not to be "
            "trusted: take fewer sites, such as the last layer's, or a sampler"
        ]

    @property
    def drawn(self) -> int:
        return self.draws

    def root(self, precision: Tensor) -> Callable[[Tensor], Tensor]:
        """``z → H^(−½) z`` for H ``[k, k]`` and z ``[draw, k]``."""
        values, vectors = torch.linalg.eigh(precision)
        scale = _positive(values, type(self).__name__).rsqrt()
        return lambda z: (z * scale) @ vectors.mT


@dataclass(frozen=True, kw_only=True)
class DiagonalLaplace(Laplace):
    """As ``Laplace``, with the diagonal of the Hessian alone: independent normals, too narrow where weights correlate.

    Denker & LeCun 1990.
    """

    def root(self, precision: Tensor) -> Callable[[Tensor], Tensor]:
        scale = _positive(precision.diagonal(), type(self).__name__).rsqrt()
        return lambda z: z * scale


def _positive(values: Tensor, name: str) -> Tensor:
    """Curvatures, those that are not positive set to a millionth of the largest, with a warning."""
    floor = 1e-6 * float(values.abs().max().clamp(min=1e-30))
    low = int((values < floor).sum())
    if low:
        warnings.warn(
            f"{name}: in {low} of {len(values)} directions the log joint does not curve down, so the point is no mode there "
            "and the law is far too wide: make more steps, or take fewer sites",
            stacklevel=6,
        )
    return values.clamp(min=floor)
