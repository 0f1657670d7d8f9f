"""The contract of every net: plain torch, no BatchNorm, a pure function of (weights, x), rows on their own."""

import math
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

import bnn_zoo
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
    "LeNet5Caffe": (
        nets.LeNet5Caffe,
        (1, 28, 28),
        10,
        [f"{i}.{p}" for i in (0, 2, 5, 7) for p in ("weight", "bias")],
        431_080,
    ),
    "LeNet300100": (
        nets.LeNet300100,
        (1, 28, 28),
        10,
        [f"{i}.{p}" for i in (1, 3, 5) for p in ("weight", "bias")],
        266_610,
    ),
    "ResNetFRN": (
        lambda: nets.ResNetFRN(8, classes=4, width=2),
        (3, 32, 32),
        4,
        [n for n, _ in nets.ResNetFRN(8, classes=4, width=2).named_parameters()],
        1_450,
    ),
}
CONTRACT = pytest.mark.parametrize("name", CASES)


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
    torch.manual_seed(0)
    make, row, _, _, _ = CASES[name]
    net, x = make(), torch.randn(3, *row, dtype=dtype)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    weights = {n: 0.2 * torch.randn_like(p, dtype=dtype) for n, p in net.named_parameters()}
    out = functional_call(net, weights, (x,))
    assert out.dtype == dtype and out.isfinite().all()
    assert torch.equal(out, functional_call(net, weights, (x,)))
    torch.testing.assert_close(
        out[1:2], functional_call(net, weights, (x[1:2],)), rtol=1e-4, atol=1e-5 * float(out.abs().max())
    )
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@CONTRACT
def test_batches_over_chains(name):
    """vmap over sets of weights gives what a loop gives."""
    torch.manual_seed(0)
    make, row, _, _, _ = CASES[name]
    net, x = make(), torch.randn(2, *row)
    weights = {n: 0.2 * torch.randn(3, *p.shape) for n, p in net.named_parameters()}
    together = torch.func.vmap(lambda w: functional_call(net, w, (x,)))(weights)
    one_by_one = torch.stack([functional_call(net, {n: w[c] for n, w in weights.items()}, (x,)) for c in range(3)])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5 * float(one_by_one.abs().max()))


@CONTRACT
def test_slices_are_networks(name):
    net = CASES[name][0]()
    front, x = net[:-1], torch.randn(2, *CASES[name][1])
    assert (
        type(front) is nn.Sequential
        and net[-1](front(x)).equal(net(x))
        and all(a is b for a, b in zip(front, net, strict=False))
    )


@CONTRACT
def test_pickles(name):
    torch.manual_seed(0)
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


# ---------------------------------------------------------------------- without BatchNorm


def test_filter_response_norm_is_its_formula():
    layer, x = nets.FilterResponseNorm(3).double(), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    for p, shift in zip(layer.parameters(), (0.5, -0.2, 0.1), strict=True):
        p.data += shift * torch.arange(3)
    expected = torch.empty_like(x)
    for i in range(2):
        for c in range(3):
            nu2 = (x[i, c] ** 2).sum() / 20
            expected[i, c] = ((1 + 0.5 * c) * x[i, c] / (nu2 + 1e-6).sqrt() - 0.2 * c).clamp(min=0.1 * c)
    torch.testing.assert_close(layer(x), expected)
    weights = {name: p.detach().requires_grad_() for name, p in layer.named_parameters()}
    assert torch.autograd.gradcheck(  # against finite differences
        lambda x, *w: torch.func.functional_call(layer, dict(zip(weights, w, strict=True)), (x,)),
        (x.requires_grad_(), *weights.values()),
    )
    assert layer(x * torch.nan).isnan().all()
    with pytest.raises(
        ValueError, match=r"expects \[rows, 3, places …\], got \(2, 3\): for rows without places take nn.LayerNorm"
    ):
        layer(x[:, :, 0, 0])
    with pytest.raises(ValueError, match="eps must be > 0"):
        nets.FilterResponseNorm(3, eps=0.0)


