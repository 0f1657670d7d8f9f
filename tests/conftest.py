"""Shared fixtures. Real data are found through BNN_ZOO_DATA; without them their tests skip and say so."""

import os
import signal
from pathlib import Path

import pytest
import torch

from bnn_zoo._torch import autograd_works

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config):
    """Ctrl-C works also where a shell ignores it, as for what it starts in the background, and each worker has a core.

    The library takes all cores that it may use, and workers would take each other's.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    starts_workers = bool(getattr(config.option, "numprocesses", None))  # which would inherit its one core
    if "sched_setaffinity" in dir(os) and not starts_workers:  # Linux
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[worker % len(cores)]})


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests on one worker, so that each of its fits is made once, unless --dist says otherwise."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    return LoadScopeScheduling(config, log)


def data_root() -> Path | None:
    """Folder of the real data sets: ``BNN_ZOO_DATA``, or a folder beside the checkout."""
    root = Path(os.environ.get("BNN_ZOO_DATA", SHARED))
    return root if root.is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    root = data_root()
    if root is None:
        pytest.skip("real data not found: set BNN_ZOO_DATA to a folder with uci/, posteriordb/ and MNIST/")
    return root


@pytest.fixture(autouse=True, scope="session")
def autograd_of_the_cpu():
    """Tests on fake CUDA tensors would otherwise start autograd's threads for them, and no fork could use it after."""
    assert autograd_works()


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: threads only get in each other's way, and one thread keeps sums in one order."""
    torch.set_num_threads(1)


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
