"""Chains spread over forked processes: the draws, what is put back, and every way in which a process can end."""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from dataclasses import replace

import pytest
import torch
from targets import orthogonal_design, regression, regression_posterior
from test_backends import within_errors

import bnn_zoo as bz
from bnn_zoo._interrupt import gently, safe_point
from bnn_zoo.backends import _processes
from bnn_zoo.backends._processes import Ended, how_many, spread
from bnn_zoo.run.loop import Run

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")

CPU = torch.device("cpu")
DATA = orthogonal_design(16)
QUICK = bz.NUTS(chains=4, warmup=20, draws=8, processes=2)


def run(backend, data=DATA, seed=0):
    return backend.run(regression, data, seed=seed, progress=False)


def never(part):
    return False


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


# ---------------------------------------------------------------------------------------------------- how many


@pytest.mark.parametrize("asked, chains, expected", [(None, 4, 2), (None, 1, 1), (1, 4, 1), (3, 4, 3), (3, 2, 2), (8, 8, 8)])
def test_how_many(asked, chains, expected, two_threads, monkeypatch):
    """What was asked for, or one a core; never more than chains. Torch's threads do not matter: draws depend on this."""
    monkeypatch.setattr(_processes, "cores", lambda: 2)
    for threads in (1, 3, 2):
        torch.set_num_threads(threads)
        assert how_many(asked, chains, CPU) == expected


@pytest.mark.parametrize("asked", [None, 1, 2])
def test_one_process_on_a_gpu(asked):
    if asked == 2:
        with pytest.warns(UserWarning, match="processes=2 is for the CPU: all chains run in one process on cuda"):
            assert how_many(asked, 4, torch.device("cuda")) == 1
    else:
        assert how_many(asked, 4, torch.device("cuda")) == 1


@pytest.mark.parametrize("place", ["no fork", "CUDA in use"])
def test_the_same_draws_where_forking_is_out_of_the_question(place, monkeypatch):
    """The groups of chains run in this process, one after the other; nothing is forked."""
    backend = bz.NUTS(chains=3, warmup=20, draws=4, processes=2)
    forked = run(backend)
    if place == "no fork":
        monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    else:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(_processes, "_Fork", None)
    again = run(backend)
    assert torch.equal(forked.sites["w"], again.sites["w"]) and again.attrs["processes_used"] == 2
    assert all(torch.equal(v, again.stats[name]) for name, v in forked.stats.items())
    assert forked.attrs["gradients"] == again.attrs["gradients"]


def test_ctrl_c_where_forking_is_out_of_the_question(monkeypatch):
    """The draws of the first group are kept, and the second does not begin."""
    monkeypatch.setattr(_processes, "forks", lambda: False)
    advance, calls = Run.advance, iter(range(1000))

    def interrupted(walk, _=0):
        if next(calls) == 22:
            raise KeyboardInterrupt
        advance(walk)

    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        draws = run(bz.NUTS(chains=3, warmup=20, draws=4, processes=2))
    assert draws.sites["w"].shape[:2] == (2, 2) and next(calls) == 23


