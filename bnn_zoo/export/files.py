"""netCDF files that appear whole or not at all, overwrite nothing, and tell when a byte of them has changed.

HDF5 ends the process with a segmentation fault where a write fails as a file is closed, so it never hears of a failure: it
writes through ``_Target``, which keeps the first error to itself until HDF5 is done. A line with the SHA-256 of all bytes
before it stands behind the end of the HDF5 data, where no reader of netCDF looks, and whoever adds to the file removes it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5netcdf
import xarray as xr
from xarray.backends import H5NetCDFStore

from .._memory import free_memory, said
from .container import group, groups, wrap

MARK = b"bnn_zoo sha256 "
LINE = len(MARK) + 64 + 1
"""Length of the last line: the mark, the digest in hexadecimal digits, a line feed."""
BLOCK = 2**22


def target_path(path: str | os.PathLike[str]) -> Path:
    """The path of a file that can be made there, with ``~`` expanded.

    Raises FileExistsError (nothing is overwritten), IsADirectoryError, FileNotFoundError without the folder,
    PermissionError where it cannot be written to, TypeError for what is no path.
    """
    path = _expanded(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: add the name of a file, such as {str(path / 'run.nc')!r}")
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    else:
        raise FileExistsError(f"{path} exists; save under another name, or remove it first: Path({str(path)!r}).unlink()")
    folder = path.parent
    if not folder.exists():
        raise FileNotFoundError(f"no folder {folder}: make it first, Path({str(folder)!r}).mkdir(parents=True)")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {folder} cannot be written to: save elsewhere, or change its permissions")
    return path


def save(obj: Any, path: str | os.PathLike[str]) -> Path:
    """Write all groups to one netCDF file, uncompressed (weights are noise: compression costs 20 times, gains 10 %).

    The file appears under its name when it is complete and on the disk, and with a digest that ``load`` verifies; of
    several that save under one name one succeeds. Returns the path. Raises as ``target_path`` does, MemoryError for draws on
    disk that do not fit in memory, and OSError where there is no room: the space is reserved before anything is written, and
    what was to be saved stays usable.
    """
    path = target_path(path)
    datasets = {name: group(obj, name) for name in groups(obj)}
    _need_memory(datasets)
    with _unfinished(path, _estimate(datasets)) as file:
        target = _Target(file)
        try:
            with h5netcdf.File(target, "w") as netcdf:
                xr.Dataset(attrs=obj.attrs).dump_to_store(H5NetCDFStore(netcdf, mode="a"))
                for name, dataset in datasets.items():
                    dataset.dump_to_store(H5NetCDFStore(netcdf, group=name, mode="a"))
        finally:
            if target.error:
                raise target.error
        file.truncate(target.end)
        file.seek(0)
        line = MARK + _digest(file, target.end).encode() + b"\n"
        file.write(line)
    return path


def load(path: str | os.PathLike[str]) -> Any:
    """Read a netCDF file of any ArviZ version, all of it into memory, so that the file is closed afterwards.

    Raises FileNotFoundError, and OSError for a file that is damaged (cut off, or with bytes that are not those saved:
    files written by ``save`` hold a digest) or no netCDF 4; ValueError for one without groups.
    """
    path = _expanded(path)
    with open(path, "rb") as file:
        _verify(path, file)
    try:
        found = xr.open_groups(path, engine="h5netcdf")
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise OSError(f"{path} cannot be read as netCDF 4, it may be cut off or damaged: {error}") from error
    datasets = {}
    for name, dataset in found.items():
        with dataset:
            datasets[name.strip("/")] = dataset.load()
    root = datasets.pop("", xr.Dataset())
    if not datasets:
        raise ValueError(
            f"{path} has no groups such as posterior, only variables {list(root.data_vars)}: it was not written by ArviZ; "
            "read it with xarray.open_dataset"
        )
    return wrap(datasets, root.attrs)


def _expanded(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(os.fsdecode(path)).expanduser()
    except RuntimeError as error:
        raise ValueError(f"the ~ in {path!r} stands for no folder ({error}): write the folder out") from None


def _verify(path: Path, file: BinaryIO) -> None:
    """Raise OSError unless this is an HDF5 file whose bytes are those that were saved, as far as it tells."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise OSError(f"{path} is empty: expected a netCDF file, as posterior.save writes it")
    start = file.read(8)
    if start != b"\x89HDF\r\n\x1a\n":
        raise OSError(f"{path} is no netCDF 4 file: expected an HDF5 signature at its start, got {start!r}")
    file.seek(max(size - LINE, 0))
    line = file.read()
    if not line.startswith(MARK):
        return  # written by another program, or changed by one
    file.seek(0)
    if line != MARK + _digest(file, size - LINE).encode() + b"\n":
        raise OSError(
            f"{path} is damaged: its bytes are not those that were saved (their SHA-256 differs); use a copy of it, or save "
            "the run again. xarray.open_groups reads what can still be read"
        )


