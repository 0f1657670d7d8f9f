"""Memory: draws lie in it once, results are made once, and what cannot fit is refused before the work."""

import gc
import os
import warnings
from functools import partial

import pyro
import pytest
import torch
from forks import in_a_fork
from pyro import distributions as dist
from targets import orthogonal_design, regression

import bnn_zoo as bz
from bnn_zoo import _memory
from bnn_zoo.backends import _draws
from bnn_zoo.predict import passes, whole
from bnn_zoo.run.loop import Run

LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak is read from /proc")
DATA = orthogonal_design(16)


def run(backend, data=DATA, seed=0):
    return backend.run(regression, data, seed=seed, progress=False)


# ---------------------------------------------------------------------------------------------------- the draws


def kilobytes(name):
    with open("/proc/self/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith(name)))


def peak_of(work):
    """Bytes that ``work()`` needs at its peak, beyond those there are before."""
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts from here
    before = kilobytes("VmRSS")
    kept = work()
    assert kept is not None
    return 1024 * (kilobytes("VmHWM") - before)


def many_normals(y):
    centre = pyro.sample("centre", dist.Normal(0.0, 1.0))
    w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([30_000]).to_event(1))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(centre + w.mean(), 1.0), obs=y)


BACKENDS = {
    "SGLD": lambda n: bz.SGLD(chains=1, steps=5 + n, warmup=5, thinning=1, step_size=1e-7),
    "HMC": lambda n: bz.HMC(chains=1, warmup=2, draws=n, step_size=1e-4, max_leapfrogs=1),
    "MCLMC": lambda n: bz.MCLMC(chains=1, warmup=20, draws=n, thinning=1),
    "SWAG": lambda n: bz.SWAG(chains=1, steps=8, draws=n, step_size=1e-9),
    "MeanField": lambda n: bz.MeanField(steps=2, draws=n),
    "Laplace": lambda n: bz.Laplace(chains=1, steps=2, draws=n, sites=("centre",)),
}


@LINUX
@pytest.mark.parametrize("name", ["SGLD", *(pytest.param(n, marks=pytest.mark.slow) for n in list(BACKENDS)[1:])])
def test_draws_lie_in_memory_once(name, monkeypatch):
    """What 400 more draws of 120 kB cost, in a process of their own."""
    monkeypatch.setattr(_draws, "BLOCK", 2**20)

    def fit(draws):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bz.fit(many_normals, (torch.zeros(8),), BACKENDS[name](draws), progress=False)

    def work():
        fit(3)  # whatever is made once
        return [peak_of(partial(fit, draws)) for draws in (120, 520)]

    few, many = in_a_fork(work)
    assert (many - few) / (400 * 4 * 30_001) < 1.6


def test_draws_are_the_same_in_blocks_of_any_size(monkeypatch):
    """Positions wait for a block to be full, whole or not at all; constrained sites and several chains among them."""

    def model(x, y):
        scale = pyro.sample("scale", dist.HalfNormal(torch.ones(2, dtype=x.dtype)).to_event(1))
        below = pyro.sample("below", dist.Uniform(0.0, scale[0]))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x[:, 0] * scale[1] + below, 1.0), obs=y)

    backends = [
        bz.RandomWalk(chains=3, warmup=4, draws=11, thinning=1, processes=2),
        bz.SGLD(chains=2, steps=30, warmup=4, thinning=2, step_size=1e-3),
    ]
    for backend in backends:
        by_size = []
        for size in (3 * 3 * 8 * 4, 2**24):
            monkeypatch.setattr(_draws, "BLOCK", size)
            by_size.append(backend.run(model, DATA, progress=False))
        for draws in by_size[1:]:
            for name, value in by_size[0].sites.items():
                assert torch.equal(draws.sites[name], value), name
            assert all(torch.equal(draws.stats[k], v) for k, v in by_size[0].stats.items())
        assert (by_size[0].sites["below"] < by_size[0].sites["scale"][..., 0]).all()


