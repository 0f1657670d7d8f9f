"""Variational families as Pyro guides: ``family(model, *, init_loc_fn) -> guide``, as Pyro's own autoguides."""

from .dropout import MCDropout
from .mean_field import MeanFieldNormal
from .scaled import ScaledNormal

__all__ = ["MCDropout", "MeanFieldNormal", "ScaledNormal"]
