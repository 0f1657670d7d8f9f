"""Random streams of chains: their law, what they depend on, and where they go on."""

import io
import itertools

import pytest
import torch
from scipy import stats

from bnn_zoo._random import AHEAD, OneStream, Streams, Use

CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
CALLS = [("normal", 3), ("uniform",), ("normal", 2, 5), ("normal", 3000), ("uniform", 1500), ("normal",), ("uniform", 3)]
"""Portions of several sizes: drawn ahead by the thousand, by two, and each time anew."""


def streams(seed=0, chains=range(4), dtype=torch.float64, use=Use.MOVES):
    return Streams(seed, use, chains, CPU, dtype)


def asked(random, calls):
    """What is given for these calls, one after another."""
    return [getattr(random, kind)(*shape) for kind, *shape in calls]


def same(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@BOTH
def test_shapes_and_numbers_that_are_never_given_twice(dtype):
    random = streams(dtype=dtype)
    for (_, *shape), made in zip(CALLS, asked(random, CALLS), strict=True):
        assert made.shape == (4, *shape) and made.dtype == dtype
    small = torch.stack(asked(random, [("normal", 3)] * (AHEAD // 3 + 5)))  # over the end of what is drawn ahead
    assert dtype == torch.float32 or len(small.unique()) == small.numel()
    assert len(small.unique()) / small.numel() > 0.99


@BOTH
def test_a_chain_does_not_depend_on_which_others_there_are(dtype):
    together, calls = streams(dtype=dtype), CALLS * 3
    of_all = asked(together, calls)
    for chains in ([2], [3, 2], [2, 7, 9]):
        apart = streams(chains=chains, dtype=dtype)
        at = chains.index(2)
        assert same([made[at] for made in asked(apart, calls)], [made[2] for made in of_all])
        assert torch.equal(apart.own(at, 5), streams_after(calls, dtype).own(2, 5))
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(of_all[0], 2))


def streams_after(calls, dtype):
    random = streams(dtype=dtype)
    asked(random, calls)
    return random


def written(tree):
    """A tree through a file and back."""
    file = io.BytesIO()
    torch.save(tree, file)
    file.seek(0)
    return torch.load(file)


@BOTH
@pytest.mark.parametrize("before", [0, 1, 4, 30])
def test_a_tree_goes_on_with_the_same_numbers(before, dtype):
    """Written in the midst of portions, and of pairs of normal numbers; writing it changes nothing."""
    whole, written_out = streams(dtype=dtype), streams(dtype=dtype)
    for random in (whole, written_out):
        asked(random, (CALLS * 5)[:before])
        random.own(1, before % 4 + 1)
        random.common()
    tree = written(written_out.tree)
    later = streams(seed=9, dtype=dtype)
    asked(later, CALLS[2:5])  # whatever it was at before
    later.tree = tree
    calls = CALLS * (AHEAD // 1000)
    expected = asked(whole, calls), whole.common(), whole.own(1, 5)
    for random in (written_out, later):
        made = asked(random, calls), random.common(), random.own(1, 5)
        assert same(made[0], expected[0]) and made[1] == expected[1] and torch.equal(made[2], expected[2])


def test_a_seed_is_a_stream():
    assert same(asked(streams(5), CALLS), asked(streams(5), CALLS))


def largest_correlation(numbers):
    """Over all pairs of series ``[series, n]`` and all shifts of one against the other, the largest in absolute value."""
    z = (numbers - numbers.mean(1, keepdim=True)) / numbers.std(1, keepdim=True)
    f = torch.fft.rfft(z)
    pairs = torch.combinations(torch.arange(len(z)))
    return (torch.fft.irfft(f[pairs[:, 0]] * f[pairs[:, 1]].conj()) / numbers.shape[1]).abs().max()


def test_neighbouring_seeds_uses_and_chains_do_not_correlate():
    """At no shift. Of so many independent ones the largest is below six standard errors; a shared one is at 1."""
    n = 2**13
    keys = itertools.product([0, 1, 2**32, 2**32 + 1], Use, [0, 1, 7])
    series = [streams(seed, [chain], use=use).normal(n)[0] for seed, use, chain in keys]
    assert largest_correlation(torch.stack(series)) < 6 / n**0.5
    shifted = torch.stack([series[0], series[0].roll(100)])
    assert largest_correlation(shifted) > 0.99  # the test sees what it looks for


def test_the_common_stream_is_none_of_the_chains():
    random, n = streams(chains=range(8)), 2**12
    common = torch.tensor([random.common() for _ in range(n)], dtype=torch.float64)
    own = random.uniform(n)
    assert not torch.isin(common, own).any()
    assert largest_correlation(torch.cat([common[None], own])) < 6 / n**0.5
    other = streams(chains=[3])
    assert [other.common() for _ in range(5)] == common[:5].tolist()  # whichever chains there are


@BOTH
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (3000,)], ids=str)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_laws(kind, shape, dtype):
    size = max(torch.Size(shape).numel(), 1)
    made = torch.stack(asked(streams(1, dtype=dtype), [(kind, *shape)] * max(6000 // size, 1))).double()
    law = {"normal": stats.norm, "uniform": stats.uniform}[kind]
    assert stats.kstest(made.flatten().numpy(), law.cdf).pvalue > 1e-3
    by_chain = made.transpose(0, 1).flatten(1)
    assert (torch.corrcoef(by_chain) - torch.eye(4)).abs().max() < 4.5 / by_chain.shape[1] ** 0.5
    along = torch.corrcoef(torch.stack([by_chain[:, 1:].flatten(), by_chain[:, :-1].flatten()]))[0, 1]
    assert abs(along) < 4.5 / by_chain.numel() ** 0.5


def test_law_of_the_common_numbers():
    random = streams(chains=[0])
    assert stats.kstest([random.common() for _ in range(5000)], "uniform").pvalue > 1e-3


@BOTH
def test_one_stream_has_the_same_laws_and_shapes(dtype):
    random = OneStream(torch.Generator().manual_seed(0), like=torch.zeros(2000, 2, dtype=dtype))
    for kind, law in (("normal", "norm"), ("uniform", "uniform")):
        made = getattr(random, kind)(3)
        assert made.shape == (2000, 3) and made.dtype == dtype
        assert stats.kstest(made.flatten().double().numpy(), law).pvalue > 1e-3
    assert random.uniform().shape == (2000,) and 0.0 <= random.common() < 1.0


def test_large_portions_of_double_precision_are_normal():
    """Made in pairs of sine and cosine: each half has the law, its tails too, and the halves know nothing of each other."""
    count = 400_001
    z = streams(chains=range(1)).normal(count)[0]
    assert z.shape == (count,) and bool(torch.isfinite(z).all()) and len(z.unique()) == count
    first, second = z[: count // 2], z[count // 2 + 1 :]
    assert stats.kstest(first.numpy(), "norm").pvalue > 1e-3 and stats.kstest(second.numpy(), "norm").pvalue > 1e-3
    for f in (lambda x: x, torch.square, torch.abs, torch.sign):
        assert abs(float(torch.corrcoef(torch.stack([f(first), f(second)]))[0, 1])) < 4 / first.numel() ** 0.5
    for bound in (3.0, 4.0):
        expected = 2 * stats.norm.sf(bound) * count
        assert abs(int((z.abs() > bound).sum()) - expected) < 4.5 * expected**0.5
    radius = 0.5 * (first.square() + second.square())  # exponential
    assert stats.kstest(radius.numpy(), "expon").pvalue > 1e-3


@pytest.mark.parametrize("size", [1, 3, 25, 700])
def test_portions_begin_where_new_tensors_do(size):
    """A run that goes on from its checkpoint must have its numbers at addresses of the same kind."""
    random = Streams(0, Use.MOVES, [0, 1, 2], torch.device("cpu"), torch.float32)
    portions = [random.normal(size) for _ in range(7)]
    assert all(p.is_contiguous() and p.data_ptr() % 64 == 0 for p in portions)
    restored = Streams(1, Use.MOVES, [0, 1, 2], torch.device("cpu"), torch.float32)
    restored.tree = random.tree
    for _ in range(AHEAD // size + 2):
        ours, theirs = random.normal(size), restored.normal(size)
        assert torch.equal(ours, theirs) and theirs.data_ptr() % 64 == 0