def _digest(file: BinaryIO, size: int) -> str:
    """SHA-256 of the next ``size`` bytes."""
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(BLOCK, size))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


def _need_memory(datasets: dict[str, xr.Dataset]) -> None:
    """Raise MemoryError for variables on disk that are larger than what is free: they are written one by one, as a whole."""
    free = free_memory()
    for name, dataset in datasets.items():
        for variable, values in dataset.data_vars.items():
            if not values.variable._in_memory and values.nbytes > free:
                raise MemoryError(
                    f"{name}/{variable} has {said(values.nbytes)}, and {said(free)} of memory are free to write it: "
                    "take the store in the run's folder, xarray.open_zarr(folder / 'draws', group='posterior'), or save a "
                    "part, posterior.thin(10).save(…)"
                )


def _estimate(datasets: dict[str, xr.Dataset]) -> int:
    """Bytes that the file will have, with some to spare for names and labels."""
    arrays = [v for dataset in datasets.values() for v in dataset.variables.values()]
    text = [str(dataset.attrs) for dataset in datasets.values()]
    return sum(v.nbytes for v in arrays) + 2**12 * len(arrays) + sum(map(len, text)) + 2**15


@contextmanager
def _unfinished(path: Path, size: int) -> Iterator[BinaryIO]:
    """A new file beside ``path`` with ``size`` bytes reserved; it takes that name at the end, and is gone after an error."""
    there = path.with_name(f".{uuid.uuid4().hex}.unfinished")
    try:
        with open(there, "x+b", buffering=0) as file:
            _reserve(file, size)
            yield file
            os.fsync(file.fileno())
        _publish(there, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"{os.strerror(error.errno)}: expected room for {size / 1e6:,.1f} MB; nothing was saved and nothing is lost: "
            "free some space, or save on another disk",
            str(path),
        ) from None
    finally:
        there.unlink(missing_ok=True)


def _reserve(file: BinaryIO, size: int) -> None:
    """Take the space on the disk now, where the system can: no room is then found out before the work."""
    if sys.platform == "linux":
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
                raise


def _publish(there: Path, path: Path) -> None:
    """Give the complete file its name, unless there is one by now: a link never overwrites."""
    try:
        os.link(there, path)
    except FileExistsError:
        raise FileExistsError(f"{path} exists by now, written by another; save under another name") from None
    except (OSError, AttributeError, NotImplementedError):  # a disk without links, such as exFAT
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))  # whoever makes the empty file has the name
        except FileExistsError:
            raise FileExistsError(f"{path} exists by now, written by another; save under another name") from None
        os.replace(there, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError:  # not every file system syncs folders
            pass
        finally:
            os.close(folder)


class _Target(io.RawIOBase):
    """What HDF5 takes for its file. Keeps the first error in ``error`` and goes on as if all were written.

    ``end`` is the length of what was written; the file below may be longer (reserved).
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file, self.at, self.end = file, 0, 0
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.end)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def truncate(self, size: int | None = None) -> int:
        self.end = self.at if size is None else size
        return self.end

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        try:
            self.file.seek(self.at)
            count = min(self.file.readinto(view) or 0, max(self.end - self.at, 0))  # type: ignore[attr-defined]
        except BaseException as error:
            self.error, count = self.error or error, 0
        self.at += count
        return count

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            self.file.seek(self.at)
            rest = view if self.error is None else view[:0]
            while len(rest):
                rest = rest[self.file.write(rest) :]
        except BaseException as error:
            self.error = self.error or error
        self.at += len(view)
        self.end = max(self.end, self.at)
        return len(view)
