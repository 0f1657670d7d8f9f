"""Ctrl-C between the steps of a run."""

import os
import signal
import threading
import warnings

import pytest

from bnn_zoo._interrupt import gently, pressed, safe_point


@pytest.fixture(autouse=True)
def usual():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def press():
    os.kill(os.getpid(), signal.SIGINT)


def test_waits_for_the_next_safe_point():
    reached = []
    with pytest.raises(KeyboardInterrupt), gently():
        press()
        reached.append("after")
        with gently("nested ones say nothing"):
            reached.append("inside")
        safe_point()
        reached.append("never")
    assert reached == ["after", "inside"]


def test_once_acted_on_it_is_over():
    with gently():
        press()
        with pytest.raises(KeyboardInterrupt):
            safe_point()
        safe_point()


def test_whether_it_was_pressed():
    with pressed() as outer:
        with pressed() as inner, gently("nothing"):
            press()
            with pytest.raises(KeyboardInterrupt):
                safe_point()
        assert inner() and outer()
        with pressed() as inner:
            assert not inner()
            with pytest.raises(KeyboardInterrupt):
                press()
            assert inner()


def test_the_second_time_at_once():
    reached = []
    with pytest.raises(KeyboardInterrupt), gently():
        press()
        reached.append(1)
        press()
        reached.append(2)
    assert reached == [1]


def test_no_safe_point_came():
    """At the end at the latest, or a warning where that would lose something."""
    with pytest.raises(KeyboardInterrupt), gently():
        press()
    with pytest.warns(UserWarning, match="Ctrl-C came too late .*: all draws are made"), gently("all draws are made"):
        press()


def test_an_error_goes_first():
    with pytest.raises(ValueError, match="other"), gently():
        press()
        raise ValueError("other")
    safe_point()


def test_as_a_decorator():
    @gently()
    def work(times):
        for _ in range(times):
            press()
            safe_point()

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            work(1)


def test_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with gently():
            press()
            safe_point()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_hear_nothing():
    """They neither get it nor take it from the main thread."""
    problems = []

    def other():
        try:
            with gently("nothing"), warnings.catch_warnings():
                safe_point()
        except KeyboardInterrupt as error:
            problems.append(error)

    with pytest.raises(KeyboardInterrupt), gently():
        press()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        safe_point()
    assert not problems
