"""A Dataset read ahead by processes: the rows, the draws and the errors are those of reading in this one."""

import multiprocessing
import random

import pytest
import torch

import bnn_zoo as bz
from bnn_zoo import data
from bnn_zoo.run.loop import Run
from bnn_zoo.types import DataError


class Noisy(torch.utils.data.Dataset):
    """Rows with noise of torch's global random state, as augmentation has it; NaN at row ``bad``."""

    def __init__(self, size=20, bad=None):
        self.x, self.bad = torch.arange(2.0 * size).reshape(size, 2) / size, bad

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        noise = 0.01 * torch.randn(2) if row != self.bad else torch.nan
        return self.x[row] + noise, self.x[row].sum()


def rows_of(rows, steps, seed=3):
    batches = data.minibatches(rows, 6, chains=2, seed=seed, device=None)
    return [batches.rows(step) for step in steps]


@pytest.mark.parametrize("steps", [range(8), [0, 0, 1, 2, 7, 8, 2, 3]])
def test_rows_are_those_read_without(steps):
    """In turn, out of turn, over the ends of epochs."""
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    plain, ahead = rows_of(Noisy(), steps), rows_of(data.Workers(Noisy(), 2), steps)
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(plain, ahead, strict=True):
        assert one[0].shape == (2, 6, 2) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(plain[0][0], plain[-1][0])


def test_processes_read_and_end():
    rows = data.minibatches(data.Workers(Noisy(), 2), 6, chains=1, seed=0, device=None)
    rows.rows(0)
    assert not multiprocessing.active_children()
    rows.rows(1)
    assert len(multiprocessing.active_children()) == 2
    del rows
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    "backend",
    [
        bz.SGLD(chains=2, steps=8, warmup=4, batch_size=6, step_size=1e-4, init=bz.density.from_support),
        bz.MeanField(steps=6, draws=5, batch_size=6, init=bz.density.from_support),
        bz.MAP(chains=1, steps=6, batch_size=6, init=bz.density.from_support),
    ],
    ids=lambda backend: type(backend).__name__,
)
def test_draws_are_the_same(backend):
    model = bz.BNN(torch.nn.Linear(2, 1), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.5))
    fits = [bz.fit(model, rows, backend, seed=1, progress=False) for rows in (Noisy(), data.Workers(Noisy(), 1, ahead=1))]
    one, other = (fit.draws.sites for fit in fits)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert not multiprocessing.active_children()
    assert fits[1].predict(Noisy().x).mean.shape == (20,)


def test_a_kept_run_goes_on_without_them(tmp_path, monkeypatch):
    model = bz.BNN(torch.nn.Linear(2, 1), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(0.5))
    backend = bz.SGLD(chains=2, steps=8, warmup=4, batch_size=6, step_size=1e-4, init=bz.density.from_support)
    whole = bz.fit(model, Noisy(), backend, progress=False)
    advance, left = Run.advance, iter(range(5))

    def broken(run, _=0):
        if next(left, None) is None:
            raise InterruptedError
        advance(run)

    monkeypatch.setattr(Run, "advance", broken)
    with pytest.raises(InterruptedError):
        bz.fit(model, data.Workers(Noisy(), 3), backend, progress=False, checkpoint=tmp_path / "run", every=0)
    monkeypatch.setattr(Run, "advance", advance)
    again = bz.fit(model, Noisy(), backend, progress=False, checkpoint=tmp_path / "run")
    assert all(torch.equal(whole.draws.sites[name], again.draws.sites[name][:]) for name in whole.draws.sites)


def test_errors_of_items_are_those_without():
    bad = data.Workers(Noisy(bad=random.Random(0).randrange(20)), 2)
    with pytest.raises(DataError, match=r"^part 0 of an item has 2 NaN or infinite values of 12 in one batch"):
        rows_of(bad, range(6))


@pytest.mark.parametrize("count", [0, 1.5, True])
def test_counts(count):
    with pytest.raises(ValueError, match="count must be a whole number, 1 or more"):
        data.Workers(Noisy(), count)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


def test_no_length():
    with pytest.raises(DataError, match="IterableDataset has no known number of rows"):
        data.minibatches(data.Workers(Endless(), 2), 6, chains=1, seed=0, device=None)


def test_a_loader_is_told_of_workers():
    with pytest.raises(DataError, match=r"data.Workers\(dataset, 4\)"):
        data.minibatches(torch.utils.data.DataLoader(Noisy(), 6), 6, chains=1, seed=0, device=None)
