"""The data of a Pyro model, its observed sites: which hold data, and everything about their values that must be refused."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor

from ..laws import unvalidated
from ..types import DataError
from .outside import kind, outside


def is_data(msg: Any) -> bool:
    """An observed site that holds data: neither ``pyro.factor`` nor ``pyro.deterministic``."""
    if msg["type"] != "sample" or not msg["is_observed"]:
        return False
    fn = msg["fn"]
    while isinstance(fn, dist.MaskedDistribution | torch.distributions.Independent):
        fn = fn.base_dist
    return not isinstance(fn, dist.Unit | dist.Delta)


def check_arguments(args: tuple[Any, ...], data: list[Any]) -> None:
    """No argument may hold infinite values, or NaN, unless the model makes a density of it: missing values that are sites of
    their own and are filled in, or of which the observed site's law knows."""
    for i, t in enumerate(args):
        if not isinstance(t, Tensor) or not t.is_floating_point() or bool(torch.isfinite(t).all()):
            continue
        if bool(torch.isinf(t).any()) or not all(_has_density(msg) for msg in data):
            bad = int((~torch.isfinite(t)).sum())
            raise DataError(f"argument {i} of the data has {bad} NaN or infinite values of {t.numel()}: drop or impute them")


def check_observed(name: str, msg: Any) -> None:
    """Observed values must be there, fit the law's shape and lie in its support.

    A law that gives NaN a density, such as ``NanMaskedNormal``, is one for missing values.
    """
    fn, value = msg["fn"], msg["value"]
    if value.numel() == 0:
        raise DataError(f"site {name!r} has no observed rows: got shape {tuple(value.shape)}")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        if msg["mask"] is None and not bool(torch.isinf(value).any()) and _has_density(msg):
            return
        bad = int((~torch.isfinite(value)).sum())
        hidden = " (a mask hides them from the value, not from the gradient: put any number there)"
        hidden = "" if msg["mask"] is None else hidden
        raise DataError(
            f"site {name!r}: {bad} of {value.numel()} observed values are NaN or infinite{hidden}; drop or impute them, or "
            "use a law for missing values such as NanMaskedNormal"
        )
    try:
        fits = torch.broadcast_shapes(fn.shape(), value.shape) == value.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise DataError(f"site {name!r}: expected observed values of shape {tuple(fn.shape())}, got {tuple(value.shape)}")
    if not bool(fn.support.check(value).all()):
        raise DataError(outside(name, kind(fn), fn.support, value))


def _has_density(msg: Any) -> bool:
    """Whether a site's values, missing ones included, have a density."""
    with pyro.validation_enabled(False), torch.no_grad():
        return not bool(torch.isnan(unvalidated(msg["fn"]).log_prob(msg["value"])).any())
