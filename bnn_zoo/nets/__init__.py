"""Architectures: plain torch modules, one a file, pure functions of (weights, x). No BatchNorm anywhere."""

from .all_cnn_c import AllCNNC
from .cnn_lstm import CNNLSTM
from .conv_net_1d import ConvNet1d
from .filter_response_norm import FilterResponseNorm
from .gru import GRU
from .input_skip_mlp import InputSkipMLP
from .lenet5 import LeNet5
from .lenet5_caffe import LeNet5Caffe
from .lenet300100 import LeNet300100
from .lstm import LSTM
from .mlp import MLP
from .nin import NIN
from .p4_all_cnn_c import P4AllCNNC
from .p4_conv import P4ConvP4, P4ConvZ2
from .p4cnn import P4CNN
from .p4m_conv import P4MConvP4M, P4MConvZ2
from .p4m_resnet44 import P4MResNet44
from .replace_batchnorm import replace_batchnorm
from .residual_mlp import ResidualMLP
from .resnet8 import ResNet8
from .resnet_frn import ResNetFRN
from .segnet_basic import SegNetBasic
from .transformer import Transformer
from .unet import UNet
from .vgg import VGG
from .wide_resnet import WideResNet
from .z2cnn import Z2CNN

__all__ = [
    "CNNLSTM",
    "GRU",
    "LSTM",
    "MLP",
    "NIN",
    "P4CNN",
    "VGG",
    "Z2CNN",
    "AllCNNC",
    "ConvNet1d",
    "FilterResponseNorm",
    "InputSkipMLP",
    "LeNet5",
    "LeNet5Caffe",
    "LeNet300100",
    "P4AllCNNC",
    "P4ConvP4",
    "P4ConvZ2",
    "P4MConvP4M",
    "P4MConvZ2",
    "P4MResNet44",
    "ResNet8",
    "ResNetFRN",
    "ResidualMLP",
    "SegNetBasic",
    "Transformer",
    "UNet",
    "WideResNet",
    "replace_batchnorm",
]
