"""Arrays, tables and torch data sets in, checked tensors and minibatches out."""

from .arrays import choose_device, tensors
from .minibatches import Minibatches, minibatches
from .tabular import EMBEDDED, Table, table

__all__ = ["EMBEDDED", "Minibatches", "Table", "choose_device", "minibatches", "table", "tensors"]
