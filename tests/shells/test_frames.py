"""What a failed attempt held is free as soon as it is over: nothing waits for the cycle collector."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from tests.dispatching import dispatch
from tests.waiting import GUARD_S, wait_until

from haulier import DownloadEngine, RetryPolicy, SourceCrashed, SourcePolicy, Throttled

THREE_ATTEMPTS = RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none())


class Held:
    """What an impl has in a local variable."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Without the cycle collector only reference counts free anything. pytest would keep what is logged."""
    gc.collect()
    gc.disable()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    gc.enable()


@pytest.fixture
def alive() -> list[weakref.ref[Held]]:
    return []


Failing = Callable[[BaseException], Callable[..., Any]]


@pytest.fixture
def failing(alive: list[weakref.ref[Held]]) -> Failing:
    """``failing(error)``: an impl that holds something, and raises ``error`` out of a call in which it does."""

    def make(error: BaseException) -> Callable[..., Any]:
        def fetch(download_id: str, target_id: Any, display_name: str) -> str:
            held = Held()
            alive.append(weakref.ref(held))
            try:
                raise KeyError("the first failure")
            except KeyError:
                raise type(error)(*error.args)  # noqa: B904  so that one is the other's context

        return fetch

    return make


def count(alive: list[weakref.ref[Held]]) -> int:
    return sum(each() is not None for each in alive)


def test_failures(engine: DownloadEngine, failing: Failing, alive: list[weakref.ref[Held]]) -> None:
    for _ in range(5):
        engine.wait(dispatch(engine, failing(ValueError("boom"))), GUARD_S)
        assert count(alive) == 0, "free before anyone hears of the end"
    assert len(alive) == 5


def test_retries(engine: DownloadEngine, failing: Failing, alive: list[weakref.ref[Held]]) -> None:
    engine.register_source("tidal", SourcePolicy(retry=THREE_ATTEMPTS))
    for _ in range(3):
        assert engine.wait(dispatch(engine, failing(OSError("boom"))), GUARD_S)["attempt"] == 3
        assert count(alive) == 0
    assert len(alive) == 9


def test_a_cancelled_task(engine: DownloadEngine, failing: Failing, alive: list[weakref.ref[Held]]) -> None:
    record = engine.wait(dispatch(engine, failing(asyncio.CancelledError())), GUARD_S)
    assert (record["state"], record["error_type"], count(alive)) == ("Errored", "CancelledError", 0)
    assert engine.stats()["tidal"]["restarts"] == 0, "it is no crash"


def test_a_pause(engine: DownloadEngine, failing: Failing, alive: list[weakref.ref[Held]]) -> None:
    again = threading.Event()

    def fetch(download_id: str, target_id: Any, display_name: str) -> str:
        if not again.is_set():
            again.set()
            failing(Throttled(0.01))(download_id, target_id, display_name)
        return "file.bin"

    engine.wait(dispatch(engine, fetch), GUARD_S)
    assert (len(alive), count(alive)) == (1, 0)


@pytest.mark.parametrize("crash", [SystemExit("boom"), SourceCrashed("boom")])
def test_crashes(
    engine: DownloadEngine, failing: Failing, alive: list[weakref.ref[Held]], crash: BaseException
) -> None:
    """Freed once the supervisor has logged the crash, which may be a moment after the record has ended."""
    engine.wait(dispatch(engine, failing(crash)), GUARD_S)
    wait_until(lambda: count(alive) == 0, "what the crash held is not freed")
    assert len(alive) == 1


def test_a_result_that_is_no_path(engine: DownloadEngine, alive: list[weakref.ref[Held]]) -> None:
    def fetch(download_id: str, target_id: Any, display_name: str) -> Any:
        held = Held()
        alive.append(weakref.ref(held))
        return [held]

    engine.wait(dispatch(engine, fetch), GUARD_S)
    assert (len(alive), count(alive)) == (1, 0)
