"""A run is data: its folder, with settings, states and draws that outlive the process which wrote them.

Nothing here knows a sampler or a model: ``Folder`` keeps trees, ``Store`` keeps draws.
"""

from .checkpoint import Folder
from .store import Store, Variable

__all__ = ["Folder", "Store", "Variable"]
