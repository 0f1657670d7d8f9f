"""Rows of the catalogue: networks."""

from __future__ import annotations

from collections.abc import Iterator

from ._entry import Entry


def rows() -> Iterator[Entry]:
    yield Entry(
        "MLP",
        "net",
        "mlp",
        "fully connected, any depth, with an activation after each hidden layer",
        tiny="bz.nets.MLP(3, 2, hidden=(4,))",
        facts={"x": (3,)},
    )
    yield Entry(
        "ResidualMLP",
        "net",
        "residual_mlp",
        "fully connected, with shortcuts around pairs of layers",
        2016,
        "He, Zhang, Ren & Sun",
        "bz.nets.ResidualMLP(3, 2, width=4, blocks=1)",
        {"x": (3,)},
    )
    yield Entry(
        "InputSkipMLP",
        "net",
        "input_skip_mlp",
        "fully connected, each layer sees the input as well",
        1996,
        "Neal",
        "bz.nets.InputSkipMLP(3, 2, hidden=(4, 4))",
        {"x": (3,)},
    )
    yield Entry(
        "LeNet5",
        "net",
        "lenet5",
        "two 5×5 convolutions with pooling, then 120-84-classes",
        1998,
        "LeCun, Bottou, Bengio & Haffner",
        "bz.nets.LeNet5()",
        {"x": (1, 28, 28)},
    )
    yield Entry(
        "LeNet5Caffe",
        "net",
        "lenet5_caffe",
        "wider LeNet-5 of MC dropout and compression: 20-50-500",
        2014,
        "Jia et al.",
        "bz.nets.LeNet5Caffe()",
        {"x": (1, 28, 28)},
    )
    yield Entry(
        "LeNet300100",
        "net",
        "lenet300100",
        "784-300-100-classes, of compression",
        1998,
        "LeCun, Bottou, Bengio & Haffner",
        "bz.nets.LeNet300100()",
        {"x": (1, 28, 28)},
    )
    yield Entry(
        "NIN",
        "net",
        "nin",
        "a small network at each pixel after each of three convolutions",
        2014,
        "Lin, Chen & Yan",
        "bz.nets.NIN(width=6)",
        {"x": (3, 12, 12)},
    )
    yield Entry(
        "AllCNNC",
        "net",
        "all_cnn_c",
        "nine convolutions and nothing else",
        2015,
        "Springenberg, Dosovitskiy, Brox & Riedmiller",
        "bz.nets.AllCNNC(width=3)",
        {"x": (3, 12, 12)},
    )
    yield Entry(
        "VGG",
        "net",
        "vgg",
        "3×3 convolutions in five stages, with FRN, GroupNorm or none",
        2015,
        "Simonyan & Zisserman",
        "bz.nets.VGG(11, width=2)",
        {"x": (3, 32, 32)},
    )
    yield Entry(
        "ResNetFRN",
        "net",
        "resnet_frn",
        "residual network without BatchNorm, of the HMC references",
        2021,
        "Izmailov, Vikram, Hoffman & Wilson",
        "bz.nets.ResNetFRN(8, width=2)",
        {"x": (3, 32, 32)},
    )
    yield Entry(
        "WideResNet",
        "net",
        "wide_resnet",
        "residual network of few layers and many channels",
        2016,
        "Zagoruyko & Komodakis",
        "bz.nets.WideResNet(10, widen=1)",
        {"x": (3, 16, 16)},
    )
    yield Entry(
        "ResNet8",
        "net",
        "resnet8",
        "small residual network without normalisation",
        2021,
        "Ober & Aitchison",
        "bz.nets.ResNet8(width=3)",
        {"x": (3, 12, 12)},
    )
    yield Entry(
        "SegNetBasic",
        "net",
        "segnet_basic",
        "a class for each pixel, by pooling that remembers where",
        2017,
        "Badrinarayanan, Kendall & Cipolla",
        "bz.nets.SegNetBasic(width=3, kernel_size=3)",
        {"x": (3, 18, 21)},
    )
    yield Entry(
        "UNet",
        "net",
        "unet",
        "a class for each pixel, with shortcuts between equal sizes",
        2015,
        "Ronneberger, Fischer & Brox",
        "bz.nets.UNet(width=2, depth=2)",
        {"x": (3, 9, 10)},
    )
    yield Entry(
        "ConvNet1d",
        "net",
        "conv_net_1d",
        "convolutions along time",
        2017,
        "Wang, Yan & Oates",
        "bz.nets.ConvNet1d(2, 3, widths=(4,), kernel_sizes=(4,))",
        {"x": (2, 9)},
    )
    yield Entry(
        "LSTM",
        "net",
        "lstm",
        "series to outputs, torch's LSTM in plain operations",
        1997,
        "Hochreiter & Schmidhuber",
        "bz.nets.LSTM(2, 3, width=4)",
        {"x": (5, 2)},
    )
    yield Entry(
        "GRU",
        "net",
        "gru",
        "series to outputs, torch's GRU in plain operations",
        2014,
        "Cho et al.",
        "bz.nets.GRU(2, 3, width=4)",
        {"x": (5, 2)},
    )
    yield Entry(
        "CNNLSTM",
        "net",
        "cnn_lstm",
        "text to classes: embedding, convolution, LSTM",
        2020,
        "Wenzel et al.",
        "bz.nets.CNNLSTM(vocabulary=9, width=3, embedding=4, channels=3)",
        {"x": (16,), "below": 9},
    )
    yield Entry(
        "Transformer",
        "net",
        "transformer",
        "small encoder for series or text, attention in plain operations",
        2017,
        "Vaswani et al.",
        "bz.nets.Transformer(2, 3, width=4, longest=6)",
        {"x": (5, 2)},
    )
    yield Entry(
        "Z2CNN",
        "net",
        "z2cnn",
        "seven convolutions, what P4CNN is measured against",
        2016,
        "Cohen & Welling",
        "bz.nets.Z2CNN(width=3)",
        {"x": (1, 28, 28)},
    )
    yield Entry(
        "P4CNN",
        "net",
        "p4cnn",
        "classes that do not change when the image is turned by 90°",
        2016,
        "Cohen & Welling",
        "bz.nets.P4CNN(width=2)",
        {"x": (1, 28, 28)},
    )
    yield Entry(
        "P4AllCNNC",
        "net",
        "p4_all_cnn_c",
        "All-CNN-C on rotations",
        2016,
        "Cohen & Welling",
        "bz.nets.P4AllCNNC(width=2)",
        {"x": (3, 8, 8)},
    )
    yield Entry(
        "P4MResNet44",
        "net",
        "p4m_resnet44",
        "residual network on rotations and reflections",
        2016,
        "Cohen & Welling",
        "bz.nets.P4MResNet44(blocks=1, widths=(1, 2, 2))",
        {"x": (3, 8, 8)},
    )
    yield Entry(
        "FilterResponseNorm",
        "net",
        "filter_response_norm",
        "a layer: normalises each channel of each image for itself",
        2020,
        "Singh & Krishnan",
        "bz.nets.FilterResponseNorm(4)",
        {"x": (4, 5, 5)},
    )
    yield Entry(
        "P4ConvZ2",
        "net",
        "p4_conv",
        "a layer: images to maps on rotations",
        2016,
        "Cohen & Welling",
        "bz.nets.P4ConvZ2(2, 3)",
        {"x": (2, 6, 5)},
    )
    yield Entry(
        "P4ConvP4",
        "net",
        "p4_conv",
        "a layer: maps on rotations to maps on rotations",
        2016,
        "Cohen & Welling",
        "bz.nets.P4ConvP4(2, 3)",
        {"x": (2, 4, 6, 5)},
    )
    yield Entry(
        "P4MConvZ2",
        "net",
        "p4m_conv",
        "a layer: images to maps on rotations and reflections",
        2016,
        "Cohen & Welling",
        "bz.nets.P4MConvZ2(2, 3)",
        {"x": (2, 6, 5)},
    )
    yield Entry(
        "P4MConvP4M",
        "net",
        "p4m_conv",
        "a layer: maps on rotations and reflections to such maps",
        2016,
        "Cohen & Welling",
        "bz.nets.P4MConvP4M(2, 3)",
        {"x": (2, 8, 6, 5)},
    )
    yield Entry(
        "replace_batchnorm",
        "transform",
        "replace_batchnorm",
        "a copy of any network with GroupNorm or FRN for BatchNorm",
        2018,
        "Wu & He",
        "bz.nets.replace_batchnorm(torchvision.models.resnet18())",
    )
