"""Signals: handlers that raise, or close the engine, in the middle of what the main thread does with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import Gatekeeper

import haulier
from haulier import DownloadEngine, State

PROGRAM = Path(__file__).parent / "programs" / "interrupted.py"

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")


def interrupted(what: str, seed: int, folder: Path) -> int:
    """How many calls the program saw interrupted."""
    call = [sys.executable, str(PROGRAM), what, str(seed), str(folder / f"{what}-{seed}.trace")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("seed", range(2))
def test_calls_that_are_broken_off_anywhere_lose_nothing(seed: int, tmp_path: Path) -> None:
    assert interrupted("raise", seed, tmp_path) > 300


def test_a_signal_handler_may_close_the_engine_at_any_moment(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda seed: interrupted("close", seed, tmp_path), range(6)))
    assert sum(counts) > 0, "none came in the middle of a call"


def test_close_in_the_middle_of_a_step_is_done_by_another_thread(
    engine: DownloadEngine, gatekeeper: Gatekeeper
) -> None:
    running = engine.worker.dispatch("tidal", 1, "n", "f", gatekeeper)
    gatekeeper.wait_inside(1)
    with engine._system.mailboxes["tidal"].lock:  # as a call of this thread would have it, when a signal comes
        engine.close(timeout=0.01)
        with pytest.raises(haulier.EngineClosed):
            engine.worker.dispatch("tidal", 2, "n", "f", gatekeeper)
    assert engine.wait(running, 10)["error"] == "engine closed"
    gatekeeper.open()


def test_a_call_that_is_broken_off_after_the_queueing_is_taken_back(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.register_source("tidal")
    engine.pause("tidal")
    mailbox = engine._system.mailbox("tidal")

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mailbox, "call_on_slots", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.worker.dispatch("tidal", 1, "n", "f", lambda *_: "/x")
    monkeypatch.undo()
    assert engine.get_all_downloads() == []
    assert engine.stats()["tidal"]["queued"] == 0


@pytest.mark.expect_errors("downloads of tidal failed: a step was interrupted")
def test_a_cancel_that_is_broken_off_in_the_middle_is_made_good(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.register_source("tidal")
    engine.pause("tidal")
    download_id = engine.worker.dispatch("tidal", 1, "n", "f", lambda *_: "/x")
    source = engine._system.mailboxes["tidal"].source

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(source, "tell_store", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.cancel_download(download_id)
    monkeypatch.undo()
    record = engine.wait(download_id, 10)
    assert (record["state"], record["error_type"]) == (State.ERRORED, "Interrupted")


def test_a_signal_that_breaks_off_a_wait_leaves_the_download_alone(
    engine: DownloadEngine, gatekeeper: Gatekeeper
) -> None:
    download_id = engine.worker.dispatch("tidal", 1, "n", "f", gatekeeper)
    gatekeeper.wait_inside(1)

    def handler(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(KeyboardInterrupt):
            engine.wait(download_id)
    finally:
        signal.signal(signal.SIGUSR1, before)
    gatekeeper.open()
    assert engine.wait(download_id, 10)["state"] == State.SUCCEEDED
