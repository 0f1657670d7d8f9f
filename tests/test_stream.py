"""Draws on disk: what a posterior says of them is what it says of the same in memory; and what is done with kept runs."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bnn_zoo as bz
from bnn_zoo.backends._draws import OnDisk
from bnn_zoo.backends._kept import plain
from bnn_zoo.backends._rebuilt import rebuilt
from bnn_zoo.catalogue import of
from bnn_zoo.run import Folder, Keeper, Run, Store, Stored, Variable, status

METHODS = {name: entry.make() for name, entry in of("backend").items()}
pytestmark = pytest.mark.filterwarnings(  # of runs far too short
    "ignore:.*diverged",
    "ignore:.*taken back",
    "ignore:.*curve down",
    "ignore:.*temperature of the draws",
    "ignore:.*the chains",
)
MODEL = bz.BNN(bz.nets.MLP(3, 2, hidden=(4,)), bz.priors.Normal(1.0), bz.likelihoods.Categorical())
SAMPLER = bz.SGLD(chains=2, steps=14, warmup=4, thinning=1, step_size=1e-3, init=bz.density.from_support)


def rows(count=12):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Disks that sync at once."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def fit(backend=SAMPLER, **options):
    return bz.fit(MODEL, rows(), backend, progress=False, **options)


def settings(name):
    backend = METHODS[name]
    one = {"processes": 1} if "processes" in type(backend).__dataclass_fields__ else {}
    return replace(backend, **{"init": bz.density.from_support} | one)


def same(a, b):
    for kind in ("sites", "stats", "history"):
        x, y = getattr(a.draws, kind), getattr(b.draws, kind)
        assert list(x) == list(y) and all(torch.equal(x[name][:], y[name][:]) for name in x), kind
    for name in ("gradients", "divergences", "interrupted"):
        assert a.draws.attrs.get(name) == b.draws.attrs.get(name), name


def in_memory(posterior):
    draws = posterior.draws
    return bz.Posterior(MODEL, rows(), replace(draws, sites={n: v[:] for n, v in draws.sites.items()}))


# ---------------------------------------------------------------------------------------------------- reading

INDICES = [
    0,
    -1,
    slice(None),
    (slice(None), slice(1, 4)),
    (1, 2),
    (slice(None), -1),
    (0, slice(4, None)),
    (slice(None), [4, 0, 2]),
    (0, [4, 0, 2]),
    (slice(None), [3, 1], 0),
    (slice(None), torch.tensor([True, False, True, False, True])),
    (slice(1, 2), slice(0, 5, 2), 1),
    (1, 3, slice(1, 3)),
    (Ellipsis, 1),
    (slice(0, 0),),
    (slice(None), slice(0, 0)),
    (slice(None), slice(None), slice(None), [1, 0]),
]


@pytest.fixture
def stored(tmp_path):
    """Two chains of five draws of [3, 2] in chunks of two draws, and the same in memory."""
    store = Store.create(tmp_path / "draws", {"w": Variable((3, 2), torch.float32)}, chains=2, draws=5)
    value = torch.randn(2, 5, 3, 2, generator=torch.Generator().manual_seed(1))
    array = replace(store.sites["w"], rows=2)
    for chain in range(2):
        list(array.put(chain, 0, value[chain].numpy()))
    return Stored.of(array), value


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_reads_what_a_tensor_gives(stored, index):
    on_disk, value = stored
    assert torch.equal(on_disk[index], value[index])


def test_the_rest_of_a_tensor(stored):
    on_disk, value = stored
    assert (on_disk.shape, on_disk.dtype, on_disk.dim(), len(on_disk)) == (value.shape, value.dtype, value.dim(), 2)
    assert torch.equal(on_disk.tensor(), value) and np.array_equal(np.asarray(on_disk), value.numpy())
    assert [float(v.sum()) for v in on_disk] == [float(v.sum()) for v in value]
    flat = on_disk.flat
    assert torch.equal(flat[3:8], value.flatten(0, 1)[3:8]) and torch.equal(flat[7], value[1, 2]) and len(flat) == 10
    picked = on_disk.select([1, 0, 1], slice(None, None, 2))
    assert torch.equal(picked[:], value[[1, 0, 1]][:, ::2]) and torch.equal(picked.flat[2:7], picked[:].flatten(0, 1)[2:7])
    with pytest.raises(AttributeError, match=r"lie on disk and have no 'mean': read them first"):
        on_disk.mean()
    for index in ((None,), ([0], [1]), (0, 0, 0, 0, 0), (0, slice(None), [1]), ([[0]],)):
        with pytest.raises(IndexError):
            on_disk[index]
    with pytest.raises(IndexError, match="there are 5, from 0 to 4"):
        on_disk.select(draws=[7])
    with pytest.raises(ValueError, match="chooses none"):
        on_disk.select(chains=slice(2, 9))


def test_blocks_have_all_numbers_once(stored, monkeypatch):
    on_disk, value = stored
    monkeypatch.setattr("bnn_zoo.run.stored.BLOCK", 100)
    monkeypatch.setattr("bnn_zoo.run.stored.SCALARS", 160)
    assert torch.equal(torch.cat(list(on_disk.blocks()), 1), value) and len(list(on_disk.blocks())) > 2
    assert torch.equal(torch.cat(list(on_disk.scalars()), 2), value.flatten(2)) and len(list(on_disk.scalars())) == 2


def test_draws_that_are_gone_are_no_numbers(stored):
    on_disk, _ = stored
    next(on_disk.chains[0].array.path.glob("c.1.1.*")).unlink()
    assert on_disk[0].shape == (5, 3, 2)
    with pytest.raises(FileNotFoundError, match=r"c\.1\.1\.0\.0 is gone: it holds draws of 'w'"):
        on_disk[:]


@pytest.mark.slow
def test_draws_wait_in_whole_chunks(tmp_path):
    """Or in whole fractions of one."""
    log_joint = bz.LogJoint(MODEL, rows())
    for block, waiting in ((2**24, 50), (26 * 4 * 2 * 3, 2), (1, 1)):
        keeper = Keeper(Folder.create(tmp_path / str(block), {}), 0.0)
        keeper.open_store({s.name: Variable(tuple(s.shape), torch.float32) for s in log_joint.sites}, 2, 50)
        keeper.store.sites = {n: replace(a, rows=4) for n, a in keeper.store.sites.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bnn_zoo.backends._draws.BLOCK", block)
            room = OnDisk(keeper, log_joint, 50).sink(range(2)).waiting.room
        assert room == (48 if waiting == 50 else waiting)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run at its end, and its posterior."""
    posterior = fit(checkpoint=tmp_path_factory.mktemp("finished") / "run")
    return posterior.folder, posterior


