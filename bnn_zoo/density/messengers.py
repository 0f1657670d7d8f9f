"""Pyro messengers that run a model at a given point of its latent space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..bijections import bijection
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
