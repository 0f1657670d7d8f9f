"""Variational families as Pyro guides: ``family(model, *, init_loc_fn) -> guide``, as Pyro's own autoguides."""

from .dropout import MCDropout
from .mean_field import MeanFieldNormal

__all__ = ["MCDropout", "MeanFieldNormal"]
