"""The contract of every net: plain torch, no BatchNorm, a pure function of (weights, x), rows on their own."""

import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from bnn_zoo import nets

CASES = {  # how it is made, one row of x, outputs, names of the parameters, number of weights
    "MLP": (lambda: nets.MLP(8, 1), (8,), 1, ["0.weight", "0.bias", "2.weight", "2.bias"], 501),
    "MLP deep": (
        lambda: nets.MLP(3, 2, (5, 4), nn.ReLU),
        (3,),
        2,
        [f"{i}.{p}" for i in (0, 2, 4) for p in ("weight", "bias")],
        54,
    ),
    "MLP linear": (lambda: nets.MLP(3, 2, ()), (3,), 2, ["0.weight", "0.bias"], 8),
    "LeNet5": (
        nets.LeNet5,
        (1, 28, 28),
        10,
        [f"{i}.{p}" for i in (0, 3, 7, 9, 11) for p in ("weight", "bias")],
        61_706,
    ),
    "LeNet5 colour": (
        lambda: nets.LeNet5(classes=3, channels=3, activation=nn.Tanh),
        (3, 28, 28),
        3,
        [f"{i}.{p}" for i in (0, 3, 7, 9, 11) for p in ("weight", "bias")],
        61_706 + 2 * 150 - 7 * 85,
    ),
}
CONTRACT = pytest.mark.parametrize("name", CASES)


def test_table_is_complete():
    assert {name.split()[0] for name in CASES} == set(nets.__all__)


@CONTRACT
def test_shapes_and_names(name):
    make, row, outputs, names, weights = CASES[name]
    net = make()
    assert net(torch.zeros(4, *row)).shape == (4, outputs)
    assert [n for n, _ in net.named_parameters()] == names
    assert sum(p.numel() for p in net.parameters()) == weights
    assert all(p.requires_grad for p in net.parameters())


@CONTRACT
def test_no_batchnorm_no_dropout_no_state(name):
    net = CASES[name][0]()
    assert not any(isinstance(m, _BatchNorm | nn.Dropout) for m in net.modules())
    assert not list(net.buffers())


@CONTRACT
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pure_function_of_weights_and_rows(name, dtype):
    """Weights enter from outside; rows do not see each other; two calls agree; the net keeps its own weights."""
    make, row, _, _, _ = CASES[name]
    net, x = make(), torch.randn(3, *row, dtype=dtype)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    weights = {n: 0.2 * torch.randn_like(p, dtype=dtype) for n, p in net.named_parameters()}
    out = functional_call(net, weights, (x,))
    assert out.dtype == dtype and out.isfinite().all()
    assert torch.equal(out, functional_call(net, weights, (x,)))
    torch.testing.assert_close(out[1:2], functional_call(net, weights, (x[1:2],)))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@CONTRACT
def test_batches_over_chains(name):
    """vmap over sets of weights gives what a loop gives."""
    make, row, _, _, _ = CASES[name]
    net, x = make(), torch.randn(2, *row)
    weights = {n: 0.2 * torch.randn(3, *p.shape) for n, p in net.named_parameters()}
    together = torch.func.vmap(lambda w: functional_call(net, w, (x,)))(weights)
    one_by_one = torch.stack([functional_call(net, {n: w[c] for n, w in weights.items()}, (x,)) for c in range(3)])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)


@CONTRACT
def test_pickles(name):
    make, row, _, _, _ = CASES[name]
    net, x = make(), torch.randn(2, *row)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), net(x))


def test_mlp_layers():
    net = nets.MLP(4, 2, (6, 5), nn.SiLU)
    assert [type(m) for m in net] == [nn.Linear, nn.SiLU, nn.Linear, nn.SiLU, nn.Linear]
    assert [tuple(m.weight.shape) for m in net if isinstance(m, nn.Linear)] == [(6, 4), (5, 6), (2, 5)]
    assert [type(m) for m in nets.MLP(4, 2)] == [nn.Linear, nn.Tanh, nn.Linear]


@pytest.mark.parametrize("sizes", [(0, 1, (5,)), (3, 0, (5,)), (3, 1, (5, 0)), (-1, 1, ())], ids=str)
def test_mlp_sizes_must_be_positive(sizes):
    with pytest.raises(ValueError, match=r"MLP: (inputs|outputs|hidden) must be at least 1, got (0|-1)"):
        nets.MLP(*sizes)
