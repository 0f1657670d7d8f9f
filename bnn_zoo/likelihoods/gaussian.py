"""Gaussian noise of one size."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from .._scope import factory
from ..laws import check_scale, moved
from ..types import ModelError, Prior
from ._output import need, normal


@dataclass(frozen=True)
class Gaussian:
    """``y ~ N(f, scale²)``, y real, ``[n]`` for one output, ``[n, k]`` for k.

    ``scale``: a number fixes the noise's standard deviation (in y's units), a tensor ``[k]`` that of each column; a Pyro
    distribution or a prior infers it at the site ``"noise"``. Tensors and distributions follow the device and dtype of f.
    The default, half-normal with scale 1, suits standardised targets.
    """

    scale: float | Tensor | Distribution | Prior = field(default_factory=lambda: dist.HalfNormal(1.0))

    def __post_init__(self) -> None:
        if isinstance(self.scale, Real | Tensor):
            check_scale(self.scale, "Gaussian: the noise scale")
        elif isinstance(self.scale, type) or not (isinstance(self.scale, Distribution) or callable(self.scale)):
            raise TypeError(
                "Gaussian: the noise scale must be a number, a distribution or a prior such as HalfNormal(1.0), or a tensor"
                f"; got {self.scale!r}"
            )

    def __call__(self, f: Tensor) -> Any:
        need("Gaussian", f, f.shape[-1] >= 1, "one output a target column")
        if isinstance(self.scale, Real):
            return normal(f, float(self.scale))
        if isinstance(self.scale, Tensor):
            return normal(f, self._for_columns(self.scale, f).to(f))
        given: Any = self.scale
        with factory(f.device, f.dtype):
            law = given if isinstance(given, Distribution) else given("noise", torch.Size())
            if not isinstance(law, Distribution):
                raise ModelError(f"Gaussian: the prior of the noise must give a distribution, got {type(law).__name__}")
            law = moved(law, f.device, f.dtype)
            return normal(f, self._for_columns(pyro.sample("noise", law.to_event(len(law.batch_shape))), f))

    @staticmethod
    def _for_columns(scale: Tensor, f: Tensor) -> Tensor:
        """The scale, if it is one number or one a column."""
        if scale.shape not in ((), (f.shape[-1],)):
            raise ModelError(
                f"Gaussian: the noise scale must be one number, or one for each of the {f.shape[-1]} columns of y, got "
                f"{tuple(scale.shape)}"
            )
        return scale
