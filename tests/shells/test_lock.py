"""An exception from a signal handler never leaves a lock of the engine locked."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
from tests.waiting import GUARD_S

from haulier._threads.lock import SafeLock


class Interrupted(BaseException):
    """As ``KeyboardInterrupt``."""


@pytest.fixture
def alarm() -> Iterator[None]:
    def raise_it(_: int, __: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, raise_it)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_free(lock: SafeLock) -> bool:
    """Whether another thread can take the lock."""
    answers: list[bool] = []

    def ask() -> None:
        if lock.acquire(blocking=False):
            lock.release()
            answers.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(GUARD_S)
    return answers == [True]


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no interval timers here")
def test_whoever_is_interrupted_leaves_the_lock_free(alarm: None) -> None:
    lock = SafeLock()
    for _ in range(100):
        with pytest.raises(Interrupted):
            interrupted(lock)
        assert is_free(lock)


def interrupted(lock: SafeLock) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    while True:
        with lock:
            pass


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no interval timers here")
def test_whoever_is_interrupted_inside_keeps_the_outer_lock(alarm: None) -> None:
    lock = SafeLock()
    for _ in range(100):
        with lock:
            with pytest.raises(Interrupted):
                interrupted(lock)
            assert not is_free(lock)
        assert is_free(lock)


def test_it_is_reentrant_and_costs_nothing_where_python_is_right() -> None:
    lock = SafeLock()
    with lock, lock:
        assert not is_free(lock)
    assert is_free(lock)
    with pytest.raises(RuntimeError):
        lock.release()
    assert (type(lock) is type(threading.RLock())) == (sys.version_info[:2] != (3, 14))