def in_a_daemon(work):
    """``work()`` in a daemon process, which may have no children."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = context.Process(target=lambda: send.send(work()), daemon=True)
        process.start()
    assert receive.poll(60)
    answer = receive.recv()
    process.join()
    return answer


def test_a_daemon_process_runs_all_chains_itself():
    def work():
        torch.set_num_threads(2)
        draws = run(bz.NUTS(chains=4, warmup=2, draws=3))
        return _processes.forks(), draws.attrs["processes_used"], tuple(draws.sites["w"].shape)

    assert in_a_daemon(work) == (False, how_many(None, 4, CPU), (4, 3, 4))


# ---------------------------------------------------------------------------------------------------- the draws


@pytest.mark.slow
def test_all_chains_have_the_right_law():
    data = orthogonal_design()
    mean, covariance = regression_posterior(*data)
    draws = run(bz.NUTS(chains=4, warmup=100, draws=120, processes=2), data)
    assert draws.attrs["processes_used"] == 2 and draws.sites["w"].shape == (4, 120, 4)
    assert all(value.shape == (4, 120) for value in draws.stats.values())
    within_errors(draws.sites["w"], mean, covariance.diagonal().sqrt())
    for group in (draws.sites["w"][:2], draws.sites["w"][2:]):
        within_errors(group, mean, covariance.diagonal().sqrt())
    assert draws.stats["step_size"][0, 0] == draws.stats["step_size"][1, 0] != draws.stats["step_size"][2, 0]


@pytest.mark.parametrize(
    "backend",
    [
        QUICK,
        bz.HMC(chains=3, warmup=10, draws=8, processes=3),
        pytest.param(bz.MCLMC(chains=3, warmup=10, draws=8, processes=2), marks=pytest.mark.slow),
    ],
    ids=["NUTS", "HMC", "MCLMC"],
)
def test_same_seed_same_draws(backend):
    first, second, other = run(backend), run(backend), run(backend, seed=1)
    assert first.sites["w"].shape == (backend.chains, 8, 4)
    assert torch.equal(first.sites["w"], second.sites["w"])
    assert all(torch.equal(first.stats[k], second.stats[k]) for k in first.stats)
    assert not torch.equal(first.sites["w"], other.sites["w"])
    ends = first.sites["w"][:, -1]
    assert (torch.cdist(ends, ends) + torch.eye(backend.chains) > 0).all()  # no two chains alike
    assert first.attrs["gradients"] == second.attrs["gradients"] > first.attrs["tuning_gradients"] > 0


def test_gradients_of_all_processes_are_counted():
    backend = bz.HMC(chains=4, warmup=0, draws=10, processes=2, step_size=0.1, init=bz.density.from_prior)
    draws = run(backend)
    steps = int(draws.stats["n_steps"].sum())
    assert steps <= draws.attrs["gradients"] <= steps + 20 * 4  # and a few for the starting points


def test_threads_and_random_state_are_put_back(two_threads):
    before = torch.random.get_rng_state()
    seen = spread(lambda group, _: (torch.get_num_threads(), os.getpid()), 2, never)
    assert [threads for threads, _ in seen] == [1, 1] and seen[0][1] == os.getpid() != seen[1][1]
    assert torch.get_num_threads() == 2
    run(QUICK)
    assert torch.get_num_threads() == 2 and torch.equal(torch.random.get_rng_state(), before)
    with pytest.raises(ZeroDivisionError):
        spread(lambda group, _: 1 // 0, 2, never)
    assert torch.get_num_threads() == 2
    assert spread(lambda group, _: torch.get_num_threads(), 1, never) == [2]  # alone, it keeps its threads


def test_results_come_in_order_and_may_be_large():
    parts = spread(lambda group, _: torch.full((300_000,), float(group)), 3, never)
    assert [float(part.mean()) for part in parts] == [0.0, 1.0, 2.0]


# ---------------------------------------------------------------------------------------------------- failures


def fail_in_group(bad, error):
    def work(group, watch=None):
        if group == bad:
            raise error
        return group

    return work


@pytest.mark.parametrize("error", [bz.ModelError("site 'w'"), ValueError("a value"), FloatingPointError("inf")])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_exception_keeps_its_type(bad, error):
    with pytest.raises(type(error), match=str(error)):
        spread(fail_in_group(bad, error), 3, never)
    assert_no_children()


def test_an_exception_in_a_sampler_of_a_child(monkeypatch):
    parent, advance = os.getpid(), Run.advance

    def broken(self, i):
        if os.getpid() != parent:
            raise FloatingPointError("in a child")
        advance(self, i)

    monkeypatch.setattr(Run, "advance", broken)
    with pytest.raises(FloatingPointError, match="in a child"):
        run(QUICK)


def test_what_cannot_be_sent_is_described():
    class Local(Exception):
        pass

    with pytest.raises(RuntimeError, match="Local"):
        spread(fail_in_group(1, Local("mine")), 2, never)
    with pytest.raises(RuntimeError, match="lambda"):
        spread(lambda group, watch: lambda: group, 2, never)


def test_a_killed_child_leaves_its_place_to_its_end():
    def work(group, watch=None):
        if group == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return group

    first, killed, third = spread(work, 3, never)
    assert (first, killed, third) == (0, Ended(-signal.SIGKILL), 2)
    assert str(killed) == "ended with exit code -9 (out of memory?)"
    assert_no_children()


def assert_no_children():
    """All forks have ended, or do so within seconds."""
    for process in multiprocessing.active_children():
        process.join(10)
    assert not multiprocessing.active_children()


def test_a_failure_here_ends_children_that_are_at_work():
    waiting = threading.Event()  # never set

    def work(group, watch=None):
        if group == 0:
            raise ValueError("here")
        waiting.wait(60)

    with pytest.raises(ValueError, match="here") as kept:
        spread(work, 3, never)
    assert_no_children()
    assert kept.value is not None


class Large:
    """A result of 1 MB that says when it is about to be sent."""

    def __init__(self, write):
        self.write = write

    def __reduce__(self):
        os.write(self.write, b"!")
        return bytes, (bytes(1_000_000),)


def test_a_failure_here_ends_children_with_results_that_nobody_reads():
    """A result larger than a pipe's buffer must not keep its process waiting for ever, even while the error is kept."""
    read, write = os.pipe()

    def work(group, watch=None):
        if group == 0:
            for _ in range(2):
                os.read(read, 1)
            raise ValueError("here")
        return Large(write)

    with pytest.raises(ValueError, match="here") as kept:
        spread(work, 3, never)
    assert_no_children()
    assert kept.value is not None


