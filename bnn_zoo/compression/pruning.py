"""Which weights go: rules that say it from the mean and the spread of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..types import ModelError
from .draws import Moments

Rule = Callable[[Moments], Mapping[str, Tensor]]
"""From moments to ``{weight: boolean tensor, True where it stays}``; names that are left out stay whole."""


@dataclass(frozen=True)
class SignalToNoise:
    """Weights whose ``|mean|/sd`` is below ``weights`` go, and groups of which ``‖mean‖/‖sd‖`` is below ``units``.

    Groups are the weights out of one unit, or channel, into a layer (a column), and those into one unit of it (a row), as
    far as these weights are left by then: rows and columns are looked at by turns until none goes. Biases stay, unless
    their unit goes. A threshold of 0.22 is ``log α > 3`` of Molchanov, Ashukha & Vetrov 2017, with α = sd²/mean²; groups:
    Louizos, Ullrich & Welling 2017, section 4.

    Raises ModelError for a posterior of one draw, which has no spread.
    """

    weights: float = 0.22
    units: float = 0.0

    def __post_init__(self) -> None:
        for name in ("weights", "units"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0.0 <= value < float("inf")):
                raise ValueError(f"SignalToNoise: {name} must be a number, 0 or more, got {value!r}")

    def __call__(self, moments: Moments) -> dict[str, Tensor]:
        need_spread(moments, "SignalToNoise compares means with their spread")
        masks = {n: ratio >= self.weights for n, ratio in moments.signal_to_noise().items() if ratio.dim() >= 2}
        return {n: self._groups(moments.mean[n], moments.sd[n], mask) for n, mask in masks.items()}

    def _groups(self, mean: Tensor, sd: Tensor, mask: Tensor) -> Tensor:
        if not self.units:
            return mask
        signal, noise = (t.double().square().flatten(2).sum(-1) if t.dim() > 2 else t.double().square() for t in (mean, sd))
        stays = torch.ones_like(signal, dtype=torch.bool)
        while True:
            before = stays
            for axis in (0, 1):
                weak = (signal * stays).sum(axis) < self.units**2 * (noise * stays).sum(axis)
                stays = stays & ~weak.unsqueeze(axis)
            if bool((stays == before).all()):
                return mask & stays.reshape(*stays.shape, *[1] * (mask.dim() - 2))


@dataclass(frozen=True)
class Magnitude:
    """The ``share`` of the weights of the largest ``|mean|`` stays, of all layers together. Han et al. 2015.

    ``each`` takes that share of each layer instead. Biases stay, unless their unit goes. Needs no spread: for ``MAP``.
    """

    share: float = 0.1
    each: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.share, int | float) and 0.0 < self.share <= 1.0):
            raise ValueError(f"Magnitude: share is that of the weights that stay, in (0, 1], got {self.share!r}")

    def __call__(self, moments: Moments) -> dict[str, Tensor]:
        sizes = {n: t.abs() for n, t in moments.mean.items() if t.dim() >= 2}
        if self.each:
            return {n: t >= self._least(t.flatten()) for n, t in sizes.items()}
        least = self._least(torch.cat([t.flatten() for t in sizes.values()]))
        return {n: t >= least for n, t in sizes.items()}

    def _least(self, sizes: Tensor) -> Tensor:
        count = max(1, round(self.share * len(sizes)))
        return sizes.kthvalue(len(sizes) - count + 1).values


def everything(moments: Moments) -> dict[str, Tensor]:
    """No weight goes but those that do nothing already."""
    return {}


def need_spread(moments: Moments, why: str) -> None:
    if moments.draws < 2:
        raise ModelError(
            f"{why}, and a posterior of one draw has none: draw more, or compress it by size, "
            "prune=Magnitude(0.1), code=Levels(6)"
        )


def checked(masks: Mapping[str, Tensor], moments: Moments) -> dict[str, Tensor]:
    """All masks, those that the rule left out too. Raises ModelError for names and shapes that are none of the network's."""
    for name, mask in masks.items():
        expected: Any = tuple(moments.mean[name].shape) if name in moments.mean else "no such weight"
        if name not in moments.mean or tuple(mask.shape) != expected or mask.dtype != torch.bool:
            raise ModelError(
                f"prune gave {name!r} a {mask.dtype} mask of shape {tuple(mask.shape)}, expected {expected}, bool"
            )
    return {n: masks.get(n, torch.ones_like(t, dtype=torch.bool)) for n, t in moments.mean.items()}
