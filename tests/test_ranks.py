"""Several ranks, started by torchrun on this machine: draws of one process, over chains and over rows, also after a kill."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from posteriordb.models import POSTERIORS
from posteriordb.reference import check, load, table
from ranks import runs

import bnn_zoo as bz
from bnn_zoo._ranks import ALONE, ONE, Pool, Ranks
from bnn_zoo.density import LogJoint, ShardedLogJoint
from bnn_zoo.density.sharded import Meeting
from bnn_zoo.diagnostics import mcse_mean

SCRIPT = Path(runs.__file__)


def ended(name, folder, ranks=2, restarts=0, ok=True):
    """The process that ran ``runs.NAME``, in one process or over so many ranks."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", f"--max-restarts={restarts}"]
    path = os.pathsep.join([str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, *(launch if ranks > 1 else []), str(SCRIPT), name, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert (done.returncode == 0) == ok, done.stderr[-3000:]
    return done


def results(name, folder, ranks=2, **more):
    """What each rank returned."""
    ended(name, folder, ranks, **more)
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=False) for rank in range(ranks)]


def compared(name, folder):
    """By name of the run: on two ranks, which have the same, and in one process."""
    first, second = results(name, folder)
    (one,) = results(name, folder, ranks=1)
    for run in first:
        for of in ("sites", "stats", "history"):
            assert all(torch.equal(first[run][of][k], v) for k, v in second[run][of].items()), (run, of)
    return first, one


def near(over, one, until=None, **tolerance):
    for name, values in one["sites"].items():
        torch.testing.assert_close(over["sites"][name][:, :until], values[:, :until], msg=name, **tolerance)


class Half(Ranks):
    """One of two ranks, whose sums the test adds up."""

    def add(self, tensor):
        return tensor


@pytest.mark.parametrize("row_chunk", [pytest.param(None, marks=pytest.mark.slow), 7])
def test_shares_of_rows_add_up(row_chunk, monkeypatch):
    monkeypatch.setattr(Meeting, "add", lambda self, position, *parts: parts)  # each on its own
    whole = LogJoint(runs.NET, (runs.X, runs.Y))
    halves = [ShardedLogJoint(runs.NET, (runs.X, runs.Y), ranks=Half(rank, 2), row_chunk=row_chunk) for rank in range(2)]
    at = 0.4 * runs.numbers(3, whole.dim, seed=4)
    for got, expected in zip(zip(*(half(at) for half in halves), strict=True), whole(at), strict=True):
        torch.testing.assert_close(sum(got), expected, rtol=1e-12, atol=1e-11)
    assert [len(half.tensors[0]) for half in halves] == ([31, 30] if row_chunk is None else [7, 7])


def test_ranks_at_different_positions_are_found():
    meeting = Meeting(Half(0, 2))  # the sum of two at the same position is twice this rank's: here it is not
    with pytest.raises(RuntimeError, match="rank 0 is at another position than the others"):
        meeting.add(torch.ones(1, 2), torch.zeros(1), torch.zeros(1, 2))


def test_one_process_needs_no_ranks():
    x = torch.arange(3.0)
    assert ONE.add(x) is x and ONE.every(x)[0] is x and ONE.any(True, False) == [True, False]
    assert ONE.trees({"a": x})[0]["a"] is x and ONE.place("cuda") == "cuda"
    assert ALONE.every(x) is x and ALONE.own(x) is x and ALONE.tree([x])[0] is x
    assert Ranks(1, 2, local=1).place("cuda") == "cuda:1" and Ranks(1, 2).place("cpu") == "cpu"
    assert Pool(Ranks(1, 2), (2, 1)).own(x).tolist() == [2.0]


def test_what_cannot_be_spread_is_refused():
    with pytest.raises(TypeError, match="MeanField cannot spread rows over ranks: take NUTS"):
        bz.RowsOverRanks(bz.MeanField())
    with pytest.raises(TypeError, match=r"needs a backend with its settings, such as NUTS\(chains=4\)"):
        bz.RowsOverRanks(bz.NUTS)
    from bnn_zoo._ranks import Spread

    with pytest.raises(ValueError, match=r"chains=1 cannot be spread over 2 ranks: set chains=2 .*RowsOverRanks\(MAP"):
        bz.MAP(steps=1).run(runs.NET, (runs.X, runs.Y), ranks=Spread(chains=Ranks(0, 2)))
    with pytest.raises(bz.DataError, match="1 rows of a batch cannot be spread over 2 ranks"):
        bz.MAP(steps=1, batch_size=1).run(runs.NET, (runs.X, runs.Y), ranks=Spread(rows=Ranks(0, 2)))
    with pytest.raises(bz.ModelError, match=r"rows over ranks call model\(\*rows, size=N\).*leave out RowsOverRanks"):
        bz.HMC(draws=1).run(lambda x: None, (runs.X,), ranks=Spread(rows=Ranks(0, 2)))


def test_in_one_process_rows_over_ranks_is_the_backend():
    backend = bz.HMC(chains=2, warmup=2, draws=2, max_leapfrogs=2, **runs.PLAIN)
    a, b = (bz.fit(runs.NET, (runs.X, runs.Y), each, progress=False) for each in (backend, bz.RowsOverRanks(backend)))
    assert all(torch.equal(a.draws.sites[name], value) for name, value in b.draws.sites.items())
    assert "row_ranks" not in b.draws.attrs


