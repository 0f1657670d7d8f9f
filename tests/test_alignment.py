"""Hidden units matched over chains: copies made by hand are undone exactly, and what the network computes stays."""

import numpy as np
import pytest
import torch
from torch import nn

import bnn_zoo as bz
from bnn_zoo.diagnostics import align_units, rhat
from bnn_zoo.diagnostics.alignment import is_odd


def copied(sites, orders, signs):
    """One network with unit ``order[i]`` of each hidden layer in place i, times ``sign[i]``: by torch, layer by layer."""
    out = {name: value.clone() for name, value in sites.items()}
    for k, (order, sign) in enumerate(zip(orders, signs, strict=True)):
        into, beyond = f"{2 * k}", f"{2 * k + 2}.weight"
        out[f"{into}.weight"] = out[f"{into}.weight"][order] * sign[:, None]
        out[f"{into}.bias"] = out[f"{into}.bias"][order] * sign
        out[beyond] = out[beyond][:, order] * sign
    return out


def computed(net, sites, x):
    return torch.func.functional_call(net, {n: v.to(x) for n, v in sites.items()}, (x,))


def made(hidden, activation, chains=3, draws=20, noise=0.05, flips=True):
    """Chains around permuted copies of one network; the orders and signs by which they were made."""
    g = torch.Generator().manual_seed(len(hidden))
    net = bz.nets.MLP(3, 2, hidden=hidden, activation=activation)
    base = {n: torch.randn(p.shape, generator=g, dtype=torch.float64) for n, p in net.named_parameters()}
    orders = [[torch.randperm(h, generator=g) for h in hidden] for _ in range(chains)]
    signs = [[torch.randint(2, (h,), generator=g) * 2.0 - 1 if flips else torch.ones(h) for h in hidden] for _ in orders]
    near = lambda v: v + noise * torch.randn(draws, *v.shape, generator=g, dtype=torch.float64)
    copies = [copied(base, o, s) for o, s in zip(orders, signs, strict=True)]
    return net, base, {n: torch.stack([near(c[n]) for c in copies]) for n in base}, orders, signs


@pytest.mark.parametrize("hidden", [(6,), (5, 7), (4, 4, 4)])
@pytest.mark.parametrize("activation, odd", [(nn.Tanh, True), (nn.ReLU, False)])
def test_a_network_permuted_by_hand_is_found_exactly(hidden, activation, odd):
    _, base, sites, orders, signs = made(hidden, activation, noise=0.0, flips=odd)
    found = align_units(sites, activation, to=base)
    for name, value in base.items():
        assert torch.equal(found.sites[name], value.expand_as(found.sites[name])), name
    for c, (order, sign) in enumerate(zip(orders, signs, strict=True)):
        for k in range(len(hidden)):
            back = torch.argsort(order[k])  # place i of the copy holds unit order[i]
            assert torch.equal(found.order[f"{2 * k}.weight"][c], back)
            assert torch.equal(found.signs[f"{2 * k}.weight"][c], sign[k][back].double())


def test_units_that_hear_the_same_are_told_apart_by_what_they_say():
    _, base, _, _, _ = made((5,), nn.Tanh)
    base["0.weight"][:3], base["0.bias"][:3] = base["0.weight"][0].clone(), base["0.bias"][0].clone()
    for seed in range(5):
        order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
        copy = copied(base, [order], [torch.tensor([1.0, -1, 1, -1, -1])])
        found = align_units({n: v[None, None] for n, v in copy.items()}, nn.Tanh, to=base)
        assert torch.equal(found.order["0.weight"][0], torch.argsort(order))
        assert torch.equal(found.sites["2.weight"][0, 0], base["2.weight"])


def test_chains_agree_once_matched_and_compute_the_same():
    net, _, sites, _, _ = made((5, 7), nn.Tanh, draws=40)
    found = align_units(sites, nn.Tanh())
    assert rhat(sites["2.weight"]).max() > 2 and rhat(found.sites["2.weight"]).max() < 1.2
    assert rhat(sites["0.bias"]).max() > 2 and rhat(found.sites["0.bias"]).max() < 1.2
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    for c, d in ((0, 0), (1, 7), (2, 39)):
        before, after = ({n: v[c, d] for n, v in s.items()} for s in (sites, found.sites))
        torch.testing.assert_close(computed(net, after, x), computed(net, before, x))


def test_signs_stay_where_the_activation_is_not_odd():
    net, _, sites, _, _ = made((6,), nn.ReLU, flips=True)
    found = align_units(sites, torch.relu)
    assert (found.signs["0.weight"] == 1).all()
    x = torch.ones(2, 3, dtype=torch.float64)
    before, after = ({n: v[2, 3] for n, v in s.items()} for s in (sites, found.sites))
    torch.testing.assert_close(computed(net, after, x), computed(net, before, x))


def test_which_activations_are_odd():
    assert is_odd(nn.Tanh) and is_odd(torch.sin) and is_odd(nn.Hardtanh())
    assert not is_odd(nn.ReLU) and not is_odd(nn.Sigmoid) and not is_odd(torch.cos) and not is_odd(nn.GELU())


def test_arrays_without_biases_and_other_sites():
    _, base, sites, _, _ = made((4,), nn.Tanh)
    arrays = {"noise": np.ones((3, 20)), **{n: v.float().numpy() for n, v in sites.items() if n.endswith("weight")}}
    found = align_units(arrays, nn.Tanh, to={n: v.numpy() for n, v in base.items() if n.endswith("weight")})
    assert set(found.sites) == {"0.weight", "2.weight"}
    torch.testing.assert_close(found.sites["2.weight"].mean((0, 1)), base["2.weight"], atol=0.1, rtol=0)


def test_what_has_no_units_to_match_is_refused():
    with pytest.raises(ValueError, match="layers="):
        align_units({"w": torch.zeros(1, 2, 3, 3)}, nn.Tanh)
    skips = {"0.weight": torch.zeros(1, 2, 5, 3), "2.weight": torch.zeros(1, 2, 1, 8)}
    with pytest.raises(ValueError, match="whose widths follow each other"):
        align_units(skips, nn.Tanh)
    _, base, sites, _, _ = made((4,), nn.Tanh)
    with pytest.raises(ValueError, match="expected one network"):
        align_units(sites, nn.Tanh, to=base | {"0.weight": torch.zeros(3, 3)})
    with pytest.raises(ValueError, match=r"expected a site 'a\.weight'"):
        align_units(sites, nn.Tanh, layers=["0.weight", "a.weight"])
