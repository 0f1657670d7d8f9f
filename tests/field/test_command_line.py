"""``bnn-zoo compare`` under bad files and options, failing backends and Ctrl-C: one line, an exit code, no folder left."""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import bnn_zoo as bz
from bnn_zoo import comparison
from bnn_zoo.cli import app

A = np.arange
X = np.random.default_rng(0).normal(size=(60, 2))
Y = X.sum(1)


def invoke(*arguments):
    return CliRunner().invoke(app, ["compare", "--no-progress", *map(str, arguments)])


def said(result):
    """The one line of an error, and that there is no other."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in result.output, result.output
    return errors[0]


@dataclass(frozen=True)
class Small:
    """A backend that calls ``before`` and then gives draws from the prior, which cost nothing."""

    before: object = lambda: None

    def run(self, model, data, *, seed, device, progress):
        self.before()
        generator = torch.Generator().manual_seed(0)
        shapes = {"0.weight": (50, 2), "0.bias": (50,), "2.weight": (1, 50), "2.bias": (1,), "noise": ()}
        sites = {name: torch.randn(1, 25, *shape, generator=generator).abs() / 7 for name, shape in shapes.items()}
        return bz.Draws(sites, attrs={"gradients": 1, "tuning_time": 0.0, "sampling_time": 1.0, "backend": "Small"})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("ok.npz", X=X, y=Y)
    return tmp_path


@pytest.fixture
def backends(monkeypatch):
    """Put backends, by name, in place of the four; no pictures, which take seconds."""
    monkeypatch.setattr(comparison, "pictures", lambda *_: None)

    def put(**made):
        monkeypatch.setattr(comparison, "BACKENDS", {name: lambda *_, b=b: b for name, b in made.items()})
        return ["--data", "ok.npz", "--backends", ",".join(made), "--out", "out"]

    return put


def never():
    raise AssertionError("sampling began")


BAD_FILES = {
    "split beyond the rows": {"train_0": A(50), "test_0": A(50, 70)},
    "split of floats": {"train_0": A(50.0), "test_0": A(50.0, 60.0)},
    "no test rows": {"train_0": A(60), "test_0": A(0)},
    "a test row in training": {"train_0": A(51), "test_0": A(50, 60)},
    "dates as target": {"y": A(60).astype("M8[D]")},
    "complex X": {"X": X + 1j},
    "objects": {"y": Y.astype(object)},
    "y of 1e300": {"y": Y * 1e300},
    "y of NaN": {"y": np.where(A(60) == 3, np.nan, Y)},
    "fields": {"X": np.zeros(60, [("a", float)])},
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_files(what, here, backends):
    options = backends(Small=Small(never))
    np.savez("bad.npz", **{"X": X, "y": Y, **BAD_FILES[what]})
    result = invoke(*options, "--data", "bad.npz")
    assert result.exit_code == 2 and "bad" in said(result)
    assert not Path("out").exists()


BAD_OPTIONS = {
    "an empty file": (["--data", "empty.npz"], "damaged or no .npz file"),
    "a folder as file": (["--data", "folder.csv"], "no file"),
    "seed 2**64": (["--seed", 2**64], "expected a seed from 0"),
    "seed −1": (["--seed", -1], "expected a seed from 0"),
    "device meta": (["--device", "meta"], "'meta'"),
    "device mps": (["--device", "mps"], "'mps'"),
    "no device": (["--device", "gpu"], "write 'cpu' or 'cuda'"),
    "out below a file": (["--out", "file/out"], "cannot write to file/out"),
    "out is a file": (["--out", "file"], "file exists"),
    "out is a broken link": (["--out", "link"], "link exists"),
    "split 99 of a file without splits": (["--split", 99], "no split 99"),
    "another task": (["--task", "ranking"], "'regression' or 'classification', got 'ranking'"),
    "missing in an npz": (["--missing", "?"], "missing is for text tables"),
    "no backend": (["--backends", " , "], "none given"),
    "a backend misspelt": (["--backends", "smal"], "unknown backends smal: did you mean Small? Choose from Small"),
    "half a backend": (["--backends", "NUTS,Gibbs"], "unknown backends NUTS, Gibbs: choose from Small"),
}


@pytest.mark.parametrize("what", BAD_OPTIONS)
def test_bad_options(what, here, backends):
    arguments, message = BAD_OPTIONS[what]
    options = backends(Small=Small(never))
    Path("file").touch()
    Path("empty.npz").touch()
    Path("folder.csv").mkdir()
    Path("link").symlink_to("nowhere")
    before = sorted(here.iterdir())
    result = invoke(*options, *arguments)
    assert result.exit_code == 2 and message in said(result)
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    "arguments", [["--draws", 0], ["--draws", 24], ["--chains", 0], ["--chains", "two"], ["--nonsense"]]
)
def test_numbers_out_of_range(arguments, here, backends):
    result = invoke(*backends(Small=Small(never)), *arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output and not Path("out").exists()


def test_what_was_decided_is_said_before_sampling(here, backends):
    lines = ["colour;price", *(f"{'red' if i % 2 else 'blue'};{250_000 + 1000 * i}" for i in range(40))]
    Path("mine.csv").write_text("\n".join(lines))
    seen = []
    options = backends(Small=Small(lambda: seen.append(len(seen))))
    result = invoke(*options, "--data", "mine.csv", "--target", "price", "--task", "regression")
    assert result.exit_code == 0 and seen == [0], result.output
    notes = result.output.split("| backend")[0]
    for note in (
        "separated by semicolons",
        "colour is text: 2 indicators, blue, red",
        "price holds 40 different whole numbers",
    ):
        assert note in notes
    assert invoke(*options, "--data", "mine.csv", "--target", "price", "--drop", "colour").exit_code == 2


def test_a_run_that_fails_leaves_no_folder(here, backends):
    """So that the same command can be given again."""

    def fail():
        raise RuntimeError("no memory")

    options = backends(Small=Small(fail))
    for _ in range(2):
        result = invoke(*options, "--out", "deep/er/out")
        assert result.exit_code == 1 and "Small failed and is left out: no memory" in result.output
        assert said(result) == "error: no backend finished: see the messages above"
        assert not Path("deep").exists()


def test_pictures_that_fail_do_not_lose_the_table(here, backends, monkeypatch):
    def fail(*_):
        raise ValueError("loo expects finite log likelihoods")

    monkeypatch.setattr(comparison, "pictures", fail)
    result = invoke(*backends(Small=Small()))
    assert result.exit_code == 0 and "pictures are left out: loo expects" in result.output and "| Small" in result.output
    assert {"Small.nc", "table.csv", "table.md"} <= {path.name for path in Path("out").iterdir()}


def test_a_full_disk_is_one_line(here, backends, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bz.Posterior, "save", full)
    result = invoke(*backends(Small=Small()))
    assert result.exit_code == 2 and "cannot write to out: No space left on device" in said(result)
    assert not Path("out").exists()


def pressed():
    """Ctrl-C as a backend takes it: it stops and gives back the draws that it has."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(5)
    except KeyboardInterrupt:
        return
    raise AssertionError("the signal did not come")


def test_ctrl_c_stops_the_run_and_keeps_what_is_done(here, backends):
    handler = signal.getsignal(signal.SIGINT)
    result = invoke(*backends(First=Small(), Second=Small(pressed), Third=Small(never)))
    assert result.exit_code == 130, result.output
    assert "stopped by Ctrl-C: Second was cut short and is left out; kept in out/: First.nc, table.csv" in said(result)
    assert {path.name for path in Path("out").iterdir()} == {"First.nc", "table.csv", "table.md"}
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(bz.load("out/First.nc")["posterior"]["draw"]) == 25


def test_ctrl_c_in_the_first_backend_leaves_nothing(here, backends):
    def interrupted():
        raise KeyboardInterrupt

    for before in (pressed, interrupted):
        result = invoke(*backends(First=Small(before), Second=Small(never)))
        assert result.exit_code == 130 and "nothing was done yet" in said(result) and not Path("out").exists()


def test_a_comparison_in_a_thread(here, backends):
    """Signals come to the main thread only; elsewhere there is nothing to watch."""
    made = []
    options = backends(Small=Small())
    thread = threading.Thread(target=lambda: made.append(invoke(*options).exit_code))
    thread.start()
    thread.join()
    assert made == [0]
