"""The trace of a real engine keeps each promise, and says nothing of what was downloaded."""

from __future__ import annotations

import gc
import json
import random
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import tenacity

from haulier import (
    DownloadEngine,
    PermanentError,
    RestartPolicy,
    RetryPolicy,
    SourceCrashed,
    SourceDown,
    SourcePolicy,
    Throttled,
)
from haulier.trace import Trace
from haulier.verify import verify

GUARD_S = 30.0


def wild(seed: int) -> Any:
    """An impl that does what impls do."""
    draw = random.Random(seed)
    tick = threading.Event()

    def impl(download_id: str, target_id: object, display_name: str) -> str | None:
        fate = draw.random()
        if fate < 0.08:
            raise OSError("reset")
        if fate < 0.12:
            raise PermanentError("gone")
        if fate < 0.16:
            raise Throttled(0.005)
        if fate < 0.18:
            raise SourceCrashed("the client is broken")
        if fate < 0.20:
            raise SystemExit(3)
        if fate < 0.30:
            tick.wait(0.002)
        return "a path" if fate < 0.95 else None

    return impl


@pytest.mark.expect_errors
@pytest.mark.parametrize("seed", range(3))
def test_a_busy_engine_keeps_its_promises(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "trace"
    retry = RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.001))
    restart = RestartPolicy(intensity=10_000, wait=tenacity.wait_fixed(0.001))
    names = [f"s{number}" for number in range(6)]
    with DownloadEngine(trace=path) as engine:
        for number, name in enumerate(names):
            policy = SourcePolicy(
                concurrency=1 + number % 3,
                delay=0.001 * (number % 2),
                jitter=(0.5, 1.5) if number == 3 else None,
                delay_from="start" if number == 5 else "end",
                retry=retry,
                restart=restart,
            )
            engine.register_source(name, policy=policy, impl=wild(seed))

        def caller(draw: random.Random) -> None:
            for number in range(300):
                name = draw.choice(names)
                download_id = engine.worker.dispatch(name, number, "n", "")
                whim = draw.random()
                if whim < 0.1:
                    engine.cancel_download(download_id)
                elif whim < 0.13:
                    engine.worker.set_concurrency(name, draw.randint(1, 4))
                elif whim < 0.16:
                    engine.worker.set_delay(name, draw.choice([0.0, 0.001, 0.002]))
                elif whim < 0.18:
                    engine.pause(name)
                    engine.resume(name)

        threads = [threading.Thread(target=caller, args=(random.Random(10 * seed + i),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(GUARD_S)
        engine.close(drain=True, timeout=GUARD_S)
    with path.open() as lines:
        report = verify(lines)
    assert (report.downloads, report.open, report.sources) == (1200, 0, 6)
    assert report.attempts > 1000


@pytest.mark.expect_errors
def test_a_source_that_goes_down_and_is_mended_keeps_its_promises(tmp_path: Path) -> None:
    def crash(download_id: str, target_id: object, display_name: str) -> str:
        if target_id == "crash":
            raise SourceCrashed("broken")
        return "x"

    with DownloadEngine(trace=tmp_path / "trace") as engine:
        engine.register_source("s", policy=SourcePolicy(restart=RestartPolicy(intensity=0)), impl=crash)
        first = [engine.worker.dispatch("s", each, "n", "") for each in ("fine", "crash")]
        list(engine.as_completed(first, timeout=GUARD_S))
        with pytest.raises(SourceDown):
            engine.worker.dispatch("s", "fine", "n", "")
        engine.revive("s")
        engine.wait(engine.worker.dispatch("s", "fine", "n", ""), timeout=GUARD_S)
    with (tmp_path / "trace").open() as lines:
        assert verify(lines).downloads == 3


def test_an_engine_that_is_closed_by_an_impl_of_its_own_keeps_its_promises(tmp_path: Path) -> None:
    closed = threading.Event()
    engine = DownloadEngine(trace=tmp_path / "trace")

    def closes(*_: object) -> str:
        engine.close()
        closed.set()
        return "x"

    engine.worker.dispatch("s", 1, "n", "", closes)
    assert closed.wait(GUARD_S)
    engine.close()
    with (tmp_path / "trace").open() as lines:
        assert verify(lines).downloads == 1


def test_the_trace_of_an_engine_that_nobody_holds_is_closed(tmp_path: Path) -> None:
    path, tick = tmp_path / "trace", threading.Event()

    def forgotten() -> None:
        engine = DownloadEngine(trace=path)
        engine.wait(engine.worker.dispatch("s", 1, "n", "", lambda *_: "x"), timeout=GUARD_S)

    forgotten()
    gc.collect()
    until = monotonic() + GUARD_S
    while '"closed"' not in path.read_text():
        assert monotonic() < until
        tick.wait(0.02)
    with path.open() as lines:
        assert verify(lines).open == 0


def test_a_trace_tells_nothing_of_what_was_downloaded(tmp_path: Path) -> None:
    with DownloadEngine(trace=tmp_path / "trace") as engine:
        fields = {"url": "https://me:s3cret@example.org"}
        impl = lambda *_: "s3cret"  # noqa: E731
        download_id = engine.worker.dispatch("s", "s3cret", "s3cret", "s3cret", impl, extra_record_fields=fields)
        engine.wait(download_id, timeout=GUARD_S)
    text = (tmp_path / "trace").read_text()
    assert download_id in text
    assert "s3cret" not in text


def test_a_trace_that_cannot_be_begun_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DownloadEngine(trace=tmp_path / "none" / "trace")


@pytest.mark.expect_errors("the trace ends here")
def test_a_full_disk_ends_the_trace_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with DownloadEngine(trace="/dev/full") as engine:
        download_id = engine.worker.dispatch("s", 1, "n", "", lambda *_: "x")
        assert engine.wait(download_id, timeout=GUARD_S)["phase"] == "succeeded"
    assert caplog.text.count("the trace ends here") == 1


def test_nothing_is_noted_after_the_end(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace")

    class Crowded:
        """A lock before which somebody waits to note something."""

        def __init__(self, lock: Any) -> None:
            self.lock, self.depth = lock, 0

        def __enter__(self) -> None:
            self.lock.acquire()
            self.depth += 1

        def __exit__(self, *_: object) -> None:
            self.depth -= 1
            self.lock.release()
            if not self.depth:
                trace.lock = self.lock  # it notes once
                trace.note("late")

    trace.lock = Crowded(trace.lock)  # type: ignore[assignment]
    trace.close()
    events = [json.loads(line)["event"] for line in (tmp_path / "trace").read_text().splitlines()]
    assert events == ["opened", "closed"]


def test_a_closed_trace_takes_no_more(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace")
    trace.close()
    trace.note("late")
    trace.close()
    events = [json.loads(line)["event"] for line in (tmp_path / "trace").read_text().splitlines()]
    assert events == ["opened", "closed"]
