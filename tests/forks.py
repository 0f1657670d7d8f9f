"""Work in forks of the test's process, which spares the seconds that a new Python takes to import everything."""

import faulthandler
import multiprocessing
import os
import warnings


def start(work, daemon=False):
    """A fork that does ``work()``, and where its answer comes: ``(process, pipe)``."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def answer():
        faulthandler.dump_traceback_later(280, exit=True)  # a fork that hangs says where
        try:
            send.send(work())
        except BaseException as error:
            send.send(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # "multi-threaded, use of fork() may lead to deadlocks"
        process = context.Process(target=answer, daemon=daemon)
        process.start()
    send.close()
    return process, receive


def in_a_fork(work, daemon=False):
    """``work()`` in a fork; raises what it raises, and EOFError where the process just ends."""
    process, receive = start(work, daemon)
    try:
        assert receive.poll(300)
        answer = receive.recv()
    finally:
        process.join(100)
    assert process.exitcode == 0
    if isinstance(answer, BaseException):
        raise answer
    return answer


def alive(pid):
    """Whether a process runs: neither gone nor a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid=None):
    """Ids of the children of a process, zombies among them."""
    pid = pid or os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]
