"""A few draws for many: against brute force, and a predictive law that stays."""

from itertools import combinations

import pytest
import torch

import bnn_zoo as bz
from bnn_zoo.predict.compacting import energy, energy_distances, representative


def line(draws):
    """Draws of the slope of a line, as a posterior of two chains."""
    net = torch.nn.Sequential(torch.nn.Linear(1, 1))
    model = bz.BNN(net, bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.1))
    sites = {"0.weight": draws.reshape(2, -1, 1, 1), "0.bias": torch.zeros(2, draws.numel() // 2, 1)}
    return bz.Posterior(model, (torch.linspace(0.5, 2.0, 30)[:, None], torch.zeros(30)), bz.Draws(sites))


def test_energy_distance_by_hand():
    """Two of three points on a line: 2 E|X − Y| − E|X − X'| − E|Y − Y'|."""
    distances = energy_distances(torch.tensor([[0.0], [1.0], [4.0]]))
    between = (0 + 1 + 4 + 4 + 3 + 0) / 6
    assert energy(distances, torch.tensor([0, 2])) == pytest.approx(2 * between - 4 / 2 - 2 * (1 + 4 + 3) / 9)
    assert energy(distances, torch.arange(3)) == pytest.approx(0.0)


def test_near_the_best_of_all():
    generator = torch.Generator().manual_seed(0)
    distances = energy_distances(torch.randn(14, 3, generator=generator))
    for count in (1, 2, 4):
        each = [energy(distances, torch.tensor(c)) for c in combinations(range(14), count)]
        assert energy(distances, representative(distances, count)) <= sorted(each)[max(1, len(each) // 200)] + 1e-12


def test_keeps_the_predictive_law():
    """Ten draws of 400: quantiles of a normal law, better than ten that are evenly spaced."""
    posterior = line(1.0 + 0.3 * torch.randn(400, generator=torch.Generator().manual_seed(1)))
    few = posterior.compact(10)
    x = torch.tensor([[1.0], [2.0]])
    whole, made = posterior.predict(x), few.predict(x)
    assert made.f.shape[:2] == (1, 10)
    torch.testing.assert_close(made.mean, whole.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(made.epistemic, whole.epistemic, rtol=0.12, atol=0)
    assert few.draws.attrs["energy_distance"] < 0.5 * few.draws.attrs["energy_distance_evenly_spaced"]


def test_refused():
    with pytest.raises(bz.DataError, match="2 × 3: ask for fewer"):
        line(torch.randn(6)).compact(7)