@pytest.mark.parametrize("processes", [1, 2])
def test_interrupted_draws_take_no_more_room_than_they_need(processes, monkeypatch):
    advance = Run.advance

    def interrupted(self, i):
        if self.step == 4 + 7:
            raise KeyboardInterrupt
        advance(self, i)

    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.warns(UserWarning, match=r"\d of 100000 draws") as said:
        draws = run(bz.NUTS(chains=2, warmup=4, draws=100_000, processes=processes, compile=False))
    w = draws.sites["w"]
    made = w.shape[1]  # of two processes one is stopped by the end of the other, with fewer draws perhaps
    assert f"{made} of 100000 draws" in str(said[0].message) and (made == 7 if processes == 1 else 1 <= made <= 7)
    assert w.shape == (2, made, 4) and w.untyped_storage().nbytes() == w.numel() * w.element_size()


# ---------------------------------------------------------------------------------------------------- what cannot fit

TOO_MANY = {
    "NUTS": bz.NUTS(draws=10**13),
    "HMC, warm-up": bz.HMC(warmup=10**13),
    "MCLMC": bz.MCLMC(draws=10**13),
    "MeanField": bz.MeanField(draws=10**13),
    "SGLD": bz.SGLD(steps=10**13, warmup=10, thinning=1),
    "SWAG": bz.SWAG(draws=10**13, steps=100),
    "Laplace": bz.Laplace(draws=10**13, steps=100),
}


@pytest.mark.parametrize("backend", TOO_MANY.values(), ids=TOO_MANY.keys())
def test_draws_that_no_memory_holds_are_refused_before_the_work(backend, monkeypatch):
    monkeypatch.setattr(bz.LogJoint, "__call__", lambda *_: pytest.fail("work began"))
    with pytest.raises(ValueError, match=r"need .* [PE]B, and .*B of memory are free: keep fewer draws"):
        run(backend)


def network(outputs=10):
    net = bz.nets.MLP(4, outputs, hidden=(3,))
    generator = torch.Generator().manual_seed(0)
    sites = {k: torch.randn(2, 3, *p.shape, generator=generator) for k, p in net.named_parameters()}
    model = bz.BNN(net, bz.priors.Normal(), bz.likelihoods.Categorical())
    rows = (torch.randn(20, 4, generator=generator), torch.zeros(20).long())
    return bz.Posterior(model, rows, bz.Draws(sites))


def test_predictions_that_do_not_fit_are_refused_and_the_remedy_works(monkeypatch):
    """2 × 3 draws of 3,000 rows of 10 classes: mean and variance in float32, and a label."""
    posterior, x = network(), torch.randn(3000, 4, generator=torch.Generator().manual_seed(1))
    need = 6 * 3000 * (2 * 10 * 4 + 8)
    everything = posterior.predict(x)
    monkeypatch.setattr(whole, "free_memory", lambda: need - 1.0)
    seen, run_laws = [], passes.laws

    def laws(*args):
        for made in run_laws(*args):
            seen.append(made)
            yield made

    monkeypatch.setattr(passes, "laws", laws)
    with pytest.raises(
        bz.DataError, match=r"need 1\.58 MB \(site 'y': 6 × 3,000 × 10, .*take fewer rows at a time, such as x"
    ):
        posterior.predict(x)
    assert len(seen) == 1
    parts = [posterior.predict(part).mean for part in x.split(1000)]
    torch.testing.assert_close(torch.cat(parts), everything.mean)
    monkeypatch.setattr(whole, "free_memory", lambda: float(need))
    torch.testing.assert_close(posterior.predict(x).f, everything.f, rtol=0, atol=0)


def test_results_in_blocks_of_rows_and_draws_are_those_of_one_pass(monkeypatch):
    posterior, x = network(), torch.randn(2500, 4, generator=torch.Generator().manual_seed(1))
    in_blocks = posterior.predict(x)
    monkeypatch.setattr(passes, "NUMBERS", 1)  # draw by draw
    by_draw = posterior.predict(x)
    monkeypatch.setattr(passes, "ROWS", 10**6)
    monkeypatch.setattr(passes, "NUMBERS", 2**40)
    at_once = posterior.predict(x)
    for p in (in_blocks, by_draw):
        torch.testing.assert_close(p.f, at_once.f)
        torch.testing.assert_close(p.variances, at_once.variances)
        assert p.draws.shape == at_once.draws.shape == (2, 3, 2500) and p.draws.dtype == at_once.draws.dtype


