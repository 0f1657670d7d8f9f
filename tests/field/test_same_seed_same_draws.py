"""What a seed means: every integer that people use is taken, streams do not meet, and nothing global changes the draws."""

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_contract import METHODS, MINIBATCH, MODEL, rows

import bnn_zoo as bz
from bnn_zoo._random import Use, generator, stream, whole_seed
from bnn_zoo.backends import _steady

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings(  # of runs far too short
    "ignore:.*diverged", "ignore:.*taken back", "ignore:.*curve down", "ignore:.*temperature of the draws"
)
SEEDS = {
    "numpy": np.int64(3),
    "numpy unsigned": np.uint64(2**64 - 1),
    "array of no dimension": np.array(3),
    "tensor": torch.tensor(3),
    "nanoseconds": 1_764_000_000_000_000_000,
    "hash": int(hashlib.sha256(b"run").hexdigest()[:16], 16),
    "largest": 2**64 - 1,
}


def fit(backend, seed=0, **more):
    return bz.fit(MODEL, rows(), backend, seed=seed, progress=False, **more)


def sites(backend, seed=0, device=None):
    return torch.cat([v.flatten() for v in fit(backend, seed).draws.sites.values()])


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
def test_integers_of_all_kinds_are_seeds(seed, monkeypatch):
    """Every stream of random numbers is a function of what ``whole_seed`` makes of the seed."""
    whole = whole_seed(seed)
    assert whole == int(seed) and type(whole) is int
    first, second = (torch.rand(3, generator=generator(CPU, s, Use.MOVES)) for s in (seed, whole))
    assert torch.equal(first, second)


@pytest.mark.parametrize("method", [pytest.param("MeanField", marks=pytest.mark.slow), "SGLD"])
def test_a_seed_of_numpy(method):
    seed = np.uint32(3)
    draws = fit(METHODS[method], seed).draws
    assert draws.attrs["seed"] == 3 and type(draws.attrs["seed"]) is int
    assert torch.equal(torch.cat([v.flatten() for v in draws.sites.values()]), sites(METHODS[method], 3))


def test_the_largest_seed_is_saved(tmp_path):
    path = fit(METHODS["SGLD"], 2**64 - 1).save(tmp_path / "fit.nc")
    assert int(bz.load(path)["posterior"].attrs["seed"]) == 2**64 - 1


def test_seeds_that_share_their_lower_bits_differ():
    assert not torch.equal(sites(METHODS["SGLD"], 3), sites(METHODS["SGLD"], 3 + 2**32))


def test_no_two_streams_coincide():
    """Of neighbouring seeds, of those that sums and products would map on each other, of all uses and chains."""
    near = [*range(50), *range(1000, 1010), 1_000_003, 1_000_004, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    keys = list(itertools.product(near, Use, range(8)))
    assert len({stream(*key) & 0xFFFFFFFF for key in keys}) == len(keys)  # what torch's CPU generator looks at
    numbers = {tuple(torch.rand(2, generator=generator("cpu", *key)).tolist()) for key in keys}
    assert len(numbers) == len(keys)


def test_a_stream_is_fixed_for_good():
    """Of numpy's documented hash, so that a seed means the same in every version."""
    expected = np.random.SeedSequence(5, spawn_key=(1, 2)).generate_state(1, np.uint64)[0]
    assert stream(5, Use.ROWS, 2) == expected
    assert [int(use) for use in Use] == list(range(len(Use)))


@pytest.mark.slow
def test_chains_of_one_run_are_no_chains_of_another():
    """Groups of chains in processes, and restarts of a variational fit."""
    backend = replace(METHODS["NUTS"], processes=2)
    first, other = fit(backend, 0).draws.sites["0.weight"], fit(backend, 1_000_003).draws.sites["0.weight"]
    assert not torch.equal(first[1], other[0])
    field = METHODS["MeanField"]
    first, other = fit(field, 0).draws.sites["0.weight"], fit(field, 1).draws.sites["0.weight"]
    assert not any(torch.equal(a, b) for a in first for b in other)


@pytest.fixture
def put_back():
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(1)


FAST = {"NUTS", "SGLD", "MeanField"}


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in METHODS])
def test_draws_do_not_depend_on_threads_or_the_default_dtype(name, put_back):
    backend = replace(METHODS[name], batch_size=8) if name in MINIBATCH else METHODS[name]
    torch.set_num_threads(1)
    one = fit(backend).draws
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    other = fit(backend).draws
    assert torch.get_num_threads() == 2 and torch.get_default_dtype() == torch.float64
    for kind in ("sites", "stats", "history"):
        a, b = getattr(one, kind), getattr(other, kind)
        assert a.keys() == b.keys()
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=0, atol=0, equal_nan=True)
    assert one.attrs["threads"] == 1


def test_fresh_networks_do_not_depend_on_the_default_dtype(put_back):
    def start():
        backend = bz.DeepEnsemble(
            chains=2, steps=1, step_size=1e-9, init=bz.density.FromNet(lambda: bz.nets.MLP(3, 2, hidden=(4,)))
        )
        return fit(backend).draws.sites["0.weight"]

    one = start()
    torch.set_default_dtype(torch.float64)
    assert torch.equal(one, start())


def test_threads_depend_on_the_work_and_the_machine_alone(monkeypatch):
    monkeypatch.setattr(_steady, "cores", lambda: 7)
    x, y = torch.randn(100, 3), torch.arange(100) % 2
    log_joint = bz.LogJoint(MODEL, (x, y))  # 26 weights
    assert _steady.threads_for(log_joint, 4) == 1
    assert _steady.threads_for(log_joint, 100_000) == 7
    before = torch.get_num_threads()
    with _steady.steady(log_joint, 100_000) as threads:
        assert threads == torch.get_num_threads() == 7
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("seed", [None, 1.0, "1", True, np.bool_(True), -1, 2**64, torch.tensor(1.0)], ids=repr)
def test_what_is_no_seed(seed):
    with pytest.raises((TypeError, ValueError), match=r"seed must be an integer from 0 to 2\*\*64 - 1, got"):
        whole_seed(seed)
    with pytest.raises((TypeError, ValueError), match="seed must be an integer"):
        METHODS["SGLD"].run(MODEL, rows(), seed=seed, progress=False)