# ---------------------------------------------------------------------------------------------------- Ctrl-C


def interrupt_here(monkeypatch, after, ready):
    """KeyboardInterrupt in this process at draw ``after``, once the others have made ``ready`` draws each.

    Of runs with the warm-up of ``QUICK`` and no thinning.
    """
    parent, advance = os.getpid(), Run.advance
    read, write = os.pipe()

    def interrupted(self, i):
        draw = self.step - QUICK.warmup
        if os.getpid() != parent and draw == ready:
            os.write(write, b"!")
        if os.getpid() == parent and draw == after:
            os.read(read, 1)
            raise KeyboardInterrupt
        advance(self, i)

    monkeypatch.setattr(Run, "advance", interrupted)


def test_ctrl_c_returns_the_draws_of_all(monkeypatch):
    """The others would go on for a million draws: the signal reaches them."""
    backend = replace(QUICK, draws=1_000_000, compile=False)
    interrupt_here(monkeypatch, after=5, ready=12)
    with pytest.warns(UserWarning, match="interrupted: 5 of 1000000 draws"):
        draws = run(backend)
    assert draws.attrs["interrupted"] and draws.sites["w"].shape == (4, 5, 4)
    assert all(value.shape == (4, 5) for value in draws.stats.values())
    assert (draws.sites["w"].diff(dim=1).abs().amax((1, 2)) > 0).all()
    assert_no_children()


def test_ctrl_c_gives_the_draws_that_an_uninterrupted_run_gives(monkeypatch):
    whole = run(QUICK)
    interrupt_here(monkeypatch, after=5, ready=6)
    with pytest.warns(UserWarning, match="interrupted: 5 of 8 draws"):
        part = run(QUICK)
    assert torch.equal(part.sites["w"], whole.sites["w"][:, :5])


def until_interrupted():
    while True:
        safe_point()
        time.sleep(0.01)


def test_ctrl_c_while_waiting_for_the_others():
    """This process is done, and the signal comes while it reads what another sends."""
    parent = os.getpid()

    def work(group, watch=None):
        if group == 0:
            return "all"
        try:
            os.kill(parent, signal.SIGINT)
            until_interrupted()
        except KeyboardInterrupt:
            return "some"

    assert spread(work, 2, never) == ["all", "some"]


def test_ctrl_c_again_does_not_wait_for_a_long_step():
    """What this process has is kept."""
    parent = os.getpid()

    def work(group, watch=None):
        if group == 0:
            return "all"
        for _ in range(2):
            os.kill(parent, signal.SIGINT)
            time.sleep(0.5)
        time.sleep(100)

    with gently("nothing"):
        first, second = spread(work, 2, never)
    assert first == "all" and str(second) == "was not waited for"
    assert_no_children()


def test_ctrl_c_in_warm_up_says_so(monkeypatch):
    parent, advance = os.getpid(), Run.advance

    def interrupted(self, i):
        if os.getpid() == parent and self.step == 3:
            raise KeyboardInterrupt
        advance(self, i)

    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt, match="no draws yet"):
        run(QUICK)
    assert_no_children()


def test_ctrl_c_keeps_the_draws_of_those_that_have_some(monkeypatch):
    """This process draws while the other still warms up: its two chains are returned."""
    parent, advance = os.getpid(), Run.advance
    read, write = os.pipe()

    def interrupted(self, i):
        if os.getpid() != parent and self.step == 3:
            os.write(write, b"!")
            until_interrupted()
        if self.step == QUICK.warmup + 4:
            os.read(read, 1)
            raise KeyboardInterrupt
        advance(self, i)

    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.warns(UserWarning, match="2 of 4 chains were still in warm-up and are left out"):
        with pytest.warns(UserWarning, match="interrupted: 4 of 8 draws were made"):
            draws = run(QUICK)
    assert draws.attrs["interrupted"] and draws.sites["w"].shape == (2, 4, 4)
    assert_no_children()


def test_a_fork_compiles_by_itself():
    """The threads of the compiler's pool do not live in a fork: one that waited for them would never end."""
    torch.compile(torch.sin)(torch.ones(3))

    def work(group, watch=None):
        if group:
            signal.alarm(120)  # a fork that waits is killed, and that is an error here
        return torch.compile(torch.cos if group else torch.sin)(torch.zeros(5))

    assert [float(part.sum()) for part in spread(work, 2, never)] == [0.0, 5.0]