@pytest.mark.parametrize("numbers", [1, 50, 2**22])
def test_moments_over_draws_in_blocks(numbers, monkeypatch):
    from bnn_zoo.predict import prediction

    monkeypatch.setattr(prediction, "NUMBERS", numbers)
    p = network().predict(torch.randn(7, 4, generator=torch.Generator().manual_seed(2)))
    f = p.f.double()
    torch.testing.assert_close(p.mean, f.mean((0, 1)).float())
    torch.testing.assert_close(p.epistemic, f.flatten(0, 1).std(0, correction=0).float())
    torch.testing.assert_close(p.aleatoric, (f * (1 - f)).mean((0, 1)).sqrt().float(), rtol=1e-5, atol=1e-6)


def test_the_budget_of_an_export_counts_classes(monkeypatch):
    """6 draws of 20 rows: 120 log likelihoods, and 1,200 means of the predictions of ten classes."""
    posterior = network()
    monkeypatch.setattr(bz.posterior, "BUDGET", 1199)
    assert "log_likelihood" in bz.export.groups(posterior.to_inference_data())
    monkeypatch.setattr(bz.posterior, "log_likelihood", lambda *_: pytest.fail("work began"))
    with pytest.raises(bz.DataError, match=r"1,200 numbers, 2 chains × 3 draws × 20 × 10, more than 1,199"):
        posterior.to_inference_data(test=posterior.rows)
    monkeypatch.setattr(bz.posterior, "BUDGET", 119)
    with pytest.raises(bz.DataError, match="120 numbers"):
        posterior.to_inference_data()


# ---------------------------------------------------------------------------------------------------- what is free


def test_free_memory_is_that_of_the_tightest_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(_memory, "_machine", lambda: 8e9)
    monkeypatch.setattr(_memory, "_control_group", lambda: 2e9)
    monkeypatch.setattr(_memory, "_limits", lambda: float("inf"))
    assert _memory.free_memory() == 2e9
    monkeypatch.setattr(_memory, "_limits", lambda: -5.0)
    assert _memory.free_memory() == 0


@LINUX
def test_limits_of_the_process_and_the_machine():
    import resource

    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < _memory._machine() <= total

    def work():
        resource.setrlimit(resource.RLIMIT_DATA, (1024 * kilobytes("VmData") + 10**9, resource.RLIM_INFINITY))
        return _memory.free_memory()

    assert in_a_fork(work) == pytest.approx(1e9, rel=0.05)


@pytest.mark.parametrize("size, text", [(12, "12B"), (1234, "1.23 kB"), (5e9, "5 GB"), (4.1e16, "41 PB")])
def test_sizes_are_said_in_units(size, text):
    assert _memory.said(size).replace(" B", "B") == text


# ---------------------------------------------------------------------------------------------------- data sets


class Rows(torch.utils.data.Dataset):
    """Rows with noise from torch's global random state, as augmentation makes it; counts how often it is read."""

    def __init__(self):
        self.read = 0

    def __len__(self):
        return 300

    def __getitem__(self, i):
        self.read += 1
        return torch.full((2,), float(i)) + torch.randn(2), torch.tensor(float(i))


def test_predict_after_a_fit_to_a_data_set_reads_one_row_and_no_random_state():
    rows = Rows()
    model = bz.BNN(torch.nn.Linear(2, 1), bz.priors.Normal(), bz.likelihoods.Gaussian(1.0))
    sites = {"weight": torch.zeros(1, 2, 1, 2), "bias": torch.zeros(1, 2, 1)}
    posterior = bz.Posterior(model, rows, bz.Draws(sites))
    before = torch.random.get_rng_state()
    assert posterior.predict(torch.zeros(5, 2)).mean.shape == (5,)
    with pytest.raises(bz.DataError, match=r"rows of shape \(2,\), got \(3,\)"):
        posterior.predict(torch.zeros(5, 3))
    assert rows.read <= 2  # of 300
    first, second = posterior.rows, bz.Posterior(model, rows, bz.Draws(sites)).rows
    assert torch.equal(first[0], second[0]) and len(first[0]) == 300
    assert torch.equal(torch.random.get_rng_state(), before)