@pytest.mark.parametrize("depth, weights", [(20, 274_042), (32, None)])
def test_resnet_frn_has_the_weights_of_the_reference(depth, weights):
    """274,042 for depth 20: kernels, and a bias, γ, β and τ for each channel of each convolution."""
    net = nets.ResNetFRN(depth)
    count = sum(p.numel() for p in net.parameters())
    kernels = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    channels = sum(p.numel() for n, p in net.named_parameters() if p.dim() == 1 and "threshold" in n)
    assert count == kernels + 4 * channels + 10 and (weights is None or count == weights)
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in net.modules()) == depth - 1


def test_resnet_halves_the_image_twice():
    net = nets.ResNetFRN(8, width=2)
    assert net[:6](torch.zeros(1, 3, 32, 32)).shape == (1, 8, 8, 8)
    with pytest.raises(ValueError, match=r"depth must be 6n \+ 2, such as 8, 20, 32 or 44, got 21"):
        nets.ResNetFRN(21)


def with_batchnorm():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 36, 5),
        nn.BatchNorm1d(5),
        nn.Linear(5, 2),
    )


@pytest.mark.parametrize("make", [None, nets.FilterResponseNorm], ids=["GroupNorm", "FRN"])
def test_replace_batchnorm(make):
    net = with_batchnorm() if make is None else with_batchnorm()[:5]
    new, x = nets.replace_batchnorm(net, make), torch.randn(3, 1, 8, 8)
    assert isinstance(net[1], nn.BatchNorm2d) and not any(isinstance(m, _BatchNorm) for m in new.modules())
    assert torch.equal(new[0].weight, net[0].weight) and new[0].weight is not net[0].weight
    torch.testing.assert_close(new(x)[:1], new(x[:1]))  # a row for itself
    bnn_zoo.BNN(new, bnn_zoo.priors.Normal(1.0), bnn_zoo.likelihoods.Categorical())(x)
    if make is None:
        assert new[1].num_groups == 6 and new[5].num_groups == 1


def test_replace_batchnorm_of_a_layer_used_twice_where_it_is():
    shared = nn.BatchNorm1d(4)
    net = nn.Sequential(nn.Linear(3, 4), shared, nn.Linear(4, 4), shared, nn.Linear(4, 2)).double().eval()
    new = nets.replace_batchnorm(net)
    assert new[1] is new[3] and isinstance(new[1], nn.GroupNorm)
    assert new[1].weight.dtype == torch.float64 and not new[1].training
    assert new(torch.randn(2, 3, dtype=torch.float64)).shape == (2, 2)


def test_replace_batchnorm_of_nothing_and_by_nothing():
    with pytest.raises(ValueError, match="MLP has no BatchNorm"):
        nets.replace_batchnorm(nets.MLP(3, 2))
    with pytest.raises(TypeError, match="make must give a module for a number of channels"):
        nets.replace_batchnorm(with_batchnorm(), lambda channels: channels)
    assert isinstance(nets.replace_batchnorm(nn.BatchNorm1d(4)), nn.GroupNorm)


def test_the_error_for_batchnorm_names_what_helps():
    net = with_batchnorm()
    with pytest.raises(bnn_zoo.ModelError, match=r"bnn_zoo\.nets\.replace_batchnorm\(net\)"):
        bnn_zoo.BNN(net, bnn_zoo.priors.Normal(1.0), bnn_zoo.likelihoods.Categorical())


@pytest.mark.slow
def test_a_network_of_torchvision():
    """ResNet-18 with GroupNorm: the log joint of two chains is prior and cross entropy of the network itself."""
    from torchvision.models import resnet18

    net = nets.replace_batchnorm(resnet18(num_classes=3, weights=None))
    model = bnn_zoo.BNN(net, bnn_zoo.priors.Normal(0.1), bnn_zoo.likelihoods.Categorical())
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 3, 32, 32, generator=generator).double(), torch.tensor([0, 2])
    joint = bnn_zoo.LogJoint(model, (x, y))
    u = 0.05 * torch.randn(2, joint.dim, generator=generator).double()
    value = joint(u)[0]
    for k in range(2):
        weights = {n: v[k] for n, v in joint.constrain(u).items()}
        prior = sum((-0.5 * (w / 0.1) ** 2 - math.log(0.1 * math.sqrt(2 * math.pi))).sum() for w in weights.values())
        loss = nn.functional.cross_entropy(functional_call(net, weights, (x,)), y, reduction="sum")
        torch.testing.assert_close(value[k], prior - loss, rtol=1e-9, atol=0.0)
