"""Effects on a model: context managers around guide and model, one to a file, never a patch of torch."""

from .flipout import Flipout
from .local_reparameterization import LocalReparameterization
from .row_masks import RowMasks

__all__ = ["Flipout", "LocalReparameterization", "RowMasks"]
