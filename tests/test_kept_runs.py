"""Runs that are kept in a folder: broken anywhere and taken up again, they are the run that was never broken."""

import os
import random
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

import bnn_zoo as bz
from bnn_zoo._tree import take_apart
from bnn_zoo.backends._kept import about_run
from bnn_zoo.catalogue import of
from bnn_zoo.density import LogJoint
from bnn_zoo.run.keeper import RESULT
from bnn_zoo.run.loop import Run

METHODS = {name: entry.make() for name, entry in of("backend").items()}
pytestmark = pytest.mark.filterwarnings(  # of runs far too short
    "ignore:.*diverged", "ignore:.*taken back", "ignore:.*curve down", "ignore:.*temperature of the draws"
)


def rows(count=24):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator)
    return x, (x[:, 0] > 0).long()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch, request):
    """Disks that sync at once, except where processes are killed."""
    if "kills" not in request.node.name:
        monkeypatch.setattr(os, "fsync", lambda _: None)


MODEL = bz.BNN(bz.nets.MLP(3, 2, hidden=(4,)), bz.priors.Normal(1.0), bz.likelihoods.Categorical())


class Broken(Exception):
    """Stands for whatever ends a process."""


def breaking(monkeypatch, at):
    """The loop raises ``Broken`` before step ``at`` of its next run in this process, and not again."""
    advance, steps = Run.advance, iter(range(10**9))

    def broken(run, _=0):
        if next(steps) == at:
            raise Broken
        advance(run)

    monkeypatch.setattr(Run, "advance", broken)
    return lambda: monkeypatch.setattr(Run, "advance", advance)


def same(a, b):
    for kind in ("sites", "stats", "history"):
        x, y = getattr(a.draws, kind), getattr(b.draws, kind)
        assert list(x) == list(y) and all(torch.equal(x[name][:], y[name][:].to(x[name][:])) for name in x), kind
    for name in ("gradients", "divergences", "interrupted", "compiled"):
        assert a.draws.attrs.get(name) == b.draws.attrs.get(name), name


def in_parts(backend, data, folder, monkeypatch, at):
    """The posterior of a run broken at these steps, one after the other, each of a process of its own."""
    for step in at:
        mend = breaking(monkeypatch, step)
        with pytest.raises(Broken):
            bz.fit(MODEL, data, backend, progress=False, checkpoint=folder, every=0)
        mend()
    return bz.fit(MODEL, data, backend, progress=False, checkpoint=folder, every=0)


def alone(name, **changed):
    """Settings of a run in one process, from starts that take no time."""
    backend = METHODS[name]
    one = {"processes": 1} if "processes" in type(backend).__dataclass_fields__ else {}
    return replace(backend, **{"init": bz.density.from_support} | one | changed)


KINDS = {"NUTS", "SGHMC", "Laplace", "MeanField"}
"""One of each way to keep a state; the others are slow."""
EACH = [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]


