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
from ..density import LogJoint
from ..types import ModelError
from ._draws import blocks, put
from ._loop import Recorder
from ._rows import next_rows
from ._settings import at_least, names
from ._stochastic import StochasticWalk
from .map import MAP, Ascent


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

    def walk(self, log_joint: LogJoint, batches: Any, generator: torch.Generator) -> StochasticWalk:
        chosen = [any(fnmatchcase(site.name, pattern) for pattern in self.sites) for site in log_joint.sites]
        if not any(chosen):
            known = [site.name for site in log_joint.sites]
            raise ModelError(f"{type(self).__name__}: sites={self.sites} matches none of {known}")
        flags = [torch.full((site.size,), on) for site, on in zip(log_joint.sites, chosen, strict=True)]
        return Curved(self, log_joint, batches, generator, torch.cat(flags).nonzero()[:, 0].to(log_joint.device))

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


class Curved(Ascent):
    """The ascent, and draws around its end."""

    settings: Laplace
    kept: Recorder

    def __init__(
        self, settings: Laplace, log_joint: LogJoint, batches: Any, generator: torch.Generator, index: Tensor
    ) -> None:
        super().__init__(settings, log_joint, batches, generator)
        self.index = index

    def into(self, sites: dict[str, Tensor]) -> None:
        self.sites = sites

    def finish(self) -> dict[str, Tensor]:
        modes, stats = self.kept.result()
        self.finite(torch.isfinite(modes).all(-1).all(0))
        for chain, precision in enumerate(self._precisions(modes[:, 0])):
            root = self.settings.root(precision)
            for block in blocks(self.log_joint, self.settings.draws):
                shape = (len(block), len(self.index))
                z = torch.randn(shape, generator=self.generator, dtype=modes.dtype, device=modes.device)
                draws = modes[chain].repeat(len(block), 1)
                draws[:, self.index] += root(z)
                put(self.log_joint, self.sites, chain, block.start, draws)
        return {"lp_mode": stats["lp"].expand(-1, self.settings.draws).clone()}

    def _precisions(self, modes: Tensor) -> list[Tensor]:
        """−Hessian ``[k, k]`` of the log joint at each chain's mode, averaged over the batches of one pass."""
        total = [modes.new_zeros(len(self.index), len(self.index)) for _ in modes]
        count = 1
        if self.batches is not None:
            self.batches.restart()
            count = self.batches.size // self.batches.batch_size
        for _ in range(count):
            rows = next_rows(self.batches)
            for chain, mode in enumerate(modes):
                safe_point()
                total[chain] -= self.log_joint.hessian(mode, self.index, *(t[chain] for t in rows))
        return [each / count for each in total]
