"""Constants that leave sums and products of a traced graph: the values stay, the passes over large tensors go."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import bnn_zoo as bz
from bnn_zoo.density import LogJoint
from bnn_zoo.density.simplify import simplify

aten = torch.ops.aten
A = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
ONE = torch.tensor(0.7, dtype=torch.float64)
MANY = torch.rand(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
WIDE = ONE.expand(4, 5)


class Passes(torch.fx.Interpreter):
    """Names of the calls that read a tensor of this size."""

    def __init__(self, graph, size):
        super().__init__(graph)
        self.names, self.size = [], size

    def call_function(self, target, args, kwargs):
        if any(isinstance(t, torch.Tensor) and t.numel() == self.size for t in args):
            self.names.append(target.__name__.split(".")[0])
        return super().call_function(target, args, kwargs)


def passes(f):
    """What ``f`` reads A with, in ``simplify``'s graph, which gives what f gives."""
    graph = simplify(make_fx(f)(A), (A,))
    torch.testing.assert_close(graph(A), f(A), rtol=1e-12, atol=1e-12)
    interpreter = Passes(graph, A.numel())
    interpreter.run(A)
    return interpreter.names


CASES = {
    "normal": (lambda a: (-a.square() / (2 * WIDE**2) - WIDE.log() - 0.9).sum((1, 2)), ["pow", "sum"]),
    "through a view": (lambda a: (a * WIDE + 2.0).reshape(3, -1).sum(1), ["reshape", "sum"]),
    "number over tensor": (lambda a: (2.0 / a).sum(), ["reciprocal", "sum"]),
    "constant minus tensor": (lambda a: (WIDE - a).sum((0, 2)), ["sum"]),
    "keeps a dimension": (lambda a: (a / WIDE).sum(1, keepdim=True), ["sum"]),
    "product": (lambda a: WIDE * (2.0 * a), ["mul"]),
}


@pytest.mark.parametrize("name", CASES)
def test_values_stay_and_passes_go(name):
    f, expected = CASES[name]
    assert passes(f) == expected


KEPT = {
    "a constant that varies": (lambda a: (a * MANY).sum((1, 2)), ["mul", "sum"]),
    "used twice": (lambda a: (lambda b: (b.sum((1, 2)), b.exp().sum()))(a + 1.0), ["add", "sum", "exp", "sum"]),
    "infinite": (lambda a: (a - torch.full((), torch.inf, dtype=a.dtype)).sum(1), ["sub", "sum"]),
    "a factor of 0": (lambda a: (a * 0.0).sum(1), ["mul", "sum"]),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_left_alone(name):
    f, expected = KEPT[name]
    assert passes(f) == expected


def test_a_view_of_what_was_expanded():
    """The result of an elementwise call can be viewed where its argument, with strides of 0, cannot."""
    passes(lambda a: (a[:, :1].expand(3, 4, 5) - 2.0).reshape(3, -1).sum(1))


def test_a_network_does_its_priors_constants_on_sums():
    """Of the passes over the weights of a layer none shifts, negates or divides; the prior's gradient is one product."""
    x, y = torch.randn(6, 30), torch.randn(6)
    joint = LogJoint(bz.BNN(bz.nets.MLP(30, 1, hidden=(20,)), bz.priors.Normal(0.3), bz.likelihoods.Gaussian(1.0)), (x, y))
    position = torch.randn(2, joint.dim)
    joint(position)
    (graph,) = joint._graphs.values()
    interpreter = Passes(graph, size=2 * 20 * 30)
    interpreter.run(position, x, y)
    assert not {"sub", "neg", "div", "rsub"} & set(interpreter.names)
    assert interpreter.names.count("mul") == 0 and interpreter.names.count("pow") == 1
