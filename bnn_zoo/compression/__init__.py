"""Posterior to small network: which weights can go, how many bits the rest deserve, and files of that size.

The function is ``bnn_zoo.compress``; here are its rules and what it makes.
"""

from .compressed import Compressed, compress, load
from .draws import Moments, moments
from .pruning import Magnitude, SignalToNoise, everything
from .quantise import Clusters, FixedPoint, Levels
from .report import Report, Score

__all__ = [
    "Clusters",
    "Compressed",
    "FixedPoint",
    "Levels",
    "Magnitude",
    "Moments",
    "Report",
    "Score",
    "SignalToNoise",
    "compress",
    "everything",
    "load",
    "moments",
]
