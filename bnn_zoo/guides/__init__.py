"""Variational families as Pyro guides: ``family(model, *, init_loc_fn) -> guide``, as Pyro's own autoguides."""

from .mean_field import MeanFieldNormal

__all__ = ["MeanFieldNormal"]
