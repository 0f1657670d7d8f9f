"""Effects on a model: context managers around guide and model, one to a file, never a patch of torch."""

from .fixed import Fixed
from .flipout import Flipout
from .local_reparameterization import LocalReparameterization
from .non_centred import NonCentred
from .power import Power
from .row_masks import RowMasks

__all__ = ["Fixed", "Flipout", "LocalReparameterization", "NonCentred", "Power", "RowMasks"]
