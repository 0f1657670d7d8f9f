"""Work on groups of chains in processes of their own, forked from this one.

Why processes: a step of a small network is tens of microseconds of arithmetic between Python calls, so threads wait for
the interpreter and splitting one matrix product over cores gains little (1.2 times on two cores, measured on 8-50-1 with
927 rows), while two processes do twice the work. Forking keeps the traced and compiled graphs.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from typing import Any

import torch

from .._interrupt import note_instead, safe_point
from .._torch import compile_alone
from ._steady import cores

LOOK = 0.2
"""Seconds between looks at the other processes."""
PR_SET_PDEATHSIG = 1
SIGNALS = {signal.SIGINT, signal.SIGTERM}

Watch = Callable[[], None]


def how_many(asked: int | None, chains: int, device: torch.device) -> int:
    """Processes for so many chains: what was asked for, or one a core; at most one a chain, and one on a GPU.

    Draws depend on this number. So it depends on nothing but the machine's cores: not on torch's threads, and not on whether
    this process can fork; where it cannot, the processes' work is done in it, one after the other.
    """
    if device.type == "cpu":
        return min(asked or cores(), chains)
    if asked is not None and asked > 1:
        warnings.warn(f"processes={asked} is for the CPU: all chains run in one process on {device.type}", stacklevel=4)
    return 1


def forks() -> bool:
    """Whether this process can fork: not on Windows, not in a daemon, and not after CUDA was used, which a fork breaks."""
    possible = "fork" in multiprocessing.get_all_start_methods() and os.name == "posix"
    return possible and not multiprocessing.current_process().daemon and not torch.cuda.is_initialized()


def spread(work: Callable[[int, Watch], Any], count: int, cut_short: Callable[[Any], bool]) -> list[Any]:
    """``[work(0, watch), …, work(count − 1, watch)]``: the first here, each other in a fork; each with one torch thread.
    Where this process cannot fork, all of them here, one after the other.

    Work calls ``watch()`` often. It raises KeyboardInterrupt where a fork was killed, so that what this process has is not
    made for nothing; ``Ended`` then stands in that fork's place. Forks do not outlive this process, however it ends.
    Ctrl-C interrupts them all (also where only the first process gets the signal: its result is then ``cut_short``), and
    each returns what it has. An exception in any of them is raised here.
    """
    if count == 1:
        return [work(0, lambda: None)]
    if not forks():
        return _in_turn(work, count, cut_short)
    importlib.import_module("torch._dynamo")  # the first gradient imports it, in seconds: once, not in each fork
    others = [_Fork(work, group) for group in range(1, count)]
    with one_thread():
        try:
            for fork in others:
                fork.start()
            first = work(0, _Watching(others))
            if cut_short(first):
                for fork in others:
                    fork.interrupt()
            return [first, *_collect(others)]
        finally:
            for fork in others:
                fork.end()


def _in_turn(work: Callable[[int, Watch], Any], count: int, cut_short: Callable[[Any], bool]) -> list[Any]:
    """As ``spread``, all in this process; after Ctrl-C in one the next do not begin."""
    made: list[Any] = []
    with one_thread():
        for group in range(count):
            made.append("interrupted before it began" if made and cut_short(made[-1]) else work(group, lambda: None))
    return made


@dataclass(frozen=True)
class Ended:
    """What there is of a process that was killed, by whom it may be; ``code`` is None where Ctrl-C was pressed again."""

    code: int | None

    def __str__(self) -> str:
        if self.code is None:
            return "was not waited for"
        return f"ended with exit code {self.code}{' (out of memory?)' if self.code == -signal.SIGKILL else ''}"


@contextmanager
def one_thread() -> Iterator[None]:
    """A single torch thread inside."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def _collect(forks: list[_Fork]) -> list[Any]:
    """What each fork sends; Ctrl-C asks them for what they have, and pressed again kills those that are in a long step."""
    try:
        _read(forks)
    except KeyboardInterrupt:
        for fork in forks:
            fork.interrupt()
        try:
            _read(forks)
        except KeyboardInterrupt:
            for fork in forks:
                fork.give_up()
    return [fork.answer for fork in forks]


