"""Convolutions of all chains at once against each chain alone."""

import pytest
import torch
from torch import nn

import bnn_zoo as bz
from bnn_zoo.density import LogJoint, convolution

CHAINS, ROWS = 3, 4


def net(dimensions, groups=1):
    """Two convolutions, the second strided, padded, dilated and, if asked, in groups."""
    make = {1: nn.Conv1d, 2: nn.Conv2d}[dimensions]
    layers = [make(2, 4, 3), nn.Tanh(), make(4, 4, 3, stride=2, padding=1, dilation=2, groups=groups), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4 * 2**dimensions, 1))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("dimensions", "groups", "rows_per_chain"),
    [
        (1, 1, True),
        (2, 2, False),
        pytest.param(1, 1, False, marks=SLOW),
        pytest.param(2, 1, False, marks=SLOW),
        pytest.param(2, 1, True, marks=SLOW),
        pytest.param(2, 2, True, marks=SLOW),
    ],
)
def test_chains_together_are_chains_apart(dimensions, groups, rows_per_chain):
    g = torch.Generator().manual_seed(0)
    lead = (CHAINS, ROWS) if rows_per_chain else (1, ROWS)
    x = torch.randn(*lead, 2, *[8] * dimensions, generator=g, dtype=torch.float64)
    y = torch.randn(*lead, generator=g, dtype=torch.float64)
    model = bz.BNN(net(dimensions, groups).double(), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.5))
    joint = LogJoint(model, (x[0], y[0]), rows_per_chain=rows_per_chain)
    q = torch.randn(CHAINS, joint.dim, generator=g, dtype=torch.float64)
    value, gradient = joint(q, x, y) if rows_per_chain else joint(q)
    for c in range(CHAINS):
        row = c if rows_per_chain else 0
        alone = LogJoint(model, (x[row], y[row]))
        one, slope = alone(q[c : c + 1])
        torch.testing.assert_close(value[c : c + 1], one)
        torch.testing.assert_close(gradient[c : c + 1], slope)


def test_the_loop_is_what_runs():
    """With rows of their own, chains make groups; every one of those convolutions is a loop."""
    x, y = torch.randn(CHAINS, ROWS, 2, 8, 8), torch.randn(CHAINS, ROWS)
    model = bz.BNN(net(2), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.5))
    joint = LogJoint(model, (x[0], y[0]), rows_per_chain=True)
    joint(torch.randn(CHAINS, joint.dim), x, y)
    (graph,) = joint._graphs.values()
    targets = [node.target for node in graph.graph.nodes]
    assert targets.count(convolution._convolution) == targets.count(convolution._backward) == 2
    assert not {torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default} & set(targets)
