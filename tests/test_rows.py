"""Minibatches: the rows of a step are a function of the seed, the chain and the step alone."""

import random
from itertools import pairwise

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import bnn_zoo as bz
from bnn_zoo.data import minibatches

SIZE, BATCH, CHAINS = 23, 5, 3
A_PASS = SIZE // BATCH
X = torch.arange(SIZE).double()[:, None] + torch.tensor([0.0, 100.0]).double()
Y = torch.arange(SIZE)


class Shaken(Dataset):
    """Rows with noise from torch's global random state, as augmentation makes it."""

    def __len__(self):
        return SIZE

    def __getitem__(self, i):
        return X[i] + 0.01 * torch.rand(2).double(), Y[i]


KINDS = {"tensors": lambda: (X, Y), "Dataset": lambda: TensorDataset(X, Y), "augmented": Shaken}
EACH = pytest.mark.parametrize("kind", KINDS)


def batches(kind, seed=0, chains=CHAINS, batch=BATCH):
    return minibatches(KINDS[kind](), batch, chains, seed, None)


def same(a, b):
    return all(torch.equal(s, t) for s, t in zip(a, b, strict=True))


@EACH
def test_rows_of_a_step_do_not_depend_on_what_was_asked_before(kind):
    steps, there = list(range(3 * A_PASS)), batches(kind)
    in_turn = [there.rows(step) for step in steps]
    assert there.size == SIZE and there.batch_size == BATCH
    assert in_turn[0][0].shape == (CHAINS, BATCH, 2) and in_turn[0][1].shape == (CHAINS, BATCH)
    random.Random(0).shuffle(steps)
    assert all(same(there.rows(step), in_turn[step]) for step in steps)
    torch.manual_seed(77)
    state = torch.get_rng_state()
    assert same(batches(kind).rows(2 * A_PASS + 1), in_turn[2 * A_PASS + 1])
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(same(a, b) for a, b in pairwise(in_turn))


@EACH
def test_rows_of_a_chain_do_not_depend_on_how_many_there_are(kind):
    few, many = batches(kind, chains=2), batches(kind, chains=5)
    for step in (0, 1, A_PASS, 4 * A_PASS + 2):
        assert same(few.rows(step), tuple(t[:2] for t in many.rows(step)))


@EACH
def test_seeds_chains_and_passes_have_other_orders(kind):
    of = lambda seed, step: batches(kind, seed).rows(step)[1]
    orders = [of(seed, step)[chain].tolist() for seed in (0, 1) for step in (0, A_PASS, 2 * A_PASS) for chain in range(3)]
    assert len({tuple(order) for order in orders}) == len(orders)


@EACH
@pytest.mark.parametrize("batch", [1, 5, 23])
def test_every_row_once_a_pass(kind, batch):
    """And those that fill no batch are left out; x and y of a row stay together."""
    there, a_pass = batches(kind, batch=batch), SIZE // batch
    for first in (0, 3 * a_pass):
        made = [there.rows(step) for step in range(first, first + a_pass)]
        for chain in range(CHAINS):
            seen = torch.cat([y[chain] for _, y in made])
            assert len(seen.unique()) == len(seen) == a_pass * batch
        for x, y in made:
            assert torch.equal(x[..., 0].floor().long(), y) and torch.equal(x[..., 1].floor().long(), y + 100)


def test_each_row_is_as_likely_in_each_place():
    """χ² of the rows seen at each step of a pass, those left out among them, over 600 passes."""
    there, passes = batches("tensors"), 600
    for step in range(A_PASS):
        seen = torch.stack([there.rows(i * A_PASS + step)[1] for i in range(passes)]).flatten()
        expected = passes * CHAINS * BATCH / SIZE
        # a batch has no row twice, which makes χ² smaller by 1 − (batch − 1)/(size − 1)
        chi2 = ((seen.bincount(minlength=SIZE) - expected) ** 2 / expected).sum() / (1 - (BATCH - 1) / (SIZE - 1))
        assert 5.0 < chi2 < 51.0  # 22 degrees of freedom: the 0.0001 and 0.9996 quantiles


def test_augmentation_is_another_for_each_row_chain_step_and_seed():
    """Its numbers are those of no other: 23 rows, two numbers each, in three chains over two passes and two seeds."""
    noise = [
        x - torch.stack([y, y + 100], -1)
        for seed in (0, 1)
        for x, y in map(batches("augmented", seed).rows, range(2 * A_PASS))
    ]
    numbers = torch.stack(noise).flatten()
    assert ((numbers > 0) & (numbers < 0.01)).all() and len((1e9 * numbers).round().unique()) > 0.99 * len(numbers)


class OnFew(torch.nn.Module):
    """A network that would not have the memory for all rows."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(2, 3), torch.nn.Linear(3, 4)

    def forward(self, x):
        assert len(x) < SIZE, "a network that convolves may need more memory for all rows than there is"
        return self.last(torch.tanh(self.first(x)))


METHODS = {
    "SGLD": {},
    "MAP": {},
    "MeanField": {"draws": 2},
    "MCDropout": {"draws": 2},
}


@pytest.mark.parametrize("name", ["SGLD", *(pytest.param(n, marks=pytest.mark.slow) for n in METHODS if n != "SGLD")])
def test_a_fit_by_minibatches_never_runs_the_network_on_all_rows(name):
    model = bz.BNN(OnFew(), bz.priors.Normal(1.0), bz.likelihoods.Categorical())
    backend = getattr(bz, name)(steps=8, batch_size=BATCH, **METHODS[name])
    assert bz.fit(model, (X.float(), Y % 4), backend, progress=False).draws.draws > 0
