"""Some densities of a model to a power: tempered likelihoods, priors and posteriors."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from .._names import fits, need_matches, need_patterns
from ..laws import check_scale
from ..types import Handled, Model


class Power(Handled):
    """``model`` with the density of each site, latent or observed, that fits one of ``patterns`` to the power ``power``.

    ``Power(model, "y", power=1/T)`` has the posterior ``∝ p(y | w)^(1/T) p(w)``: under variational inference the
    divergence from the prior has the weight T, as many papers of compression train; with T = 0.003 ``MAP`` finds the mode of
    soft weight sharing as Ullrich, Meeds & Welling 2017, eq. 4, have it with their τ. ``"*"`` raises the whole joint to the
    power, as the ``temperature`` 1/power of the samplers does. It is no longer Bayes' theorem: error bars are those of that
    law and of no model. What is predicted given the weights is as before.

    Raises ModelError when run for a pattern that no site fits, with the nearest names.
    """

    def __init__(self, model: Model, *patterns: str, power: float) -> None:
        super().__init__(model)
        need_patterns("Power", patterns)
        check_scale(power, "Power: power")
        self.patterns, self.power = patterns, float(power)

    def effect(self) -> AbstractContextManager[Any]:
        return _Raising(self.patterns, self.power)

    def __repr__(self) -> str:
        return f"Power({self.model!r}, {', '.join(map(repr, self.patterns))}, power={self.power})"


class _Raising(Messenger):
    def __init__(self, patterns: tuple[str, ...], power: float) -> None:
        super().__init__()
        self.patterns, self.power = patterns, power
        self.seen: list[str] = []

    def __exit__(self, *error: Any) -> Any:
        if error[0] is None:
            need_matches("Power", self.patterns, self.seen)
        return super().__exit__(*error)

    def _pyro_sample(self, msg: Any) -> None:
        if site_is_subsample(msg):
            return
        self.seen.append(msg["name"])
        if fits(msg["name"], self.patterns):
            msg["scale"] = msg["scale"] * self.power
