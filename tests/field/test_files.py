"""Files under stress: full disks, two writers, damaged bytes, odd paths, a home folder that cannot be written to."""

import errno
import gc
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from forks import in_a_fork, start

import bnn_zoo as bz
from bnn_zoo.export import files
from bnn_zoo.export.container import arviz_quietly

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and limits")


def container(value=1.0, numbers=1000):
    draws = np.full((2, 10, numbers), value, "f4")
    return bz.export.to_inference_data({"posterior": {"w": draws}, "observed_data": {"y": np.arange(5.0)}})


def values(idata):
    return bz.export.group(idata, "posterior")["w"].values


# ---------------------------------------------------------------------------------------------------- no room


@POSIX
@pytest.mark.parametrize("found_out", ["before", "at the end"])
def test_a_full_disk_is_an_error_and_the_next_save_works(found_out, tmp_path):
    """HDF5 by itself ends the process with a segmentation fault, at the latest when its file is collected."""
    import resource

    free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    arrays = {f"w{i}": np.random.default_rng(i).normal(size=(2, 50, 1000)).astype("f4") for i in range(3)}
    idata = bz.export.to_inference_data({"posterior": arrays})

    def work():
        gc.freeze()  # collect what is made from here on
        if found_out == "at the end":  # a disk that fills up while the file is written, or that tells nothing before
            files._reserve = lambda file, size: None
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for room in (0, 20_000, 500_000, 1_190_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            with pytest.raises(OSError, match="nothing is lost") as kept:
                bz.export.save(idata, tmp_path / "a.nc")
            assert kept.value.errno == errno.EFBIG
            resource.setrlimit(resource.RLIMIT_FSIZE, free)
            assert not list(tmp_path.iterdir())
            gc.collect()
        bz.export.save(idata, tmp_path / "a.nc")
        return "saved"

    assert in_a_fork(work) == "saved"
    back = bz.export.group(bz.load(tmp_path / "a.nc"), "posterior")
    assert all((back[name].values == value).all() for name, value in arrays.items())


def test_an_interrupt_while_bytes_are_written_leaves_nothing(tmp_path, monkeypatch):
    class Interrupted(files._Target):
        def write(self, data):
            if self.end > 3000 and self.error is None:
                self.error = KeyboardInterrupt()
            return super().write(data)

    monkeypatch.setattr(files, "_Target", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        bz.export.save(container(), tmp_path / "a.nc")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------- several writers


def test_of_two_writers_one_succeeds(tmp_path, monkeypatch):
    """The other's file appears after both have looked whether the name is free."""
    publish = files._publish

    def later(there, path):
        monkeypatch.setattr(files, "_publish", publish)
        bz.export.save(container(2.0), path)
        publish(there, path)

    monkeypatch.setattr(files, "_publish", later)
    with pytest.raises(FileExistsError, match="written by another"):
        bz.export.save(container(1.0), tmp_path / "a.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    assert (values(bz.load(tmp_path / "a.nc")) == 2).all()


def test_of_two_writers_one_succeeds_on_a_disk_without_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert (values(bz.load(bz.export.save(container(3.0), tmp_path / "b.nc"))) == 3).all()
    (tmp_path / "more").mkdir()
    test_of_two_writers_one_succeeds(tmp_path / "more", monkeypatch)


def test_threads_that_save_under_one_name(tmp_path):
    ended = []

    def work(value):
        try:
            bz.export.save(container(value), tmp_path / "a.nc")
            ended.append(value)
        except FileExistsError:
            ended.append(None)

    threads = [threading.Thread(target=work, args=(float(i + 1),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [value for value in ended if value]
    assert len(ended) == 6 and (values(bz.load(tmp_path / "a.nc")) == winner).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_threads_that_save_under_names_of_their_own(tmp_path):
    threads = [threading.Thread(target=bz.export.save, args=(container(i), tmp_path / f"{i}.nc")) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((values(bz.load(tmp_path / f"{i}.nc")) == i).all() for i in range(6))


@POSIX
def test_of_two_processes_one_succeeds(tmp_path):
    idatas, at = [container(i, 100_000) for i in range(2)], time.monotonic() + 0.5

    def work(idata):
        while time.monotonic() < at:
            pass
        try:
            bz.export.save(idata, tmp_path / "a.nc")
            return "saved"
        except FileExistsError:
            return "refused"

    both = [start(partial(work, idata)) for idata in idatas]
    said = [receive.recv() for _, receive in both]
    for process, _ in both:
        process.join()
    assert sorted(said) == ["refused", "saved"] and [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    assert (values(bz.load(tmp_path / "a.nc")) == said.index("saved")).all()


@POSIX
def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path):
    idata = container(numbers=500_000)
    process, _ = start(partial(bz.export.save, idata, tmp_path / "a.nc"))
    while not list(tmp_path.iterdir()):
        time.sleep(0.001)
    process.kill()
    process.join()
    assert not (tmp_path / "a.nc").exists()
    bz.export.save(idata, tmp_path / "a.nc")


# ---------------------------------------------------------------------------------------------------- damage


def test_every_flipped_bit_is_noticed(tmp_path):
    path, bad = bz.export.save(container(numbers=20), tmp_path / "a.nc"), tmp_path / "bad.nc"
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(8, len(whole) - files.LINE, 60):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(at) % 8
        bad.write_bytes(flipped)
        with pytest.raises(OSError, match="damaged"):
            bz.load(bad)
    assert (values(bz.load(path)) == 1).all()


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda whole: b"", "is empty"),
        (lambda whole: whole[:5], "no netCDF 4 file"),
        (lambda whole: whole[: len(whole) // 2], "cut off"),
        (lambda whole: whole[:-200], "cut off"),
        (lambda whole: b"chain,draw\n0,1\n" * 100, "no netCDF 4 file"),
        (lambda whole: b"CDF\x01" + whole[4:], "no netCDF 4 file"),
        (lambda whole: whole[:8] + bytes(len(whole) - 8), "damaged"),
    ],
)
def test_files_that_cannot_be_read_say_why(damage, says, tmp_path):
    path = bz.export.save(container(), tmp_path / "a.nc")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match=says):
        bz.load(path)


def test_other_things_that_are_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.nc"):
        bz.load(tmp_path / "none.nc")
    with pytest.raises(OSError):
        bz.load(tmp_path)
    xr.Dataset({"rain": ("day", np.ones(3))}).to_netcdf(tmp_path / "weather.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="no groups such as posterior"):
        bz.load(tmp_path / "weather.nc")


def test_files_of_others_have_no_digest_and_load(tmp_path):
    """What another program writes, and what it makes of our files: it takes the digest away, for it no longer holds."""
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"w": (("chain", "draw"), np.ones((2, 3)))})})
    tree.to_netcdf(tmp_path / "theirs.nc", engine="h5netcdf")
    assert values(bz.load(tmp_path / "theirs.nc")).shape == (2, 3)
    path = bz.export.save(container(), tmp_path / "a.nc")
    xr.Dataset({"z": ("row", np.ones(4))}).to_netcdf(path, mode="a", group="constant_data", engine="h5netcdf")
    assert set(bz.export.groups(bz.load(path))) == {"posterior", "observed_data", "constant_data"}
    import h5py

    with h5py.File(path, "r+") as file:
        file["posterior/w"][0, 0, 0] = 7
    assert values(bz.load(path))[0, 0, 0] == 7


def test_xarray_opens_what_is_saved(tmp_path):
    path = bz.export.save(container(4.0), tmp_path / "a.nc")
    with xr.open_dataset(path, group="posterior", engine="h5netcdf") as found:
        assert (found["w"].values == 4).all()


# ---------------------------------------------------------------------------------------------------- paths


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bz.export.save(container(), "~/run.nc") == tmp_path / "run.nc"
    assert bz.export.group(bz.load("~/run.nc"), "posterior").sizes["draw"] == 10
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]
    with pytest.raises(ValueError, match="stands for no folder"):
        bz.export.save(container(), "~nobody-has-this-name/run.nc")


class Named:
    """Any object with a path."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Path, Named, os.fsencode], ids=["str", "Path", "PathLike", "bytes"])
def test_every_kind_of_path(kind, tmp_path):
    bz.export.save(container(), kind(tmp_path / "with space é.nc"))
    assert (values(bz.load(kind(tmp_path / "with space é.nc"))) == 1).all()


def bad_paths(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    return [
        (tmp_path, IsADirectoryError, "add the name of a file"),
        (tmp_path / "file", FileExistsError, "save under another name"),
        (tmp_path / "link", FileExistsError, "save under another name"),
        (tmp_path / "no" / "a.nc", FileNotFoundError, r"make it first, Path\("),
        (tmp_path / "file" / "a.nc", NotADirectoryError, "file"),
        (tmp_path / ("a" * 300), OSError, "too long"),
        (None, TypeError, "None"),
        (3.5, TypeError, "float"),
    ]


def test_bad_paths_are_refused_before_any_work(tmp_path, monkeypatch):
    """Also by ``Posterior.save``, whose export may take minutes."""
    x = torch.zeros(3, 1)
    model = bz.BNN(torch.nn.Linear(1, 1), bz.priors.Normal(), bz.likelihoods.Gaussian())
    sites = {"weight": torch.zeros(1, 2, 1, 1), "bias": torch.zeros(1, 2, 1)}
    posterior = bz.Posterior(model, (x, x), bz.Draws(sites))
    monkeypatch.setattr(bz.Posterior, "to_inference_data", lambda *_, **__: pytest.fail("work began"))
    for path, error, says in bad_paths(tmp_path):
        for save in (posterior.save, lambda path: bz.export.save(container(), path)):
            with pytest.raises(error, match=says):
                save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # as the superuser, who may write anywhere, sees it
    with pytest.raises(PermissionError, match="save elsewhere"):
        bz.export.save(container(), tmp_path / "a.nc")


# ---------------------------------------------------------------------------------------------------- home

AT_HOME = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import bnn_zoo as bz
bz.load(bz.export.save(bz.export.to_inference_data({"posterior": {"w": np.zeros((2, 5))}}), sys.argv[1] + "/a.nc"))
print("saved")
"""


@pytest.mark.slow
def test_a_home_folder_that_cannot_be_written_to(tmp_path):
    home = tmp_path / "home"
    home.write_text("a file: not even the superuser makes a folder in it")
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    command = [sys.executable, "-c", AT_HOME, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert (run.stdout, run.returncode) == ("saved\n", 0), run.stderr


def test_arviz_is_imported_with_a_folder_that_can_be_written_to(monkeypatch):
    """Its 0.23 makes a folder for its cache while it is imported, and fails where it cannot."""
    platformdirs = pytest.importorskip("platformdirs")
    arviz, folders = types.ModuleType("arviz"), []

    def once_more(name):
        folders.append(Path(platformdirs.user_cache_dir("arviz", "arviz")))
        if len(folders) == 1:
            raise PermissionError(13, "Permission denied")
        (folders[-1] / "daily_warning").write_text("today")
        return arviz

    usual = platformdirs.user_cache_dir
    monkeypatch.setattr(importlib, "import_module", once_more)
    assert arviz_quietly() is arviz
    assert folders[0] != folders[1] and not folders[1].exists() and platformdirs.user_cache_dir is usual
