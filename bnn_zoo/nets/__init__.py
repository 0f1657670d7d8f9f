"""Architectures: plain torch modules, one a file, pure functions of (weights, x). No BatchNorm anywhere."""

from .lenet5 import LeNet5
from .mlp import MLP

__all__ = ["MLP", "LeNet5"]
