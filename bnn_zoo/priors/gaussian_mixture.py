"""Soft weight sharing: a mixture of normals that is learnt together with the weights."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from ..laws import NormalMixture, check_scale, moved
from .gamma_precision import GammaPrecision
from .normal import Normal
from .scale import Law, at_weight


@dataclass(frozen=True)
class GaussianMixture:
    """``w_i ~ Σ_j π_j N(μ_j, σ_j²)`` with weights, means and widths that are learnt. Nowlan & Hinton 1992.

    Weights gather around a few values, so that the network can be stored in few bits (Ullrich, Meeds & Welling 2017). Sites
    of a weight: ``"<weight>_share"`` π, ``"<weight>_location"`` μ and ``"<weight>_scale"`` σ, each ``[components]``. One
    mixture for each tensor; ``Shared(GaussianMixture(…), "net")`` is one for all of them, as in both papers. Components can
    change places without changing the law, so compare chains by what the network computes.

    components
        how many are learnt; with one there is no π.
    location
        prior of the means, or the means themselves: a number or a tensor ``[components]``.
    scale
        prior of the widths, or the widths themselves. ``Gamma(a, rate b)`` on the precision, as Ullrich et al. have it, is
        ``GammaPrecision((b / a) ** 0.5, alpha=2 * a)``. It should keep widths away from 0, where a component that sits on
        one weight has unbounded density.
    concentration
        of the Dirichlet prior of π.
    zero
        share of one more component, of mean 0, for the weights that can be pruned: a number (0.999 in Ullrich et al.), or a
        prior on (0, 1) such as ``dist.Beta(99.0, 1.0)``, sampled at ``"<weight>_zero_share"``; None for no such component.
        The others have π times what is left.
    zero_scale
        its width, as ``scale``, sampled at ``"<weight>_zero_scale"``; None: as ``scale`` says.
    """

    components: int = 4
    location: Any = Normal(1.0)
    scale: Any = GammaPrecision(0.1, alpha=4.0)
    concentration: float = 1.0
    zero: Any = None
    zero_scale: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.components, int) or isinstance(self.components, bool) or self.components < 1:
            raise ValueError(f"GaussianMixture: components must be a whole number, 1 or more, got {self.components!r}")
        check_scale(self.concentration, "GaussianMixture: concentration")
        for name in ("location", "scale", "zero_scale"):
            _check(getattr(self, name), name, self.components)
        if isinstance(self.zero, Real) and not 0 < float(self.zero) < 1:
            raise ValueError(f"GaussianMixture: zero must be between 0 and 1, got {self.zero}")
        if self.zero is not None and not isinstance(self.zero, Real | Distribution):
            raise TypeError(
                f"GaussianMixture: zero must be a number or a law such as dist.Beta(99.0, 1.0); got {self.zero!r}"
            )
        if self.zero is None and self.zero_scale is not None:
            raise ValueError(
                "GaussianMixture: zero_scale is the width of the component at 0: give its share too, zero=0.999"
            )

    def __call__(self, name: str, shape: torch.Size) -> Any:
        location = _values(self.location, f"{name}_location", shape, self.components)
        scale = _values(self.scale, f"{name}_scale", shape, self.components)
        share = torch.ones_like(scale)
        if self.components > 1:
            concentration = torch.full_like(share, self.concentration)
            share = pyro.sample(f"{name}_share", dist.Dirichlet(concentration))
        if self.zero is not None:
            wide = self.scale if self.zero_scale is None else self.zero_scale
            zero = _values(self.zero, f"{name}_zero_share", shape, 1)
            share = torch.cat([zero, (1.0 - zero) * share])
            location = torch.cat([torch.zeros_like(zero), location])
            scale = torch.cat([_values(wide, f"{name}_zero_scale", shape, 1), scale])
        return NormalMixture(share, location, scale, shape)


def _check(value: Any, name: str, count: int) -> None:
    """Raise TypeError or ValueError unless ``value`` is a prior, a law, a number or so many of them."""
    what = f"GaussianMixture: {name}"
    if isinstance(value, Tensor) and value.shape not in ((), (count,)):
        raise ValueError(f"{what} must be one number or {count}, one for each component, got shape {tuple(value.shape)}")
    if isinstance(value, Real | Tensor):
        if name != "location":
            check_scale(value, what)
    elif not isinstance(value, Law | Distribution) and not (value is None and name == "zero_scale"):
        raise TypeError(
            f"{what} must be a prior such as Normal(1.0) or HalfNormal(0.1), a number or a tensor; got {value!r}"
        )


def _values(given: Any, site: str, shape: torch.Size, count: int) -> Tensor:
    """What was given as ``[count]`` numbers; from a prior they are sampled at ``site``."""
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    if isinstance(given, Law):
        return pyro.sample(site, at_weight(given, shape)(site, torch.Size([count])))
    if isinstance(given, Distribution):
        law = moved(given, device, dtype)
        return pyro.sample(site, law.expand(torch.Size([count])).to_event(1))
    return torch.as_tensor(given, dtype=dtype, device=device).expand(count)