@pytest.mark.parametrize("name", EACH)
def test_a_run_broken_in_two_places_is_the_unbroken_one(name, tmp_path, monkeypatch):
    """In the first phase and after it; and read again at its end."""
    backend = alone(name)
    whole = bz.fit(MODEL, rows(), backend, progress=False)
    parts = in_parts(backend, rows(), tmp_path / "run", monkeypatch, (3, 4))
    same(whole, parts)
    monkeypatch.setattr(Run, "advance", None)
    same(whole, bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run"))


def long_enough(**settings):
    """For all windows of the warm-up, with trajectories of a step."""
    return alone("NUTS", warmup=155, draws=1, max_tree_depth=1, **settings)


LAID_OUT = {
    **{name: alone(name) for name in METHODS},
    "default, one chain": long_enough(chains=1),
    "dense, one chain": long_enough(chains=1, mass_matrix=bz.DenseMass()),
    "dense": long_enough(chains=2, mass_matrix=bz.DenseMass()),
    "low rank": long_enough(chains=2, mass_matrix=bz.LowRankFisherMass(rank=3)),
    "each its own": long_enough(chains=2, mass_matrix=bz.DenseFisherMass(pooled=False)),
}
OFTEN = KINDS | {"dense, one chain", "low rank"}


@pytest.mark.parametrize("name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in LAID_OUT])
def test_states_are_laid_out_as_they_are_read(name, tmp_path, monkeypatch):
    """A matrix stored by columns, or shared by chains, may give products with other last bits than what is read back."""
    found = set()

    def looking(tree):
        skeleton, tensors = take_apart(tree)
        found.update(name for name, tensor in tensors.items() if not tensor.is_contiguous())
        return skeleton, tensors

    monkeypatch.setattr("bnn_zoo.run._state.take_apart", looking)
    bz.fit(MODEL, rows(), LAID_OUT[name], progress=False, checkpoint=tmp_path / "run", every=0)
    assert not found


@pytest.mark.parametrize(
    "mass", [bz.DenseMass(), *(pytest.param(m, marks=pytest.mark.slow) for m in (bz.DenseFisherMass(), bz.DiagonalMass()))]
)
def test_a_warm_up_broken_in_early_windows_and_after_them(mass, tmp_path, monkeypatch):
    """Before transitions 7, 12, 52 and 82: cut trajectories, draws and gradients kept, moments of Stan's first window."""
    backend = long_enough(mass_matrix=mass)
    whole = bz.fit(MODEL, rows(), backend, progress=False)
    same(whole, in_parts(backend, rows(), tmp_path / "run", monkeypatch, (7, 5, 40, 30)))


@pytest.mark.slow
@pytest.mark.parametrize("pooled", [False, True], ids=["each chain its own", "pooled"])
def test_a_warm_up_broken_while_and_after_mclmc_makes_it(pooled, tmp_path, monkeypatch):
    """Before transitions 5, 10 (the last by MCLMC is 9), 13 and 17."""
    mass = bz.DiagonalMass(pooled=pooled)
    backend = alone("AdjustedMCLMC", chains=2, warmup=15, draws=4, mass_matrix=mass, trajectory_length=None)
    whole = bz.fit(MODEL, rows(), backend, progress=False)
    same(whole, in_parts(backend, rows(), tmp_path / "run", monkeypatch, (5, 5, 3, 4)))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_run_broken_anywhere(name, tmp_path, monkeypatch):
    """At each of its steps in turn, each time from the beginning; with minibatches where the method has them."""
    batches = {"batch_size": 8} if "batch_size" in type(METHODS[name]).__dataclass_fields__ else {}
    backend = alone(name, **batches)
    whole = bz.fit(MODEL, rows(), backend, progress=False)
    step, broken = 1, True
    while broken:
        folder, mend = tmp_path / f"run{step}", breaking(monkeypatch, step)
        try:
            bz.fit(MODEL, rows(), backend, progress=False, checkpoint=folder, every=0)
            broken = False
        except Broken:
            pass
        mend()
        same(whole, bz.fit(MODEL, rows(), backend, progress=False, checkpoint=folder, every=0))
        step += 1
    assert step > 8


@pytest.mark.slow
@pytest.mark.parametrize("guide", [pyro.infer.autoguide.AutoNormal, pyro.infer.autoguide.AutoMultivariateNormal])
@pytest.mark.parametrize("optimiser", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD, torch.optim.NAdam])
def test_guides_and_optimisers_of_others_are_taken_up(guide, optimiser, tmp_path, monkeypatch):
    backend = bz.MeanField(steps=12, draws=4, chains=2, guide=guide, optimiser=optimiser, learning_rate=1e-3)
    whole = bz.fit(MODEL, rows(), backend, progress=False)
    same(whole, in_parts(backend, rows(), tmp_path / "run", monkeypatch, (5, 9)))


@pytest.mark.slow
@pytest.mark.parametrize("compile", [True, None])
def test_compiled_runs(compile, tmp_path, monkeypatch):
    for backend in (
        bz.NUTS(chains=2, warmup=40, draws=5, compile=compile),
        bz.SGLD(chains=2, steps=40, compile=bool(compile)),
        bz.MeanField(chains=2, steps=25, draws=4, compile=compile),
    ):
        whole = bz.fit(MODEL, rows(), backend, progress=False)
        folder = tmp_path / type(backend).__name__
        same(whole, in_parts(backend, rows(), folder, monkeypatch, (20,)))


def test_a_run_of_loops_in_c(tmp_path, monkeypatch):
    """Broken in its warm-up and after it, and with draws added: the unbroken one."""
    monkeypatch.setattr("bnn_zoo.density.compiled.compile_graph", lambda *_: pytest.fail("this graph is small"))
    backend = alone("HMC", warmup=20, draws=12, compile=True)
    whole = bz.fit(MODEL, rows(), backend, progress=False)
    assert whole.draws.attrs["compiled"]
    same(whole, in_parts(backend, rows(), tmp_path / "run", monkeypatch, (9, 15)))
    begun = bz.fit(MODEL, rows(), replace(backend, draws=5), progress=False, checkpoint=tmp_path / "begun")
    same(whole, begun.extend(7, progress=False))


def test_the_number_of_processes_and_threads_is_that_of_the_run(tmp_path, monkeypatch):
    """A run that began with two processes and two threads keeps them where there is one core."""
    backend = bz.HMC(chains=3, warmup=4, draws=3, max_leapfrogs=2)
    monkeypatch.setattr("bnn_zoo.backends._processes.cores", lambda: 2)
    whole = bz.fit(MODEL, rows(), backend, progress=False)
    mend = breaking(monkeypatch, 3)
    with pytest.raises(Broken):
        bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run", every=0)
    mend()
    monkeypatch.setattr("bnn_zoo.backends._processes.cores", lambda: 1)
    again = bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run")
    same(whole, again)
    assert again.draws.attrs["processes_used"] == 2


def test_ctrl_c_keeps_the_run(tmp_path, monkeypatch):
    """The draws so far are returned, and the same call makes the others."""
    backend, advance, steps = alone("NUTS"), Run.advance, iter(range(100))
    whole = bz.fit(MODEL, rows(), backend, progress=False)

    def interrupted(run, _=0):
        if next(steps) == backend.warmup + 2 * backend.thinning:
            raise KeyboardInterrupt
        advance(run)

    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.warns(UserWarning, match="interrupted: 2 of"):
        part = bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run")
    assert part.draws.draws == 2
    monkeypatch.setattr(Run, "advance", advance)
    same(whole, bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run"))


@pytest.mark.filterwarnings("ignore:interrupted", "ignore:chains")
@pytest.mark.parametrize(
    "name, steps",
    [
        ("NUTS", 9),
        ("MeanField", 3),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("NUTS", 3), ("SGHMC", 3), ("SGHMC", 9), ("MeanField", 9))
        ),
    ],
)
def test_sigterm_keeps_the_run_and_ends_the_process(name, steps, tmp_path, monkeypatch):
    """In the first phase, where there are no draws, and after it."""
    backend, advance, at = alone(name), Run.advance, iter(range(100))
    whole = bz.fit(MODEL, rows(), backend, progress=False)

    def terminated(run, _=0):
        if next(at) == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        advance(run)

    monkeypatch.setattr(Run, "advance", terminated)
    with pytest.raises(SystemExit) as end:
        bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run")
    assert end.value.code == 143 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.setattr(Run, "advance", advance)
    kept = [path.stem.split("-")[1:] for path in (tmp_path / "run").glob("state-*")]
    assert kept and not any(int(part) == RESULT for part, _ in kept)
    assert name == "MeanField" or kept == [["0000", f"{steps + 1:012d}"]]
    same(whole, bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run"))


CHANGES = {
    "seed": (lambda fit: fit(seed=1), "seed: expected 0, got 1"),
    "settings": (lambda fit: fit(backend=alone("SGLD", step_size=1e-3)), "settings.step_size: expected .*, got 0.001"),
    "backend": (lambda fit: fit(backend=alone("SGHMC")), 'backend: expected "SGLD", got "SGHMC"'),
    "data": (lambda fit: fit(data=(rows()[0] + 0.1, rows()[1])), "data: expected"),
    "sites": (
        lambda fit: fit(bz.BNN(bz.nets.MLP(3, 2, hidden=(5,)), bz.priors.Normal(1.0), bz.likelihoods.Categorical())),
        r"model.sites.0.weight: expected \[4, 3\], got \[5, 3\]",
    ),
    "prior": (
        lambda fit: fit(bz.BNN(bz.nets.MLP(3, 2, hidden=(4,)), bz.priors.Normal(2.0), bz.likelihoods.Categorical())),
        "model.log joint: expected",
    ),
    "dtype": (lambda fit: fit(data=(rows()[0].double(), rows()[1])), 'model.dtype: expected "float32", got "float64"'),
}


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """``fit`` into the folder of one run of SGLD, and what it was."""
    folder = tmp_path_factory.mktemp("kept") / "run"

    def fit(model=MODEL, data=None, backend=METHODS["SGLD"], seed=0):
        return bz.fit(model, data or rows(), backend, seed=seed, progress=False, checkpoint=folder)

    return fit, fit()


@pytest.mark.parametrize("what", CHANGES)
def test_another_run_is_refused(what, there):
    """And the one that is there is as it was."""
    (fit, first), (change, message) = there, CHANGES[what]
    with pytest.raises(ValueError, match=message):
        change(fit)
    if what == "sites":
        same(first, fit())


def test_arguments(tmp_path):
    class Own:
        def run(self, model, data, *, seed=0, device=None, progress=True):
            raise AssertionError

    with pytest.raises(TypeError, match=r"Own\.run takes no checkpoint"):
        bz.fit(MODEL, rows(), Own(), checkpoint=tmp_path / "run")
    with pytest.raises(TypeError, match="checkpoint must be the name of a folder, got 3"):
        bz.fit(MODEL, rows(), METHODS["SGLD"], checkpoint=3)
    with pytest.raises(ValueError, match="every must be a number of minutes"):
        bz.fit(MODEL, rows(), METHODS["SGLD"], checkpoint=tmp_path / "run", every=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        bz.fit(MODEL, rows(), METHODS["SGLD"], checkpoint=tmp_path / "file")


def test_what_is_said_of_a_run_has_no_addresses():
    backend = bz.SGLD(init=bz.density.FromNet(lambda: bz.nets.MLP(3, 2, hidden=(4,))), step_size=bz.schedules.cosine(1e-3))
    about = about_run(backend, LogJoint(MODEL, rows()), rows(), 0)
    assert (
        "0x" not in str(about)
        and about["settings"]["init"]
        and about == about_run(replace(backend), LogJoint(MODEL, rows()), rows(), 0)
    )


FULL = ("the run goes on, and is kept as it was at step 4", "the result is returned, and not kept")


def test_a_full_disk_ends_no_run(tmp_path, monkeypatch):
    from bnn_zoo.run.checkpoint import Folder

    backend, write, times = METHODS["SGLD"], Folder.write_state, iter(range(1000))
    whole = bz.fit(MODEL, rows(), backend, progress=False)

    def full(folder, part, step, tree):
        if next(times) >= 5:
            raise OSError(28, "No space left on device")
        write(folder, part, step, tree)

    monkeypatch.setattr(Folder, "write_state", full)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        draws = bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run", every=0)
    texts = {str(w.message) for w in said if "No space" in str(w.message)}
    assert texts == {f"[Errno 28] No space left on device: {end}" for end in FULL}
    same(whole, draws)
    monkeypatch.setattr(Folder, "write_state", write)
    same(whole, bz.fit(MODEL, rows(), backend, progress=False, checkpoint=tmp_path / "run"))


# ---------------------------------------------------------------------------------------------------- kills


def hierarchical(x, y=None, *, size=None):
    scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    w = pyro.sample("w", dist.Normal(torch.zeros(3), scale).to_event(1))
    with pyro.plate("data", size or len(x), subsample=x):
        return pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


FAMILIES = {
    "NUTS": bz.NUTS(chains=3, warmup=150, draws=150, processes=2),
    "MCLMC": bz.MCLMC(chains=2, warmup=300, draws=100, thinning=3, processes=1),
    "SGHMC": bz.SGHMC(chains=2, steps=600, batch_size=10, step_size=1e-3),
    "MeanField": bz.MeanField(chains=2, steps=250, draws=100),
    "SWAG": bz.SWAG(chains=2, steps=500, step_size=1e-4),
}
KILLS = int(os.environ.get("BNN_ZOO_KILLS", "6"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(os.name != "posix" or not Path("/proc").exists(), reason="needs fork and /proc")
@pytest.mark.parametrize("name", FAMILIES)
def test_kills_at_random_times(name, tmp_path):
    """SIGKILL, in warm-up, while writing, with several processes: the result is the unbroken run's, and nobody is left."""
    x, y = rows()
    data, backend, chance = (x, y.float()), FAMILIES[name], random.Random(0)
    whole = bz.fit(hierarchical, data, backend, progress=False)
    steps = []
    for _ in range(KILLS):
        child = os.fork()
        if not child:
            os.setsid()
            bz.fit(hierarchical, data, backend, progress=False, checkpoint=tmp_path / "run", every=0)
            os._exit(0)
        if chance.random() < 0.7:  # else before it has come anywhere
            before, end = kept_steps(tmp_path), time.monotonic() + 60
            while kept_steps(tmp_path) == before and time.monotonic() < end:
                time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert nobody_of(child)
        steps.append(sum(kept_steps(tmp_path).values()))
    assert steps == sorted(steps) and steps[-1] > steps[0]  # nothing kept is lost
    same(whole, bz.fit(hierarchical, data, backend, progress=False, checkpoint=tmp_path / "run"))


def kept_steps(folder):
    """The newest step of each part."""
    found = {}
    for path in folder.glob("run/state-*.safetensors"):
        _, part, step = path.stem.split("-")
        found[part] = max(found.get(part, 0), int(step))
    return found


def nobody_of(session, seconds=5.0):
    """Whether all processes of the session are gone."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                alive += int(stat[3]) == session and stat[0] != "Z"
        if not alive:
            return True
        time.sleep(0.05)
    return False
