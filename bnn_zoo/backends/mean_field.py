"""Mean-field variational inference as a backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..guides import MeanFieldNormal
from ..types import Model
from ._settings import guide_family
from ._variational import Variational


@dataclass(frozen=True, kw_only=True)
class MeanField(Variational):
    """Maximise ``ELBO = E_q[log p(y | z)] − KL(q ‖ prior)`` over independent normals, then draw from q. Adam.

    The KL is analytic where torch knows it. With ``handler=handlers.LocalReparameterization`` noise enters at the layers'
    outputs (Kingma et al. 2015); with the prior ``LogUniform`` that is sparse variational dropout (Molchanov et al. 2017).
    Settings: those of ``Variational``, and

    guide
        a family: ``guide(model, init_loc_fn=…)``. Any of Pyro's autoguides will do, with
        ``functools.partial(AutoLowRankMultivariateNormal, rank=10)`` for settings.
    """

    guide: Callable[..., Any] = MeanFieldNormal

    def __post_init__(self) -> None:
        super().__post_init__()
        guide_family(self, "guide")

    def family(self, model: Model, init_loc_fn: Callable[[Any], Tensor]) -> Any:
        return self.guide(model, init_loc_fn=init_loc_fn)
