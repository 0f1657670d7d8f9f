"""Threads of one process: Pyro's and torch's global state is for one at a time, and each gets what it gets alone."""

import os
import threading

import pytest
import torch
from forks import in_a_fork
from targets import orthogonal_design, regression

import bnn_zoo as bz
from bnn_zoo._scope import alone

DATA = orthogonal_design(16)
SINGLE = tuple(t.float() for t in DATA)


def in_threads(*works):
    """What each work returns, all begun at once; raises what one of them raises."""
    answers, ready = [None] * len(works), threading.Barrier(len(works))

    def run(i):
        ready.wait()
        try:
            answers[i] = works[i]()
        except BaseException as error:
            answers[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


@pytest.mark.filterwarnings("ignore:.*temperature of the draws:UserWarning")
def test_fits_in_threads_are_those_made_alone():
    """Two dtypes, one with forks, one with Pyro's parameter store; the caller's state is as before."""
    works = [
        lambda: bz.fit(
            regression, SINGLE, bz.RandomWalk(chains=2, warmup=5, draws=8, thinning=1, processes=2), progress=False
        ),
        lambda: bz.fit(regression, DATA, bz.MeanField(steps=30, draws=8), progress=False),
        lambda: bz.fit(regression, DATA, bz.SGLD(chains=2, steps=40, step_size=1e-3), seed=1, progress=False),
    ]
    apart = [work() for work in works]
    state = torch.random.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    together = in_threads(*works)
    for one, other in zip(apart, together, strict=True):
        assert one.draws.sites["w"].dtype == other.draws.sites["w"].dtype
        assert torch.equal(one.draws.sites["w"], other.draws.sites["w"])
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert (torch.get_default_dtype(), torch.get_num_threads()) == state[1:]


def test_predictions_and_exports_in_threads_are_those_made_alone():
    def posterior(dtype):
        generator = torch.Generator().manual_seed(0)
        model = bz.BNN(torch.nn.Linear(2, 1), bz.priors.Normal(), bz.likelihoods.Gaussian(1.0))
        sites = {"weight": torch.randn(2, 30, 1, 2, generator=generator), "bias": torch.randn(2, 30, 1, generator=generator)}
        rows = torch.randn(40, 2, generator=generator), torch.zeros(40)
        return bz.Posterior(model, tuple(t.to(dtype) for t in rows), bz.Draws({k: v.to(dtype) for k, v in sites.items()}))

    single, double = posterior(torch.float32), posterior(torch.float64)
    works = [
        lambda: single.predict(single.rows[0], seed=1).draws,
        lambda: double.predict(double.rows[0], seed=2).draws,
        lambda: bz.export.group(single.to_inference_data(seed=3), "posterior_predictive")["y"].values,
        lambda: double.log_likelihood()["y"],
    ]
    apart, together = [work() for work in works], in_threads(*works)
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), rtol=0, atol=0)


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_a_fork_made_while_another_thread_has_its_turn_can_work():
    """A lock that is held at a fork stays held in it for ever, for the thread that would release it is not there."""
    mine, done = threading.Event(), threading.Event()

    def hold():
        with alone():
            mine.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    mine.wait()
    try:
        draws = in_a_fork(regression_draws)
    finally:
        done.set()
        thread.join()
    assert draws == regression_draws()


def regression_draws():
    return bz.SGLD(chains=1, steps=10, step_size=1e-3).run(regression, DATA, progress=False).sites["w"].tolist()
