"""Files that are whole or not there, and errors of the disk in plain words."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .._memory import said

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SHUT = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def told(path: Path, what: str) -> Iterator[None]:
    """An OSError inside is raised as one of the same number that says what could not be done and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            why = "the disk is full, or a quota or a limit of file sizes is reached; free some space or take another disk"
        elif error.errno in SHUT:
            why = f"{os.strerror(error.errno or 0)}; change the permissions or take another folder"
        else:
            why = error.strerror or str(error)
        raise OSError(error.errno, f"{path} {what}: {why}") from error


def write_whole(path: Path, data: Any, *, sync: bool = True) -> None:
    """Write bytes to a file beside ``path``, then rename it to ``path``; whatever happens, that holds the old or the new.

    With ``sync`` they are on the disk at return. Raises OSError; nothing half-written is left behind, except by a kill.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with told(path, "cannot be written (what it held before is as it was)"):
            with open(beside, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(beside, path)
            if sync:
                sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """The names in a folder are on the disk."""
    if os.name != "posix":  # others cannot open folders, and need not
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system syncs folders
            raise
    finally:
        os.close(descriptor)


def need_room(path: Path, size: int) -> None:
    """Raise OSError unless the disk of ``path``, which need not exist yet, has ``size`` bytes free."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise OSError(
            errno.ENOSPC,
            f"{path}: the draws need {said(size)}, and {said(free)} are free on this disk: keep fewer draws (more thinning, "
            "fewer chains), or take another disk",
        )
