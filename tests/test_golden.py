"""Runs that an earlier version kept, in ``tests/golden``: this one reads them and goes on with them.

``python tests/test_golden.py tests/golden/format1.tar.xz`` made them. A format that changes gets an archive of its own, and
the old ones stay.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

import bnn_zoo as bz

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(path.name.split(".")[0] for path in GOLDEN.glob("*.tar.xz"))
SGHMC = bz.SGHMC(chains=2, steps=60, warmup=20, thinning=2, step_size=1e-3, init=bz.density.from_support)


def model(x, y=None, *, size=None):
    w = pyro.sample("slow.weight", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("data", size or len(x), subsample=x):
        return pyro.sample("y", dist.Normal(x @ w, scale), obs=y)


def rows():
    x = torch.stack([torch.linspace(-1.0, 1.0, 12), torch.linspace(2.0, -1.0, 12)], 1)
    return x, x[:, 0] - 0.5 * x[:, 1]


def make(folder):
    """``finished``, a run at its end, and ``begun``, one that was interrupted after 12 draws."""
    from bnn_zoo.run.loop import Run

    bz.fit(model, rows(), SGHMC, progress=False, checkpoint=folder / "finished")
    advance = Run.advance

    def stopped(run, _=0):
        if run.step == 44:
            raise KeyboardInterrupt
        advance(run)

    Run.advance = stopped
    try:
        bz.fit(model, rows(), SGHMC, progress=False, checkpoint=folder / "begun")
    finally:
        Run.advance = advance


@pytest.fixture
def copied(request, tmp_path):
    shutil.unpack_archive(GOLDEN / f"{request.param}.tar.xz", tmp_path, filter="data")
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*the run was begun with others", "ignore:.*R-hat", "ignore:.*temperature of the draws")
@pytest.mark.parametrize("copied", FORMATS, indirect=True)
def test_runs_of_earlier_versions(copied):
    finished = bz.Posterior.load(copied / "finished", model, rows())
    assert finished.draws.chains == 2 and finished.draws.draws == 20 and finished.draws.attrs["backend"] == "SGHMC"
    assert finished.predict(rows()[0]).mean.shape == (12,)
    begun = bz.Posterior.load(copied / "begun", model, rows())
    assert begun.draws.draws == 12
    for name in ("slow.weight", "scale"):  # the same run, stopped
        assert torch.equal(begun.draws.sites[name][:, :12], finished.draws.sites[name][:, :12])
    whole = bz.resume(copied / "begun", model, rows(), backend=SGHMC, progress=False)
    assert whole.draws.draws == 20
    for name in ("slow.weight", "scale"):
        torch.testing.assert_close(whole.draws.sites[name][:, :20], finished.draws.sites[name][:, :20], rtol=0.1, atol=0.01)


def test_there_is_one_of_this_format():
    from bnn_zoo.run._state import FORMAT

    assert f"format{FORMAT}" in FORMATS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        make(Path(made))
        shutil.make_archive(sys.argv[1].removesuffix(".tar.xz"), "xztar", made)
