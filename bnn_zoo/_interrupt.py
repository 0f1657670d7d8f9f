"""Ctrl-C between the steps of a run, never in the midst of one.

Python raises KeyboardInterrupt between any two bytecodes. Inside torch that leaves a mode or a half-made module behind, so
that the next run fails in a strange way, or the process is aborted, or the exception is lost in C++ code that clears
errors, and the run goes on for ever.
"""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Ctrl:
    """Ctrl-C as the main thread of this process has seen it inside of ``gently``."""

    def __init__(self) -> None:
        self.depth = 0
        self.came = 0  # in ``gently`` or ``pressed``, since the process began
        self.waiting = False  # one came that nobody has acted on
        self.usual: Any = None

    def note(self, number: int, frame: Any) -> None:
        self.came += 1
        if self.waiting and callable(self.usual):
            self.usual(number, frame)  # the second time, at once
        self.waiting = True


_ctrl = _Ctrl()


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def gently(kept: str = "") -> Iterator[None]:
    """Inside, Ctrl-C waits for the next ``safe_point``, and for the end at the latest; pressed twice, it does not wait.

    ``kept`` says what would be lost by an exception at the end: a warning is given in its stead. Nothing changes where
    Ctrl-C is ignored, and in threads other than the main one, which signals do not reach. Also a decorator.
    """
    if not _main() or (_ctrl.depth == 0 and not callable(signal.getsignal(signal.SIGINT))):
        yield
        return
    if _ctrl.depth == 0:
        _ctrl.usual, _ctrl.waiting = signal.getsignal(signal.SIGINT), False
        signal.signal(signal.SIGINT, _ctrl.note)
    _ctrl.depth += 1
    try:
        yield
    finally:
        _ctrl.depth -= 1
        late = False
        if _ctrl.depth == 0:
            signal.signal(signal.SIGINT, _ctrl.usual)
            late, _ctrl.waiting = _ctrl.waiting, False
    if late:
        if kept:
            warnings.warn(f"Ctrl-C came too late to change anything: {kept}", stacklevel=3)
        else:
            _ctrl.usual(signal.SIGINT, None)


def safe_point() -> None:
    """Raise KeyboardInterrupt if Ctrl-C came since the last time."""
    if _ctrl.waiting and _main():
        _ctrl.waiting = False
        raise KeyboardInterrupt


def asked() -> bool:
    """Whether Ctrl-C came since the last time, for those who then raise KeyboardInterrupt themselves."""
    came = _ctrl.waiting and _main()
    _ctrl.waiting = _ctrl.waiting and not came
    return came


@contextmanager
def pressed() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed inside, acted on or not; it does what it did before."""
    usual: Any = signal.getsignal(signal.SIGINT)
    before = _ctrl.came
    watched = _main() and callable(usual)

    def note(number: int, frame: Any) -> None:
        _ctrl.came += 1
        usual(number, frame)

    if watched:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: _ctrl.came > before
    finally:
        if watched:
            signal.signal(signal.SIGINT, usual)


@contextmanager
def ending() -> Iterator[None]:
    """Inside of ``gently``: SIGTERM, as batch systems and clouds send it before they take a machine away, is Ctrl-C, and at
    the end the process ends with status 143. Nothing changes where SIGTERM has a handler already, and in other threads."""
    if not _main() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        _ctrl.note(number, frame)

    signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if came:
            _ctrl.waiting = False
            raise SystemExit(128 + signal.SIGTERM)


def note_instead(number: int) -> None:
    """In a fork: this signal is what Ctrl-C is elsewhere, and Ctrl-C, which the first process passes on, is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _ctrl.usual, _ctrl.waiting, _ctrl.depth = None, False, 1
    signal.signal(number, _ctrl.note)
