"""Architectures: plain torch modules, one a file, pure functions of (weights, x). No BatchNorm anywhere."""

from .filter_response_norm import FilterResponseNorm
from .lenet5 import LeNet5
from .lenet5_caffe import LeNet5Caffe
from .lenet300100 import LeNet300100
from .mlp import MLP
from .replace_batchnorm import replace_batchnorm
from .resnet_frn import ResNetFRN

__all__ = ["MLP", "FilterResponseNorm", "LeNet5", "LeNet5Caffe", "LeNet300100", "ResNetFRN", "replace_batchnorm"]
