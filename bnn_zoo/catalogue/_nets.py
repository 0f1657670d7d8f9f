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
        "replace_batchnorm",
        "transform",
        "replace_batchnorm",
        "a copy of any network with GroupNorm or FRN for BatchNorm",
        2018,
        "Wu & He",
        "bz.nets.replace_batchnorm(torchvision.models.resnet18())",
    )
