"""``close()`` in every situation that an engine can be in, and the interpreter's exit without it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
import tenacity
from tests.dispatching import dispatch
from tests.waiting import Gatekeeper

import haulier
import haulier.aio
from haulier import DownloadEngine, RestartPolicy, RetryPolicy, SourcePolicy, State

Situation = Callable[[DownloadEngine, Any], list[str]]


def raises(error: BaseException) -> Callable[..., str]:
    def fetch(*_: Any) -> str:
        raise error

    return fetch


def reach(engine: DownloadEngine, download_id: str, **keys: Any) -> None:
    """Wait until the record of a download has these values."""
    until = monotonic() + 10
    while any((engine.get_download_status(download_id) or {}).get(key) != value for key, value in keys.items()):
        assert monotonic() < until, (keys, engine.get_download_status(download_id))
        threading.Event().wait(0.001)


def idle(engine: DownloadEngine, _: Any) -> list[str]:
    engine.wait(dispatch(engine, lambda *_: "/x"), 10)
    return []


def untouched(_: DownloadEngine, __: Any) -> list[str]:
    return []


def hung(engine: DownloadEngine, gatekeeper: Gatekeeper) -> list[str]:
    ids = [dispatch(engine, gatekeeper) for _ in range(3)]
    gatekeeper.wait_inside(1)
    return ids


def given_up_on(engine: DownloadEngine, gatekeeper: Gatekeeper) -> list[str]:
    engine.register_source("tidal", SourcePolicy(timeout=0.2, max_zombies=3))
    engine.wait(dispatch(engine, gatekeeper), 10)
    assert engine.stats()["tidal"]["zombies"] == 1
    return []


def backing_off(engine: DownloadEngine, _: Any) -> list[str]:
    engine.register_source(
        "tidal", SourcePolicy(retry=RetryPolicy(tenacity.stop_after_attempt(9), wait=lambda _: 3600.0))
    )
    download_id = dispatch(engine, raises(OSError("reset")))
    reach(engine, download_id, phase="backing_off")
    return [download_id]


def suspended(engine: DownloadEngine, _: Any) -> list[str]:
    ids = [dispatch(engine, raises(haulier.Throttled(3600))) for _ in range(2)]
    reach(engine, ids[0], reason="suspension")
    return ids


def paused(engine: DownloadEngine, gatekeeper: Gatekeeper) -> list[str]:
    engine.register_source("tidal")
    engine.pause("tidal")
    return [dispatch(engine, gatekeeper)]


def delayed(engine: DownloadEngine, gatekeeper: Gatekeeper) -> list[str]:
    engine.worker.set_delay("tidal", 3600)
    engine.wait(dispatch(engine, lambda *_: "/x"), 10)
    download_id = dispatch(engine, gatekeeper)
    reach(engine, download_id, reason="delay")
    return [download_id]


def resting(engine: DownloadEngine, gatekeeper: Gatekeeper) -> list[str]:
    engine.register_source("tidal", SourcePolicy(restart=RestartPolicy(wait=lambda _: 3600.0)))
    engine.wait(dispatch(engine, raises(haulier.SourceCrashed("gone"))), 10)
    download_id = dispatch(engine, gatekeeper)
    reach(engine, download_id, reason="restart")
    return [download_id]


def down(engine: DownloadEngine, _: Any) -> list[str]:
    engine.register_source("tidal", SourcePolicy(restart=RestartPolicy(intensity=0)))
    engine.wait(dispatch(engine, raises(haulier.SourceCrashed("gone"))), 10)
    with pytest.raises(haulier.SourceDown):
        dispatch(engine, lambda *_: "/x")
    return []


SITUATIONS = [untouched, idle, hung, given_up_on, backing_off, suspended, paused, delayed, resting, down]


@pytest.mark.expect_errors
@pytest.mark.parametrize("how", ["once", "twice", "at once", "in a loop", "from elsewhere"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.__name__)
def test_close_ends_all_in_every_situation(
    engine: DownloadEngine, gatekeeper: Gatekeeper, at_once: Any, situation: Situation, how: str
) -> None:
    unfinished = situation(engine, gatekeeper)

    def close() -> None:
        engine.close(timeout=0.02)

    if how == "twice":
        close()
        close()
    elif how == "at once":
        at_once(close, close, close)
    elif how == "in a loop":
        asyncio.run(_closed_in_a_loop(engine))
    elif how == "from elsewhere":
        _closed_by_an_impl(engine, close)
    else:
        close()
    for download_id in unfinished:
        record = engine.get_download_status(download_id)
        assert record is not None
        assert (record["state"], record["error_type"]) == (State.ERRORED, "EngineClosed")
    assert {r["phase"] for r in engine.get_all_downloads()} <= {"succeeded", "failed"}
    with pytest.raises(haulier.EngineClosed):
        dispatch(engine, lambda *_: "/x")


async def _closed_in_a_loop(engine: DownloadEngine) -> None:
    await haulier.aio.DownloadEngine(engine).close(timeout=0.02)


def _closed_by_an_impl(engine: DownloadEngine, close: Callable[[], None]) -> None:
    done = threading.Event()

    def closes(*_: Any) -> str:
        close()
        done.set()
        return "/x"

    closer = dispatch(engine, closes, source="elsewhere")
    assert done.wait(10)
    reach(engine, closer, phase="succeeded")


def test_a_close_cuts_a_drain_short(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    ids = [dispatch(engine, gatekeeper) for _ in range(3)]
    gatekeeper.wait_inside(1)
    draining = threading.Thread(target=engine.close, kwargs={"drain": True})
    draining.start()
    until = monotonic() + 10
    while engine._system.is_open:
        assert monotonic() < until
        threading.Event().wait(0.001)
    engine.close(timeout=0.02)
    draining.join(10)
    assert not draining.is_alive()
    assert {engine.get_download_status(each)["error"] for each in ids} == {"engine closed"}  # type: ignore[index]


# ---- the interpreter's exit ------------------------------------------------------------------------------------------

BEGINNING = """
import atexit, sys, threading
import haulier
def hang(*_): threading.Event().wait()
engine = haulier.DownloadEngine()
dispatch = lambda impl, source="s": engine.worker.dispatch(source, 1, "n", "f", impl)
"""

EXITS = {
    "untouched": "",
    "idle": "engine.wait(dispatch(lambda *_: '/x'), 10)",
    "hung": "[dispatch(hang) for _ in range(3)]",
    "busy": "[dispatch(lambda *_: '/x', f's{n % 8}') for n in range(20_000)]",
    "a subscriber that hangs": "s = engine.subscribe(hang); engine.wait(dispatch(lambda *_: '/x'), 10)",
    "a wait elsewhere": "d = dispatch(hang)\nthreading.Thread(target=engine.wait, args=(d,), daemon=True).start()",
    "a caller elsewhere": (
        "def calls():\n"
        "    try:\n"
        "        while True: dispatch(lambda *_: '/x')\n"
        "    except haulier.EngineClosed: pass\n"
        "threading.Thread(target=calls, daemon=True).start()\n"
        "threading.Event().wait(0.1)"
    ),
    "a reader at the exit": "dispatch(hang)\natexit.register(engine.get_all_downloads)\natexit.register(engine.stats)",
    "a close at the exit": "dispatch(hang)\natexit.register(engine.close, timeout=0.01)",
    "a drain at the exit": "[dispatch(lambda *_: '/x') for _ in range(100)]\natexit.register(engine.close, drain=True)",
    "a reader as the last thing": (
        "class Last:\n"
        "    def __del__(self): engine.get_all_downloads(); engine.cancel_download('x'); engine.stats()\n"
        "last = Last()\n"
        "[dispatch(lambda *_: '/x', f's{n % 8}') for n in range(20_000)]"
    ),
    "sys.exit": "dispatch(hang); sys.exit(0)",
    "a trace": "t = haulier.DownloadEngine(trace='/dev/null'); t.worker.dispatch('s', 1, 'n', 'f', hang)",
}


@pytest.mark.parametrize("program", EXITS.values(), ids=EXITS.keys())
def test_an_interpreter_whose_engine_nobody_closed_exits(program: str) -> None:
    code = BEGINNING + program + "\nprint('bye')" * (not program.endswith("sys.exit(0)"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