def agree(memory, disk):
    """All that is computed from draws on disk is what is computed from the same in memory."""
    assert all(isinstance(v, Stored) for v in disk.draws.sites.values())
    same(memory, disk)
    x, y = rows()
    assert torch.equal(memory.predict(x).draws, disk.predict(x).draws)
    assert torch.equal(memory.predict(x).log_prob(y), disk.predict(x).log_prob(y))
    assert torch.equal(memory.log_likelihood()["y"], disk.log_likelihood()["y"])
    assert memory.summary().equals(disk.summary())
    a, b = memory.to_inference_data(test=(x, y)), disk.to_inference_data(test=(x, y))
    assert bz.export.groups(a) == bz.export.groups(b)
    for group in bz.export.groups(a):
        one, other = bz.export.group(a, group), bz.export.group(b, group)
        assert one.drop_attrs().equals(other.drop_attrs()), group


def test_a_posterior_on_disk_says_what_it_says_in_memory(finished, monkeypatch):
    """Read in blocks of a draw or two."""
    monkeypatch.setattr("bnn_zoo.run.stored.BLOCK", 300)
    agree(in_memory(finished[1]), finished[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_run_on_disk_is_the_run_in_memory(name, tmp_path, monkeypatch):
    """Draws are written a few at a time, and chunks are small."""
    monkeypatch.setattr("bnn_zoo.backends._draws.BLOCK", 300)
    monkeypatch.setattr("bnn_zoo.run._layout.LEAST", 1)
    agree(fit(settings(name)), fit(settings(name), checkpoint=tmp_path / "run"))


def test_an_export_reads_when_it_is_asked(finished, tmp_path):
    _, posterior = finished
    data = posterior.to_inference_data()
    weight = bz.export.group(data, "posterior")["0.weight"]
    whole = posterior.draws.sites["0.weight"][:].numpy()
    assert not weight.variable._in_memory and weight.dims == ("chain", "draw", "0.weight_out", "0.weight_in")
    assert np.array_equal(weight.isel(draw=[3, 1])[:, :, ::-1].values, whole[:, [3, 1], ::-1])
    assert np.array_equal(weight.mean("draw").values, whole.mean(1)) and not weight.variable._in_memory
    path = posterior.save(tmp_path / "run.nc")
    assert np.array_equal(bz.export.group(bz.load(path), "posterior")["0.weight"].values, whole)


def test_what_exceeds_memory_is_not_saved_as_one_file(finished, tmp_path, monkeypatch):
    _, posterior = finished
    monkeypatch.setattr("bnn_zoo.export.files.free_memory", lambda: 100.0)
    with pytest.raises(MemoryError, match=r"posterior/0.weight has 960 B, and 100 B .*free.*open_zarr\(folder / 'draws'"):
        posterior.save(tmp_path / "run.nc")
    assert not (tmp_path / "run.nc").exists()


# ---------------------------------------------------------------------------------------------------- back from disk


class Broken(Exception):
    pass


def broken_at(step, monkeypatch, folder, backend=SAMPLER):
    advance = Run.advance

    def stop(run, _=0):
        if run.step == step:
            raise Broken
        advance(run)

    with monkeypatch.context() as patch, pytest.raises(Broken):
        patch.setattr(Run, "advance", stop)
        fit(backend, checkpoint=folder, every=0)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The folder of a run that was ended after nine of its steps, five of them draws."""
    folder = tmp_path_factory.mktemp("broken") / "run"
    with pytest.MonkeyPatch.context() as patch:
        broken_at(9, patch, folder)
    return folder


def test_a_run_is_loaded_at_its_end_and_before(finished, broken):
    folder, whole = finished
    same(whole, bz.Posterior.load(folder, MODEL, rows()))
    part = bz.Posterior.load(broken, MODEL, rows())
    assert (part.draws.chains, part.draws.draws, part.draws.attrs["interrupted"]) == (2, 5, True)
    assert torch.equal(part.draws.sites["0.weight"][:], whole.draws.sites["0.weight"][:, :5])
    assert torch.equal(part.draws.stats["lp"], whole.draws.stats["lp"][:, :5])
    assert torch.equal(part.predict(rows()[0]).f, whole.select(draws=slice(5)).predict(rows()[0]).f)


@pytest.mark.slow
def test_a_run_without_draws_is_resumed(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    broken_at(2, monkeypatch, folder)
    with pytest.raises(ValueError, match=r"has no draws yet, it is at step 2: go on with it by bz\.resume"):
        bz.Posterior.load(folder, MODEL, rows())
    same(fit(), bz.resume(folder, MODEL, rows(), progress=False))
    with pytest.raises(FileNotFoundError, match="holds no run"):
        bz.Posterior.load(tmp_path / "other", MODEL, rows())


def other(net=(4,), scale=1.0):
    return bz.BNN(bz.nets.MLP(3, 2, hidden=net), bz.priors.Normal(scale), bz.likelihoods.Categorical())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: (other((5,)), rows()), r"model.sites.0.weight: expected \[4, 3\], got \[5, 3\]"),
        (lambda: (other((4, 4)), rows()), r"model.sites.4.weight: expected nothing, got \[2, 4\]"),
        (lambda: (other(scale=3.0), rows()), "model.log joint: expected"),
        (lambda: (MODEL, (rows()[0].double(), rows()[1])), 'model.dtype: expected "float32", got "float64"'),
        (lambda: (MODEL, rows(11)), "data: expected"),
    ],
)
def test_another_model_is_not_loaded(change, message, finished):
    with pytest.raises(ValueError, match=message):
        bz.Posterior.load(finished[0], *change())


def test_settings_are_made_again_from_text():
    def again(backend):
        settings = {field.name: plain(getattr(backend, field.name)) for field in fields(backend)}
        return rebuilt(json.loads(json.dumps({"backend": type(backend).__name__, "settings": settings})))

    kinds = [
        *METHODS.values(),
        bz.NUTS(mass_matrix=bz.LowRankFisherMass(), init=bz.density.Adam(20, init=bz.density.from_support)),
        bz.SGLD(step_size=bz.schedules.cyclical(1e-3, cycles=2), temperature=bz.schedules.exploring(cycles=2)),
        bz.MAP(optimiser=torch.optim.RMSprop, step_size=bz.schedules.cosine(1e-2)),
        bz.Laplace(sites=("0.*", "2.bias")),
        bz.MeanField(handler=bz.handlers.LocalReparameterization),
    ]
    for backend in kinds:
        assert again(backend) == backend
    for backend, said in (
        (bz.SGLD(step_size=lambda step: 1e-4), "step_size="),
        (bz.NUTS(init=bz.density.FromNet(bz.nets.MLP(3, 2, hidden=(4,)))), "init='FromNet"),
        (bz.SGLD(init=from_prior), "init='from_prior of another package'"),
    ):
        with pytest.raises(ValueError, match=f"{said}.*pass the backend that the run was begun with"):
            again(backend)


def from_prior(log_joint, chains, generator):
    """A start rule with a name of the library's."""
    raise AssertionError


@pytest.mark.slow
def test_resume_with_a_schedule_of_ones_own(tmp_path, monkeypatch):
    backend = replace(SAMPLER, step_size=lambda step: 1e-3)
    broken_at(8, monkeypatch, tmp_path / "run", backend)
    with pytest.raises(ValueError, match=r"step_size='.*lambda.* cannot be made again.*backend=bz.SGLD"):
        bz.resume(tmp_path / "run", MODEL, rows())
    with pytest.raises(ValueError, match=r"settings\.steps: expected 14, got 15"):
        bz.resume(tmp_path / "run", MODEL, rows(), replace(backend, steps=15))
    same(fit(backend), bz.resume(tmp_path / "run", MODEL, rows(), backend, progress=False))


# ---------------------------------------------------------------------------------------------------- parts and more


@pytest.mark.parametrize("kept", [False, True])
def test_parts_of_a_posterior(kept, finished):
    posterior = in_memory(finished[1]) if not kept else finished[1]
    w, lp = posterior.draws.sites["0.weight"][:], posterior.draws.stats["lp"]
    part = posterior.select(chains=[1], draws=[0, 9, 3])
    assert isinstance(part.draws.sites["0.weight"], Stored) == kept
    assert torch.equal(part.draws.sites["0.weight"][:], w[[1]][:, [0, 9, 3]])
    assert torch.equal(part.draws.stats["lp"], lp[[1]][:, [0, 9, 3]])
    assert part.draws.attrs["selected_from"] == "2 chains of 10 draws"
    thin = posterior.thin(3)
    assert torch.equal(thin.draws.sites["0.weight"][:], w[:, [0, 3, 6, 9]])
    assert torch.equal(posterior.select(draws=np.arange(10) > 7).draws.sites["0.weight"][:], w[:, 8:])
    other = replace(in_memory(thin).draws, attrs=thin.draws.attrs | {"seed": 1})
    both = bz.concat([thin, bz.Posterior(MODEL, rows(), other)])
    assert both.draws.chains == 4 and torch.equal(both.draws.sites["0.weight"][:2], w[:, [0, 3, 6, 9]])
    assert both.draws.attrs["joined"] == ["2 chains of SGLD, seed 0", "2 chains of SGLD, seed 1"]
    assert both.draws.attrs["gradients"] > posterior.draws.attrs["gradients"] and "seed" not in both.draws.attrs
    assert both.predict(rows()[0]).f.shape == (4, 4, 12, 2)
    with pytest.raises(ValueError, match="goes on with a run that is kept"):
        thin.extend(3)
    for wrong in (0, 2.0, True):
        with pytest.raises(ValueError, match="every must be"):
            posterior.thin(wrong)


def test_what_cannot_be_joined(finished):
    posterior = in_memory(finished[1])
    with pytest.raises(bz.DataError, match=r"draws: expected 10, got 2: take as many of each"):
        bz.concat([posterior, posterior.thin(5)])
    with pytest.raises(bz.DataError, match="one of other data"):
        bz.concat([posterior, bz.Posterior(MODEL, rows(11), posterior.draws)])
    odd = bz.Draws(posterior.draws.sites | {"0.weight": posterior.draws.sites["0.weight"][..., :2]})
    with pytest.raises(bz.DataError, match=r"0.weight: expected \(\(4, 3\).*got \(\(4, 2\)"):
        bz.concat([posterior, bz.Posterior(MODEL, rows(), odd)])
    with pytest.raises(TypeError, match="list of posteriors"):
        bz.concat([])


AT_THE_END = {"MAP", "DeepEnsemble", "SWAG", "Laplace", "DiagonalLaplace", "MeanField", "MCDropout"}
LONGER = [name for name in METHODS if name not in AT_THE_END]


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_more_draws_are_those_of_a_longer_run(name, tmp_path):
    backend = settings(name)
    more = backend.draws if "draws" in type(backend).__dataclass_fields__ else backend.drawn
    longer = bz.Posterior.load(fit(backend, checkpoint=tmp_path / "run").folder, MODEL, rows()).extend(more, progress=False)
    if "draws" in type(backend).__dataclass_fields__:
        whole = replace(backend, draws=2 * more)
    else:
        whole = replace(backend, steps=backend.burn_in + 2 * more * backend.thinning)
    same(longer, fit(whole))
    same(longer, fit(whole, checkpoint=tmp_path / "run"))


@pytest.mark.slow
def test_a_kill_while_a_run_is_made_longer(tmp_path, monkeypatch):
    """Before its settings are written it is the run it was; after that it goes on as the longer one."""
    folder, posterior = tmp_path / "run", fit(checkpoint=tmp_path / "run")

    def killed(*_, **__):
        raise Broken

    for where, what in (("bnn_zoo.run.checkpoint.Folder.rewrite", 10), ("bnn_zoo.run.Run.go", 10)):
        with monkeypatch.context() as patch, pytest.raises(Broken):
            patch.setattr(where, killed)
            posterior.extend(3, progress=False)
        assert bz.Posterior.load(folder, MODEL, rows()).draws.draws == what
        if "rewrite" in where:
            same(posterior, bz.resume(folder, MODEL, rows(), progress=False))
    same(fit(replace(SAMPLER, steps=17)), bz.resume(folder, MODEL, rows(), progress=False))
    with pytest.raises(ValueError, match=r"settings\.steps: expected 17, got 14"):
        fit(checkpoint=folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (replace(SAMPLER, step_size=bz.schedules.cosine(1e-3)), "step_size is a schedule over all steps"),
        (replace(SAMPLER, warmup=None, thinning=None), "warmup=None is a share of all steps and thinning=None"),
        (METHODS["MAP"], "makes its draws at the end of its steps"),
    ],
)
def test_what_cannot_be_made_longer(backend, reason, tmp_path):
    posterior = fit(replace(backend, init=bz.density.from_support), checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=reason):
        posterior.extend(5)
    with pytest.raises(ValueError, match="draws ≥ 1 more"):
        posterior.extend(0)
    same(posterior, bz.Posterior.load(tmp_path / "run", MODEL, rows()))


def test_chains_start_where_others_ended(finished):
    posterior = in_memory(finished[1])
    log_joint = bz.LogJoint(MODEL, rows())
    start = bz.density.FromPosterior(posterior)(log_joint, 5, torch.Generator())
    picks = [(0, 9), (1, 9), (0, 6), (1, 6), (0, 3)]
    expected = {n: torch.stack([v[c, d] for c, d in picks]) for n, v in posterior.draws.sites.items()}
    assert torch.equal(log_joint.constrain(start)["0.weight"], expected["0.weight"])
    warm = replace(SAMPLER, init=posterior)
    assert (
        str(warm.init)
        == str(bz.density.FromPosterior(posterior))
        != str(bz.density.FromPosterior(posterior.thin(2).select(chains=0)))
    )
    with pytest.raises(bz.ModelError, match=r"of other sites: 0.weight: expected \(5, 3\), got \(4, 3\)"):
        bz.density.FromPosterior(finished[1])(bz.LogJoint(other((5,)), rows()), 2, torch.Generator())


@pytest.mark.slow
def test_any_backend_starts_from_any_posterior(finished):
    for name in METHODS:
        warm = bz.fit(MODEL, rows(), replace(METHODS[name], init=finished[1]), progress=False)
        assert warm.draws.chains == METHODS[name].chains


def test_status_of_a_run(finished, broken):
    from typer.testing import CliRunner

    from bnn_zoo.cli import app

    lines = status(broken).splitlines()
    assert lines[0] == "SGLD, 2 chains of 10 draws, seed 0, on cpu"
    assert lines[1:3] == ["model: 4 sites, 26 numbers of float32", "state: not finished; nobody writes now"]
    assert lines[3].startswith("chains 0 to 1: step 9 of 14 (draws), 5 draws kept, saved ") and max(map(len, lines)) <= 80
    with Folder.open(broken).locked():
        assert f"process {os.getpid()} on" in status(broken)
    told = CliRunner().invoke(app, ["status", str(finished[0])])
    assert told.exit_code == 0 and "state: finished" in told.output and "10 draws kept" in told.output
    assert CliRunner().invoke(app, ["status", str(broken / "no")]).exit_code == 2


# ---------------------------------------------------------------------------------------------------- memory

LARGE = """
    import resource, sys, warnings
    import torch, bnn_zoo as bz
    warnings.simplefilter("ignore")
    x = torch.randn(16, 490, generator=torch.Generator().manual_seed(0))
    data = x, x[:, 0].clone()
    model = bz.BNN(bz.nets.MLP(490, 1, hidden=(1000,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(1.0))
"""


def child(code, *arguments):
    """What a process of its own prints, as numbers."""
    text = textwrap.dedent(LARGE) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=3000,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(bz.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [float(word) for word in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss in kB")
def test_memory_does_not_grow_with_draws(tmp_path):
    """492,001 weights, 100 and 2,000 draws (4 GB): the largest resident size of the whole process within 5 %."""
    code = """
        draws = int(sys.argv[1])
        sgld = bz.SGLD(chains=1, steps=draws + 5, warmup=5, thinning=1, step_size=1e-6, init=bz.density.from_prior)
        posterior = bz.fit(model, data, sgld, progress=False, checkpoint=sys.argv[2])
        assert posterior.draws.sites["0.weight"].shape == (1, draws, 1000, 490)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    (few,), (many,) = child(code, 100, tmp_path / "few"), child(code, 2000, tmp_path / "many")
    assert abs(many - few) < 0.05 * few, (few, many)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space")
def test_a_posterior_larger_than_memory(tmp_path):
    """4.3 GB of draws, in a process that may take 1.5 GB more than it has: summarised, predicted with and exported."""
    code = """
        from bnn_zoo.run import Store, Stored, Variable
        names = {n: tuple(p.shape) for n, p in model.net.named_parameters()}
        sizes = {n: Variable(s, torch.float64) for n, s in names.items()}
        data, chains, draws = (x.double(), x[:, 0].double()), 2, 550
        store = Store.create(sys.argv[1], sizes, chains=chains, draws=draws)
        block = {n: 0.02 * torch.randn(1, 50, *s, dtype=torch.float64) for n, s in names.items()}
        for chain in range(chains):
            for at in range(0, draws, 50):
                store.write(range(chain, chain + 1), at, {n: (1 + 0.001 * at) * v for n, v in block.items()})
        del block
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 1_500_000_000, -1))
        sites = {n: Stored.of(store.sites[n]) for n in names}
        posterior = bz.Posterior(model, data, bz.Draws(sites))
        total = sum(v.numel() * v.element_size() for v in sites.values())
        table = posterior.summary()
        prediction = posterior.predict(data[0])
        exported = posterior.to_inference_data(test=data)
        weight = bz.export.group(exported, "posterior")["0.weight"]
        mean = weight[:, :, 3, :5].mean(("chain", "draw")).values
        direct = sites["0.weight"][:, :, 3, :5].mean((0, 1)).numpy()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(total, resident, table["scalars"]["0.weight"], prediction.f.shape[1], abs(mean - direct).max())
    """
    total, resident, scalars, draws, error = child(code, tmp_path / "draws")
    assert total > 4.3e9 and resident < 2e6 and (scalars, draws) == (490_000, 550) and error < 1e-12, resident
