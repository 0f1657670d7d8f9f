"""Probability laws that torch and Pyro lack, with their Kullback-Leibler divergences; and what all laws need."""

from .dropped import Dropped
from .log_uniform import LogUniform
from .moved import moved
from .scale import check_scale
from .unvalidated import unvalidated

__all__ = ["Dropped", "LogUniform", "check_scale", "moved", "unvalidated"]
