"""Temporary changes of global state: what is changed inside, what is put back, and what is never touched."""

import pytest
import torch

from bnn_zoo import _scope
from bnn_zoo._scope import factory, random_state_kept, seeded

CPU = torch.device("cpu")


class OneDevice:
    """Stands in for torch.cuda's random state: a state for each device, and a list of who was asked."""

    def __init__(self, monkeypatch):
        self.states, self.asked = {0: torch.tensor([10]), 1: torch.tensor([11])}, []
        monkeypatch.setattr(torch.cuda, "get_rng_state", self.get)
        monkeypatch.setattr(torch.cuda, "set_rng_state", self.set)
        monkeypatch.setattr(_scope.torch, "Generator", Seeded)

    def get(self, device):
        self.asked.append(device.index)
        return self.states[device.index]

    def set(self, state, device):
        self.asked.append(device.index)
        self.states[device.index] = state


class Seeded:
    """Stands in for a CUDA generator."""

    def __init__(self, device):
        self.device = device

    def manual_seed(self, seed):
        self.seed = seed
        return self

    def get_state(self):
        return torch.tensor([self.device.index, self.seed])


def test_seeded_on_the_cpu():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(3, CPU):
        assert torch.equal(torch.rand(4), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_put_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(3, CPU):
        torch.rand(4)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("scope", [lambda: seeded(3, CPU), lambda: random_state_kept(CPU)], ids=["seeded", "kept"])
def test_a_run_on_the_cpu_never_asks_cuda(scope, monkeypatch):
    cuda, ready = OneDevice(monkeypatch), torch.cuda.is_initialized()
    with scope():
        torch.rand(2)
    assert not cuda.asked and torch.cuda.is_initialized() == ready


def test_seeded_on_one_cuda_device(monkeypatch):
    """Its own state starts from the seed and comes back; the other device is not asked."""
    cuda = OneDevice(monkeypatch)
    with seeded(3, torch.device("cuda", 1)):
        assert cuda.states[1].tolist() == [1, 3]
        cuda.states[1] = torch.tensor([99])  # somebody draws
    assert cuda.states[1].item() == 11 and set(cuda.asked) == {1}


@pytest.mark.cuda
def test_seeded_on_a_gpu():
    there = torch.device("cuda", torch.cuda.device_count() - 1)
    others = [i for i in range(torch.cuda.device_count()) if i != there.index]
    before = {i: torch.cuda.get_rng_state(i) for i in (*others, there.index)}
    with seeded(3, there):
        first = torch.rand(4, device=there)
        assert all(torch.equal(torch.cuda.get_rng_state(i), before[i]) for i in others)
    with seeded(3, there):
        assert torch.equal(torch.rand(4, device=there), first)
    assert all(torch.equal(torch.cuda.get_rng_state(i), state) for i, state in before.items())


def test_factory():
    with factory(torch.device("meta"), torch.float64):
        made = torch.zeros(2)
        assert made.device.type == "meta" and made.dtype == torch.float64
    assert torch.zeros(2).device.type == "cpu" and torch.get_default_dtype() == torch.float32


def test_factory_looks_at_the_index_of_a_device(monkeypatch):
    """Where the caller's default is cuda:0, data on cuda:1 still get their tensors beside them."""
    monkeypatch.setattr(torch, "get_default_device", lambda: torch.device("cuda", 0))
    entered = []

    class Second:
        type = "cuda"

        def __enter__(self):
            entered.append(self)

        def __exit__(self, *error):
            pass

    with factory(Second(), torch.float32):
        assert len(entered) == 1
    with factory(torch.device("cuda", 0), torch.float32):
        assert torch.zeros(2).device.type == "cpu"  # nothing was entered: what is there already is right
