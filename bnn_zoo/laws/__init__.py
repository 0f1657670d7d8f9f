"""Probability laws that torch and Pyro lack, with their Kullback-Leibler divergences."""

from .dropped import Dropped
from .log_uniform import LogUniform

__all__ = ["Dropped", "LogUniform"]
