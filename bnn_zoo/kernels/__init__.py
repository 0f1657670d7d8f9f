"""Transition kernels on flat positions ``[chain, dim]``. They know nothing of models, data or Pyro.

Each is a frozen dataclass of settings with ``init(position, target, random) -> State`` and ``step(target, state, parameters,
random) -> (State, Info)``, all chains at once; ``target`` is the log joint, ``random`` a ``types.Randomness``. Tuning is a
kernel around a kernel: ``WindowAdaptation``, ``LengthAdaptation``, ``ScaleAdaptation``, ``WarmStart``, ``StepLimit``.
"""

from .adjusted_mclmc import AdjustedMCLMC
from .chees import ChEES
from .hmc import HMC
from .isokinetic import LEAPFROG, MCLACHLAN
from .low_rank import LowRank
from .mclmc import MCLMC
from .metric import Dense, Diagonal, Metric
from .nuts import NUTS
from .optimise import Optimise, check_coordinatewise
from .random_walk import RandomWalk
from .sghmc import SGHMC, SGNHT
from .sgld import PSGLD, SGLD

__all__ = [
    "HMC",
    "LEAPFROG",
    "MCLACHLAN",
    "MCLMC",
    "NUTS",
    "PSGLD",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "AdjustedMCLMC",
    "ChEES",
    "Dense",
    "Diagonal",
    "LowRank",
    "Metric",
    "Optimise",
    "RandomWalk",
    "check_coordinatewise",
]
