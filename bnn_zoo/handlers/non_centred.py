"""Non-centred forms of hierarchical models, without a change to the model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Independent

from .._names import fits, need_matches, need_patterns
from ..laws import GeneralisedNormal, KroneckerNormal, RootInverseGamma
from ..types import Handled, Model, ModelError

SIMPLE = (dist.Normal, dist.Laplace, dist.Cauchy, dist.StudentT, dist.HalfNormal, dist.HalfCauchy, GeneralisedNormal)
"""Laws of ``loc + scale z`` (loc 0 where they have none), z of the same law with loc 0 and scale 1."""


class NonCentred(Handled):
    """``model`` whose sites that fit one of ``patterns`` are written ``w = loc + scale · z``, z of the standard law.

    The same law of w and of the data in other coordinates: sampled are the sites ``"<w>_decentered"`` of z, and w is a
    deterministic site under its own name, in draws' exports and predictions as before. Where data say little of w, a scale
    and the weights that it scales form a funnel, in which step sizes fail (Neal 2003, section 8); z and the scale do not.
    Where data say much, the centred form is the better one. Papaspiliopoulos, Roberts & Sköld 2007; Betancourt & Girolami
    2015.

    ``NonCentred(model, "*.weight")`` for any prior whose law of the weights is Normal, Laplace, Student's t, Cauchy, or
    generalised, spatial or matrix normal (the horseshoes too), and for scales that are half-normal, half-Cauchy or
    ``GammaPrecision``. For other Pyro models the names of their sites.

    Raises ModelError when run for a pattern that no latent site fits, with the nearest names, and for a site of another law.
    What holds w (``handlers.Fixed``, ``poutine.condition``) goes inside: ``NonCentred(Fixed(model, …), …)``.
    """

    def __init__(self, model: Model, *patterns: str) -> None:
        super().__init__(model)
        need_patterns("NonCentred", patterns)
        self.patterns = patterns

    def effect(self) -> AbstractContextManager[Any]:
        return _NonCentring(self.patterns)

    def __repr__(self) -> str:
        return f"NonCentred({self.model!r}, {', '.join(map(repr, self.patterns))})"


class _NonCentring(Messenger):
    def __init__(self, patterns: tuple[str, ...]) -> None:
        super().__init__()
        self.patterns = patterns
        self.seen: list[str] = []
        self.standard: set[str] = set()
        self.values: dict[str, Tensor] = {}

    def __exit__(self, *error: Any) -> Any:
        if error[0] is None:
            need_matches("NonCentred", self.patterns, self.seen)
        return super().__exit__(*error)

    def _pyro_sample(self, msg: Any) -> None:
        name, law = msg["name"], msg["fn"]
        if msg["is_observed"] or site_is_subsample(msg) or name in self.standard:
            return
        self.seen.append(name)
        if not fits(name, self.patterns):
            return
        inner = f"{name}_decentered"
        self.standard.add(inner)
        base = law
        while isinstance(base, Independent):
            base = base.base_dist
        standard, loc, scale = _standard(name, base)
        z = pyro.sample(inner, standard.to_event(law.event_dim - standard.event_dim))
        value = self.values[name] = loc + scale * z
        msg["fn"], msg["value"], msg["is_observed"] = dist.Delta(value, event_dim=law.event_dim).mask(False), value, True

    def _pyro_post_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name in self.values and msg["is_observed"] and msg["value"] is not self.values[name]:
            raise ModelError(
                f"site {name!r} is non-centred, and given a value from outside, which says nothing to {name}_decentered: "
                "hold it inside, NonCentred(poutine.condition(model, …), …) or NonCentred(Fixed(model, …), …)"
            )


def _standard(name: str, law: Any) -> tuple[Any, Any, Tensor]:
    """The standard law of z, and loc and scale of ``loc + scale z``."""
    if type(law) in SIMPLE:
        parameters = {key: getattr(law, key) for key in law.arg_constraints}
        plain = {"loc": torch.zeros_like, "scale": torch.ones_like}
        fresh = {key: plain[key](value) if key in plain else value for key, value in parameters.items()}
        return type(law)(**fresh), parameters.get("loc", 0.0), parameters["scale"]
    if isinstance(law, KroneckerNormal):
        return KroneckerNormal(torch.ones_like(law.scale), law.rows, law.columns), 0.0, law.scale
    if isinstance(law, RootInverseGamma):
        return RootInverseGamma(law.concentration, torch.ones_like(law.rate)), 0.0, law.rate.sqrt()
    known = ", ".join(kind.__name__ for kind in SIMPLE)
    raise ModelError(
        f"NonCentred: site {name!r} has the law {type(law).__name__}, which is not known as loc + scale · z; known are "
        f"{known}, KroneckerNormal and RootInverseGamma: name other sites, such as '*.weight'"
    )
