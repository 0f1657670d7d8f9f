"""The names of torch that are not public do what ``_torch`` needs of them."""

import inspect

import numpy as np
import pytest
import torch
from forks import in_a_fork
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.distributions import constraints
from torch.func import functionalize
from torch.fx.experimental import proxy_tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bnn_zoo import _torch


@pytest.fixture(autouse=True)
def awake():
    """As the library does before it traces anything: else autograd would see devices that are not there."""
    assert _torch.autograd_works()


def test_classes_of_constraints():
    assert isinstance(constraints.independent(constraints.real, 2), _torch.Independent)
    assert not isinstance(constraints.real, _torch.Independent)
    assert isinstance(constraints.integer_interval(0, 3), _torch.IntegerInterval)
    assert not isinstance(constraints.interval(0, 3), _torch.IntegerInterval)


def test_batchnorm():
    assert isinstance(nn.BatchNorm2d(3), _torch.BatchNorm) and isinstance(nn.SyncBatchNorm(3), _torch.BatchNorm)
    assert not isinstance(nn.GroupNorm(1, 3), _torch.BatchNorm)


def test_hook_before_any_module():
    seen = []
    handle = _torch.register_module_forward_pre_hook(lambda module, _: seen.append(type(module)))
    try:
        nn.Linear(1, 1)(torch.zeros(1, 1))
    finally:
        handle.remove()
    nn.Linear(1, 1)(torch.zeros(1, 1))
    assert seen == [nn.Linear]


def test_reads_tell_what_was_read():
    """Numbers read from the second input are constants of the graph; of the first they are noted too."""

    def f(x, n):
        with _torch.Reads() as reads:
            kept.append(reads)
            y = x * int(n.max())
            return y + 1 if bool(torch.arange(3)[1] > 0) else y - 1

    kept = []
    x, n = torch.randn(3), torch.tensor([1, 5])
    graph = _torch.make_fx(functionalize(f))(x, n)
    torch.testing.assert_close(graph(x, n), 5 * x + 1)
    placeholders = {node.name for node in graph.graph.nodes if node.op == "placeholder"}
    read = [node for reads in kept for node, _ in reads.nodes]
    assert len(read) >= 2
    direct = {m.name for node in read for m in node.all_input_nodes} & placeholders
    assert len(direct) == 1  # n, through its maximum; not x


def test_autograd_works_here_and_in_forks():
    """Asked once before anything is traced: a fork can differentiate what it likes."""
    assert _torch.autograd_works()
    assert in_a_fork(_torch.autograd_works)


def test_one_mode_for_a_trace():
    """A mode is made once, not for each operation; the graph is that of torch's own function."""

    def f(x):
        for _ in range(20):
            x = x.sin() + 1
        return (x,)

    made, usual = [], FakeTensorMode.__init__
    x = torch.randn(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeTensorMode, "__init__", lambda self, **words: made.append(1) or usual(self, **words))
        graph = _torch.make_fx(f)(x)
    asks = "detect_fake_mode" in inspect.getsource(proxy_tensor.extract_val)  # torch 2.6 does not
    assert len(made) < (10 if asks else 100) and str(graph.graph) == str(make_fx(f)(x).graph)
    assert len({id(n.meta["val"]) for n in graph.graph.nodes if n.op == "call_function"}) == (1 if asks else 40)


def test_tracing_fake_tensors():
    with FakeTensorMode():
        x = torch.randn(3)
        assert len(_torch.make_fx(lambda x: (x.sin(),))(x).graph.nodes) == 3


def test_a_compiled_graph_is_found_in_the_cache_the_next_time():
    """Sizes could be symbols, but are not: else the compiler would not look into its cache."""
    from torch._dynamo.utils import counters

    def f(x, y):
        return ((x @ y).tanh().exp().sum(), x * 2)

    inputs = [torch.linspace(-1, 1, 6).reshape(2, 3), torch.linspace(0, 1, 12).reshape(3, 4)]
    for _ in range(2):
        counters.clear()
        made = _torch.compile_graph(_torch.make_fx(f)(*inputs), inputs)
        torch.testing.assert_close(tuple(made(*inputs)), f(*inputs))
    assert counters["inductor"]["fxgraph_cache_hit"] >= 1 and not counters["inductor"]["fxgraph_cache_miss"]


@pytest.mark.parametrize("rows", [3, 3000], ids=["small: no vector code", "large"])
def test_a_compiled_graph_gives_what_the_graph_gives(rows):
    def f(x, y):
        z = x.tanh() + torch.logaddexp(x, x.sin() - torch.inf)
        return torch.cat([z @ y, z.amax(1, keepdim=True)], 1), torch.where(x > 0, x, 0.0).sum()

    inputs = [torch.linspace(-1, 1, 2 * rows).reshape(rows, 2), torch.linspace(0, 1, 6).reshape(2, 3)]
    made = _torch.compile_graph(_torch.make_fx(f)(*inputs), inputs)
    torch.testing.assert_close(tuple(made(*inputs)), f(*inputs), rtol=1e-5, atol=1e-6)


def test_the_compiler_works_alone_in_a_fork():
    import torch._inductor.config as config

    with config.patch(compile_threads=4):
        _torch.compile_alone()
        assert config.compile_threads == 1


class Words(np.random.bit_generator.ISeedSequence):
    """Stands in for a seed sequence: one seed of 64 bits, and other words after it."""

    def __init__(self, word):
        self.word = word

    def generate_state(self, n_words, dtype=np.uint32):
        return np.full(n_words, 5 if np.dtype(dtype) == np.uint64 else self.word, dtype)


def test_a_generator_is_seeded_by_all_of_its_words():
    """It is numpy's: 32 bits at a time, over two rounds of its 624 words. Numpy gives the last word of its state first."""
    sequence = np.random.SeedSequence(2**64 - 1, spawn_key=(1, 2))
    expected = torch.from_numpy(np.random.MT19937(sequence).random_raw(1500).astype(np.int64))[1:]
    made = torch.randint(2**24, (1499,), generator=_torch.seed_wholly(torch.Generator(), sequence))
    assert torch.equal(made, expected % 2**24)
    used = torch.Generator()
    torch.randn(3, generator=used)  # in the midst of words, with half a pair of normal numbers left
    fresh, again = (_torch.seed_wholly(g, sequence) for g in (torch.Generator(), used))
    assert torch.equal(torch.randn(5, generator=fresh), torch.randn(5, generator=again))
    one, other = (_torch.seed_wholly(torch.Generator(), Words(word)) for word in (1, 2))
    assert one.initial_seed() == other.initial_seed() == 5
    assert not torch.isin(torch.rand(700, generator=one), torch.rand(700, generator=other)).all()
    assert torch.rand(1, generator=one) != torch.rand(1, generator=other)
