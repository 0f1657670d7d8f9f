"""Processes under stress: parents and children that are killed, signals at every phase, and what is left behind."""

import multiprocessing
import os
import signal
import threading
import time
import warnings

import pyro
import pytest
import torch
from forks import alive, children, in_a_fork, start
from targets import orthogonal_design, regression

import bnn_zoo as bz
from bnn_zoo.backends._ascent import SiteSink
from bnn_zoo.backends._processes import spread
from bnn_zoo.run.loop import Run

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="processes are looked at in /proc")

DATA = orthogonal_design(16)
LONG = bz.NUTS(chains=4, warmup=5, draws=1_000_000, processes=2, compile=False)


def run(backend, data=DATA, seed=0):
    return backend.run(regression, data, seed=seed, progress=False)


def until(true, seconds=30.0):
    """Wait until ``true()`` is; an error where that takes too long."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


# ---------------------------------------------------------------------------------------------------- a killed child


def kill_a_child(monkeypatch, at):
    """The forked group of chains kills itself at transition ``at``, those of the warm-up included."""
    parent, usual = os.getpid(), Run.advance

    def killed(self, i):
        if os.getpid() != parent and self.step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        usual(self, i)

    monkeypatch.setattr(Run, "advance", killed)


@pytest.mark.parametrize("at", [3, LONG.warmup + 3], ids=["warm-up", "draws"])
def test_a_killed_child_is_noticed_at_once_and_the_others_keep_their_draws(at, monkeypatch):
    """This process would go on for a million draws."""
    kill_a_child(monkeypatch, at)
    with pytest.warns(
        UserWarning, match=r"chains 2, 3 of 4 are lost, their process ended with exit code -9 \(out of memory"
    ):
        with pytest.warns(UserWarning, match="interrupted: .* of 1000000 draws were made"):
            draws = run(LONG)
    assert draws.attrs["interrupted"] and draws.chains == 2 and 0 < draws.draws < 1_000_000
    assert all(value.shape == (2, draws.draws) for value in draws.stats.values())
    assert draws.sites["w"].isfinite().all() and (draws.sites["w"].diff(dim=1).abs().amax((0, 2)) > 0).any()
    assert not children()


def test_draws_of_the_others_are_those_of_an_unharmed_run(monkeypatch):
    quick = bz.NUTS(chains=3, warmup=5, draws=20, processes=3)
    whole = run(quick)
    kill_a_child(monkeypatch, quick.warmup + 19)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = run(quick)
    assert part.chains < 3 and torch.equal(part.sites["w"][0], whole.sites["w"][0, : part.draws])


def test_killed_before_there_are_draws(monkeypatch):
    kill_a_child(monkeypatch, 0)
    backend = bz.NUTS(chains=4, warmup=1_000_000, draws=5, processes=2, compile=False)
    with pytest.raises(RuntimeError, match=r"process with chains 2, 3 ended with exit code -9 .*use fewer processes"):
        run(backend)
    assert not children()


def test_an_error_in_a_child_is_raised_at_once(monkeypatch):
    parent, advance = os.getpid(), Run.advance

    def broken(self, i):
        if os.getpid() != parent and self.step >= LONG.warmup:
            raise FloatingPointError("in a child")
        advance(self, i)

    monkeypatch.setattr(Run, "advance", broken)
    with pytest.raises(FloatingPointError, match="in a child"):
        run(LONG)
    assert not children()


# ---------------------------------------------------------------------------------------------------- a killed parent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
@pytest.mark.parametrize("phase", ["warm-up", "busy in one call"])
def test_children_end_with_their_parent(number, phase):
    """A child that is busy in one long call hears of nothing but the kernel."""

    def forked():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if phase == "warm-up":
            run(bz.NUTS(chains=2, warmup=1_000_000, draws=1, processes=2, compile=False))
        else:
            spread(lambda group, watch: time.sleep(100), 2, lambda part: False)

    parent, _ = start(forked)
    (child,) = until(lambda: children(parent.pid))
    time.sleep(0.2)
    os.kill(parent.pid, number)
    parent.join(20)
    assert parent.exitcode == -number
    until(lambda: not alive(child), 10)


def test_a_child_whose_parent_is_gone_before_it_begins():
    def late():
        os.getppid = lambda: 1
        spread(lambda group, watch: time.sleep(100), 2, lambda part: False)

    parent, _ = start(late)
    (child,) = until(lambda: children(parent.pid))
    until(lambda: not alive(child), 10)
    parent.kill()
    parent.join()


# ---------------------------------------------------------------------------------------------------- Ctrl-C


def state():
    """What belongs to the caller."""
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.random.get_rng_state().tolist(),
        list(pyro.get_param_store().keys()),
        pyro.settings.get("validate_distributions_pyro"),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
        signal.pthread_sigmask(signal.SIG_BLOCK, []),
        len(pyro.poutine.runtime._PYRO_STACK),
    )


BACKENDS = {
    "NUTS": bz.NUTS(chains=2, warmup=30, draws=10**6, processes=2, compile=False),
    "one process": bz.HMC(chains=2, warmup=30, draws=10**6, processes=1, compile=False),
    "SGLD": bz.SGLD(chains=2, steps=10**6, warmup=20, thinning=1000, step_size=1e-5),
    "MeanField": bz.MeanField(chains=2, steps=10**6),
    "SWAG": bz.SWAG(chains=2, steps=10**6, warmup=20, thinning=10, step_size=1e-5),
    "Laplace": bz.Laplace(chains=2, steps=10**6),
    "DeepEnsemble": bz.DeepEnsemble(chains=2, steps=10**6),
}


OFTEN = {"NUTS", "SGLD", "MeanField"}
EACH = [pytest.param(b, id=name, marks=[] if name in OFTEN else pytest.mark.slow) for name, b in BACKENDS.items()]


@pytest.mark.parametrize("backend", EACH)
def test_ctrl_c_at_any_moment_leaves_nothing_behind(backend):
    """A real signal at moments from the first look at the model to the draws; draws that are returned say so."""
    pyro.param("mine", torch.ones(2))

    def work():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before, ended = state(), []
        for delay in (0.001, 0.01, 0.05, 0.4):
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    draws = run(backend)
                ended.append(draws.attrs["interrupted"])
            except KeyboardInterrupt:
                ended.append(None)
            timer.join()
            assert state() == before and not children()
        return ended

    try:
        ended = in_a_fork(work)
        assert len(ended) == 4 and False not in ended
    finally:
        pyro.clear_param_store()


@pytest.mark.slow
def test_ctrl_c_while_torch_traces_does_no_harm():
    """An exception in the midst of a trace leaves torch's modes behind, or is lost in C++, or aborts the process."""

    def work():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        whole = run(bz.HMC(chains=2, warmup=3, draws=3, processes=1))
        for i in range(60):
            timer = threading.Timer(0.0005 * i, os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    run(bz.HMC(chains=2, warmup=3, draws=10**6, processes=1, compile=False))
            except KeyboardInterrupt:
                pass
            timer.join()
        return torch.equal(whole.sites["w"], run(bz.HMC(chains=2, warmup=3, draws=3, processes=1)).sites["w"])

    assert in_a_fork(work)


@pytest.mark.parametrize(
    "backend",
    [bz.MAP(steps=10**6), bz.DeepEnsemble(chains=2, steps=10**6), bz.Laplace(steps=10**6, draws=5)],
    ids=lambda b: type(b).__name__,
)
def test_an_interrupted_optimum_says_so(backend, monkeypatch):
    advance = Run.advance

    def interrupted(self, i):
        if self.step == 7:
            raise KeyboardInterrupt
        advance(self, i)

    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.warns(UserWarning, match="interrupted after 7 of 1000000 steps"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not curve down")
            draws = run(backend)
    assert draws.attrs["interrupted"] is True


@pytest.mark.parametrize("at", [0, 20], ids=["first step", "first draw"])
def test_ctrl_c_in_the_second_restart_keeps_the_first(at, monkeypatch):
    """Before its first step, and before there are draws of it."""
    whole = run(bz.MeanField(chains=2, steps=20, draws=30))
    advance, fits = Run.advance, []

    def interrupted(self, i):
        if self.step == 0:
            fits.append(self)
        if len(fits) == 2 and self.step == at:
            raise KeyboardInterrupt
        advance(self, i)

    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.warns(UserWarning, match="interrupted: 1 of 2 restarts are returned"):
        draws = run(bz.MeanField(chains=2, steps=20, draws=30))
    assert draws.attrs["interrupted"] and torch.equal(draws.sites["w"], whole.sites["w"][:1])


def test_ctrl_c_while_q_is_drawn_from_keeps_what_there_is(monkeypatch):
    whole = run(bz.MeanField(chains=2, steps=20, draws=30))
    add = SiteSink.add

    def interrupted(sink, values, stats):
        if sink.count == 10:
            raise KeyboardInterrupt
        add(sink, values, stats)

    monkeypatch.setattr(SiteSink, "add", interrupted)
    with pytest.warns(UserWarning, match="10 draws are from q"):
        draws = run(bz.MeanField(chains=2, steps=20, draws=30))
    assert draws.attrs["interrupted"] and torch.equal(draws.sites["w"], whole.sites["w"][:1, :10])
    assert draws.stats["lp"].shape == draws.stats["log_q"].shape == (1, 10)


def test_no_process_is_left_when_starting_one_is_interrupted(monkeypatch):
    """Ctrl-C after the first of two forks."""
    begin, begun = multiprocessing.context.ForkProcess.start, []

    def interrupted(process):
        if begun:
            raise KeyboardInterrupt
        begin(process)
        begun.append(process)

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        spread(lambda group, watch: time.sleep(100), 3, lambda part: False)
    assert not children() and not signal.pthread_sigmask(signal.SIG_BLOCK, [])
