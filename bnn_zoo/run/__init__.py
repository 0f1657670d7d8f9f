"""A run is data: programs, whose state is a tree of tensors and numbers, the one loop that drives them, and the folder with
settings, states and draws that outlives the process which wrote them.

Nothing here knows a sampler or a model.
"""

from .checkpoint import Folder
from .keeper import Checkpoint, Keeper, Part
from .lockstep import Lockstep
from .loop import Clock, Run, drive
from .program import Program, Record
from .recorder import Recorder
from .status import status
from .store import Store, Variable
from .stored import Stored

__all__ = [
    "Checkpoint",
    "Clock",
    "Folder",
    "Keeper",
    "Lockstep",
    "Part",
    "Program",
    "Record",
    "Recorder",
    "Run",
    "Store",
    "Stored",
    "Variable",
    "drive",
    "status",
]