@pytest.mark.slow
def test_two_ranks_make_the_draws_of_one_process(tmp_path):
    over, one = compared("least", tmp_path)
    near(over["rows"], one["rows"], rtol=1e-9, atol=1e-9)
    near(over["chains"], one["chains"], rtol=1e-9, atol=1e-9)
    assert over["rows"]["attrs"]["row_ranks"] == 2 and over["chains"]["attrs"]["chain_ranks"] == 2


@pytest.mark.slow
def test_log_joint_over_ranks(tmp_path):
    """Value, gradient and Hessian to rounding; the same bits on both ranks."""
    first, second = results("density", tmp_path)
    (one,) = results("density", tmp_path, ranks=1)
    for name, expected in one.items():
        exact = "float64" in name
        for a, b, c in zip(first[name], second[name], expected, strict=True):
            assert torch.equal(a, b), name
            torch.testing.assert_close(a.to(c), c, rtol=1e-12 if exact else 2e-5, atol=1e-11 if exact else 2e-4)


@pytest.mark.slow
def test_rows_over_ranks(tmp_path):
    """Sums in another order differ in the last bits, and chains that differ in a last bit part: the first draws are near."""
    over, one = compared("rows", tmp_path)
    for name, run in over.items():
        near(run, one[name], until=3, rtol=1e-5, atol=1e-6)
        assert run["attrs"]["gradients"] == one[name]["attrs"]["gradients"], name


@pytest.mark.slow
def test_chains_that_tune_together_over_ranks_are_those_of_one_process(tmp_path):
    over, one = compared("shared", tmp_path)
    # chains of NUTS use up random numbers while they wait for the longest tree of their process: other draws of the same law
    steps = over.pop("NUTS")["stats"]["step_size"]
    assert bool((steps == steps[0, 0]).all())
    for name, run in over.items():
        near(run, one[name], until=3, rtol=1e-5, atol=1e-6)
        assert run["attrs"]["gradients"] == one[name]["attrs"]["gradients"], name


@pytest.mark.slow
def test_chains_that_tune_alone_over_ranks_are_those_of_forks_bit_for_bit(tmp_path):
    over, one = compared("own", tmp_path)
    for name, run in over.items():
        for of in ("sites", "stats", "history"):
            assert all(torch.equal(run[of][key], value) for key, value in one[name][of].items()), (name, of)


@pytest.mark.slow
def test_a_backend_that_cannot_spread_runs_once(tmp_path):
    over, one = compared("variational", tmp_path)
    near(over["MeanField"], one["MeanField"], rtol=0, atol=0)


@pytest.mark.slow
def test_chains_over_ranks_have_the_posterior(real_data, tmp_path, monkeypatch):
    """Eight schools against the reference draws of posteriordb; a network's outputs against those of one process."""
    monkeypatch.setenv("BNN_ZOO_DATA", str(real_data))
    made, _ = results("posteriors", tmp_path)
    parameters = POSTERIORS[runs.SCHOOLS].parameters(made["schools"]["sites"])
    rows = check(parameters, load(real_data, runs.SCHOOLS)[1])
    print(table(rows))
    assert all(row["passed"] for row in rows), table(rows)
    ours = made["network"]["f"].double()  # [chain, draw, row]
    alone = bz.NUTS(chains=4, warmup=300, draws=300, compile=False)
    one = bz.fit(runs.NET, (runs.X, runs.Y), alone, seed=2, progress=False).predict(runs.X[:5]).f.squeeze(-1).double()
    for a, b in zip(ours.unbind(-1), one.unbind(-1), strict=True):
        error = (float(mcse_mean(a)) ** 2 + float(mcse_mean(b)) ** 2) ** 0.5
        assert abs(float(a.mean() - b.mean())) < 4 * error


@pytest.mark.slow
def test_killed_and_started_again_by_torchrun(tmp_path):
    """SIGKILL of either rank in warm-up and in draws, of chains and of rows: the draws of a run that was never broken."""
    pytest.importorskip("safetensors")
    deaths = sum(len(steps) for _, steps in runs.KILLED.values())
    whole, _ = results("unbroken", tmp_path)
    broken = results("killed", tmp_path, restarts=deaths + 3)  # more than needed: a start may fail on a busy machine
    assert len(list(tmp_path.glob("died-*"))) == deaths
    for name, run in whole.items():
        for rank in broken:
            for of in ("sites", "stats", "history"):
                assert all(torch.equal(rank[name][of][key], value) for key, value in run[of].items()), (name, of)


@pytest.mark.slow
def test_an_error_on_one_rank_ends_the_others(tmp_path):
    began = time.monotonic()
    done = ended("error", tmp_path, ok=False)
    assert "rank 1 has had enough" in done.stderr and time.monotonic() - began < 120


@pytest.mark.slow
def test_ctrl_c_on_one_rank_stops_all_at_the_same_step(tmp_path):
    first, second = results("interrupted", tmp_path)
    for run in (first, second):
        assert run["rows"]["attrs"]["interrupted"] and run["rows"]["sites"]["0.weight"].shape[1] == 11
    assert torch.equal(first["rows"]["sites"]["0.weight"], second["rows"]["sites"]["0.weight"])
