"""Arrays and torch data sets in, checked tensors and minibatches out."""

from .arrays import choose_device, tensors
from .minibatches import Minibatches, minibatches

__all__ = ["Minibatches", "choose_device", "minibatches", "tensors"]
