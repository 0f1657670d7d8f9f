"""Pyro messengers that run a model at a given point of its latent space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ..bijections import bijection
from ..laws import unvalidated
from .sites import is_latent


class Unconstrained(Messenger):
    """Runs a model at an unconstrained point u: latent sites get T(u), and the log-Jacobians add up."""

    trace: Any

    def __init__(self, parts: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.parts = parts
        self.reached: dict[str, Tensor] = {}
        self.log_jacobian: Any = 0.0

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg) and not msg["done"]:
            transform, u = bijection(msg["fn"].support), self.parts[msg["name"]]
            value = transform(u)
            self.log_jacobian = self.log_jacobian + transform.log_abs_det_jacobian(u, value).sum()
            self.reached[msg["name"]] = msg["value"] = value
            msg["done"] = True


class Hold(Messenger):
    """Runs a model with latent sites held at given values. Unlike ``poutine.condition``, they do not become observed."""

    trace: Any

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and is_latent(msg) and not msg["done"]:
            msg["value"], msg["done"] = self.values[msg["name"]], True


class Constrained(Hold):
    """Holds the sites and collects their unconstrained counterparts."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(values)
        self.reached: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg) and not msg["done"]:
            super()._pyro_sample(msg)
            self.reached[msg["name"]] = bijection(msg["fn"].support).inv(msg["value"])


class Progress(Messenger):
    """Remembers the site that a run reached last, for error messages."""

    def __init__(self) -> None:
        super().__init__()
        self.last = "the start of the model"

    def _pyro_sample(self, msg: Any) -> None:
        self.last = f"site {msg['name']!r}"


class Unvalidated(Messenger):
    """Turns off the validation of laws that were made outside the model with it on, as ``PyroSample(Normal(0., 1.))`` is.

    Checks read numbers (is every value in the support?), which a traced graph cannot, and which the first look at the model
    has made already. The caller's laws stay as they are.
    """

    def _pyro_sample(self, msg: Any) -> None:
        msg["fn"] = unvalidated(msg["fn"])


class Subsampled(Messenger):
    """Gives plates that draw rows of their own always the same rows: ``{plate: indices}``."""

    def __init__(self, rows: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.rows = rows

    def _pyro_sample(self, msg: Any) -> None:
        if site_is_subsample(msg) and msg["name"] in self.rows and not msg["done"]:
            msg["value"], msg["done"] = self.rows[msg["name"]], True
