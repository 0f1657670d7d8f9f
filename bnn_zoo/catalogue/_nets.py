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
