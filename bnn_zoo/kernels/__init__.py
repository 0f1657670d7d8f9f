"""Transition kernels on flat positions ``[chain, dim]``. They know nothing of models, data or Pyro.

Each is a frozen dataclass of settings with ``init(position, log_joint) -> State`` and ``step(state, …) -> (State, Info)``,
all chains at once; randomness comes from a passed ``torch.Generator``. Adaptation is separate (``adaptation.py``).
"""

from .hmc import HMC
from .metric import Dense, Diagonal, Metric
from .nuts import NUTS
from .sgld import SGLD

__all__ = ["HMC", "NUTS", "SGLD", "Dense", "Diagonal", "Metric"]