def _read(forks: list[_Fork]) -> None:
    while pipes := {fork.receive: fork for fork in forks if fork.answer is None}:
        for pipe in wait(list(pipes), LOOK):
            pipes[pipe].read()
        safe_point()  # here, not half-way through a message


class _Watching:
    """Looks at the forks a few times a second."""

    def __init__(self, forks: list[_Fork]) -> None:
        self.forks, self.next = forks, 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + LOOK
        for fork in self.forks:
            if fork.answer is None and fork.receive.poll(0):
                fork.read()
            if isinstance(fork.answer, Ended):
                raise KeyboardInterrupt(f"a process with chains {fork.answer}")


@contextmanager
def _later() -> Iterator[None]:
    """Python's own handlers of signals run at the end: an exception from one in the midst of a fork would lose its id."""
    here = threading.current_thread() is threading.main_thread()  # the one that they run in, and that may change them
    usual = {number: handler for number in SIGNALS if here and callable(handler := signal.getsignal(number))}
    came: list[int] = []
    for number in usual:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        for raised in came:
            signal.raise_signal(raised)


class _Fork:
    """One group of chains in a forked process."""

    receive: Any = None
    process: Any = None
    answer: Any = None

    def __init__(self, work: Callable[[int, Watch], Any], group: int) -> None:
        self.work, self.group = work, group

    def start(self) -> None:
        """Signals wait until the fork has its own ways to deal with them."""
        context = multiprocessing.get_context("fork")
        self.receive, send = context.Pipe(duplex=False)
        args = (self.work, self.group, self.receive, send, os.getpid())
        self.process = context.Process(target=_child, args=args, daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with _later(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # "multi-threaded, fork may deadlock": ours uses none
                self.process.start()
        finally:
            send.close()  # at once: a later fork that held it would keep the end of this one from being seen
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def interrupt(self) -> None:
        """As Ctrl-C would: the fork sends what it has. Nothing happens to one that is done."""
        if self.process.is_alive():
            self.process.terminate()

    def give_up(self) -> None:
        """Kill it, unless it has answered."""
        if self.answer is None:
            self.process.kill()
            self.process.join()
            self.answer = Ended(None)

    def end(self) -> None:
        """No one waits for its result any more."""
        if self.process and self.process.pid is not None:
            self.process.kill()
            self.process.join()
        if self.receive:
            self.receive.close()

    def read(self) -> None:
        """Wait for what the work returned, as ``answer``; raise what it raised."""
        try:
            done, value = pickle.loads(self.receive.recv_bytes())
        except EOFError:
            self.process.join()
            self.answer = Ended(self.process.exitcode)
            return
        if not done:
            raise value
        self.answer = value


def _child(work: Callable[[int, Watch], Any], group: int, receive: Any, send: Any, parent: int) -> None:
    """Run in the fork: Ctrl-C reaches the first process, which passes it on as SIGTERM."""
    _end_with(parent)
    note_instead(signal.SIGTERM)
    receive.close()  # else sending would wait for ever for its own reader
    compile_alone()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        message = (True, work(group, partial(_leave_orphan, parent)))
    except BaseException as error:
        message = (False, error)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        packed = pickle.dumps(message)
    except (pickle.PicklingError, TypeError, AttributeError):  # an error that cannot be sent as it is
        packed = pickle.dumps((False, RuntimeError(repr(message[1]))))
    with suppress(OSError):  # no one listens any more
        send.send_bytes(packed)
        send.close()


def _end_with(parent: int) -> None:
    """Ask Linux to kill this process when its parent ends; elsewhere ``_leave_orphan`` finds out between transitions."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _leave_orphan(parent)  # it may have ended before that


def _leave_orphan(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(1)
