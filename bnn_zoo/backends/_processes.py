"""Work on groups of chains in processes of their own, forked from this one.

Why processes: a step of a small network is tens of microseconds of arithmetic between Python calls, so threads wait for
the interpreter and splitting one matrix product over cores gains little (1.2 times on two cores, measured on 8-50-1 with
927 rows), while two processes do twice the work. Forking keeps the traced and compiled graphs.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from ._steady import cores


def how_many(asked: int | None, chains: int, device: torch.device) -> int:
    """Processes for so many chains: what was asked for, or one a core where forking works; at most one a chain.

    Not one a torch thread: draws depend on this number, and threads are often set for other reasons.
    """
    possible = device.type == "cpu" and "fork" in multiprocessing.get_all_start_methods() and os.name == "posix"
    possible = possible and not multiprocessing.current_process().daemon and not torch.cuda.is_initialized()
    if asked is not None and asked > 1 and not possible:
        warnings.warn(
            f"processes={asked} needs a CPU and an operating system that forks: all chains run in this process",
            stacklevel=4,
        )
    return min(asked or cores(), chains) if possible else 1


def spread(work: Callable[[int], Any], count: int, cut_short: Callable[[Any], bool]) -> list[Any]:
    """``[work(0), …, work(count − 1)]``: the first here, each other in a fork; every one with a single torch thread.

    Ctrl-C interrupts them all (also where only the first process gets the signal: its result is then ``cut_short``), and
    each returns what it has. An exception in any of them is raised here.
    """
    if count == 1:
        return [work(0)]
    forks: list[_Fork] = []
    with one_thread():
        try:
            forks = [_Fork(work, group) for group in range(1, count)]
            first = work(0)
            if cut_short(first):
                for fork in forks:
                    fork.interrupt()
            return [first, *_collect(forks)]
        finally:
            for fork in forks:
                fork.end()


@contextmanager
def one_thread() -> Iterator[None]:
    """A single torch thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _collect(forks: list[_Fork]) -> list[Any]:
    try:
        return [fork.result() for fork in forks]
    except KeyboardInterrupt:
        for fork in forks:
            fork.interrupt()
        return [fork.result() for fork in forks]


class _Fork:
    """One group of chains in a forked process."""

    def __init__(self, work: Callable[[int], Any], group: int) -> None:
        context = multiprocessing.get_context("fork")
        self.outcome: tuple[bool, Any] | None = None
        self.receive, send = context.Pipe(duplex=False)
        self.process = context.Process(target=_child, args=(work, group, self.receive, send), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # "multi-threaded, fork may deadlock": the child uses none
            self.process.start()
        send.close()

    def interrupt(self) -> None:
        """As Ctrl-C would: the fork sends what it has. Nothing happens to one that is done."""
        if self.process.is_alive():
            self.process.terminate()

    def end(self) -> None:
        """No one waits for its result any more: a fork that is still sending gives up."""
        self.interrupt()
        self.receive.close()

    def result(self) -> Any:
        """What the work returned; raises what it raised."""
        if self.outcome is None:
            try:
                self.receive.poll(None)  # Ctrl-C ends the waiting here, not half-way through a message
                self.outcome = pickle.loads(self.receive.recv_bytes())
            except EOFError:
                self.process.join()
                code = self.process.exitcode
                raise RuntimeError(
                    f"a process with chains ended with exit code {code} (out of memory?): use fewer processes"
                ) from None
            self.process.join()
        done, value = self.outcome
        if not done:
            raise value
        return value


def _child(work: Callable[[int], Any], group: int, receive: Any, send: Any) -> None:
    """Run in the fork: Ctrl-C reaches the first process, which passes it on as SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    receive.close()  # else sending would wait for ever for its own reader
    if compiler := sys.modules.get("torch._inductor.config"):  # the threads of its pool stayed behind: waiting for them is
        compiler.compile_threads = 1  # type: ignore[attr-defined]  # for ever
    try:
        message = (True, work(group))
    except BaseException as error:
        message = (False, error)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        packed = pickle.dumps(message)
    except Exception:
        packed = pickle.dumps((False, RuntimeError(repr(message[1]))))
    with suppress(OSError):  # no one listens any more
        send.send_bytes(packed)
        send.close()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
