"""One writer at a time: a lock on a folder that ends with the process which took it, however that ends."""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ._disk import told

fcntl: Any
try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None

PATIENCE = 5.0
"""Seconds to wait for a lock whose process has ended: its forks, which die with it, may take a moment."""
_held: set[int] = set()
"""Descriptors of locks of this process. A fork inherits them, and with them the locks, unless it closes them at once."""


def _close_in_fork() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_close_in_fork)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, this process alone has the lock of the folder. Raises BlockingIOError that says which process has it."""
    path = folder / "lock"
    flags = os.O_RDWR | os.O_CREAT
    if fcntl is None:
        with _by_name(path, flags | os.O_EXCL):
            yield
        return
    with told(folder, "cannot be written to"):
        descriptor = os.open(path, flags, 0o666)
    try:
        _take(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    _held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _held:  # not in a fork
            _held.remove(descriptor)
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    """Lock the file, wait a little where its process is gone, and write who has it now."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if _alive(holder := path.read_text()) or time.monotonic() > end:
                raise _in_use(path, holder) from None
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            warnings.warn(
                f"the file system of {path} knows no locks: see to it that no second run writes here", stacklevel=5
            )
            break
    with suppress(OSError):  # a full disk; the name is for messages only
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _me().encode())


@contextmanager
def _by_name(path: Path, flags: int) -> Iterator[None]:
    """Where files cannot be locked: who makes the file has the lock, and a killed process leaves it behind."""
    try:
        with told(path.parent, "cannot be written to"):
            descriptor = os.open(path, flags, 0o666)
    except FileExistsError:
        raise _in_use(path, path.read_text(), f"; if that has ended, remove {path}") from None
    os.write(descriptor, _me().encode())
    os.close(descriptor)
    try:
        yield
    finally:
        path.unlink()


def writer(folder: Path) -> str | None:
    """The process that writes to the folder now, ``"1234 on host"``, as far as its lock tells. The lock is not touched."""
    try:
        holder = (folder / "lock").read_text()
    except OSError:
        return None
    return holder if holder and _alive(holder) else None


def _me() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"


def _alive(holder: str) -> bool:
    """Whether the process may be running; what cannot be known counts as yes."""
    pid, _, host = holder.partition(" on ")
    if not pid.isdigit() or host != socket.gethostname():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _in_use(path: Path, holder: str, more: str = "") -> BlockingIOError:
    text = f"{path.parent} is in use by process {holder or '(unknown)'}: wait for its end, or take another folder{more}"
    return BlockingIOError(errno.EWOULDBLOCK, text)
