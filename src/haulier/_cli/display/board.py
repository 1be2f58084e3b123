"""The content of the live table as values: read from the engine several times a second, drawn by ``table``."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, time
from typing import Final

from haulier._cli.display.tally import Tally
from haulier._cli.display.text import span_text
from haulier._engine.engine import DownloadEngine
from haulier.status import SourceStatus

__all__ = ["RANK", "Bar", "Board", "Camera", "SourceLine"]

_KINDS: Final = ("running", "delay", "suspended", "back-off", "restart", "down", "paused", "ended")

RANK: Final = {kind: rank for rank, kind in enumerate(_KINDS)}
"""The order of the kinds: if there is not enough room for all sources, the first kinds are shown."""


@dataclass(frozen=True)
class Bar:
    """A running download. ``size`` is 0 while it is unknown; ``speed`` is in bytes per second."""

    download_id: str
    name: str
    source: str
    transferred: int
    size: int
    speed: float
    remaining_s: float | None


@dataclass(frozen=True)
class SourceLine:
    """A source. ``kind`` is its state as one word, ``text`` is the state as the table shows it."""

    name: str
    kind: str
    text: str
    queued: int
    done: int
    failed: int


@dataclass(frozen=True)
class Board:
    """The state of the whole run at one moment."""

    sources: tuple[SourceLine, ...]
    bars: tuple[Bar, ...]
    total: int
    done: int
    failed: int
    transferred: int
    """Bytes of the finished files and of the running downloads."""
    speed: float
    elapsed_s: float

    @property
    def running(self) -> int:
        """How many downloads are running."""
        return len(self.bars)


class Camera:
    """Takes boards. A board costs time for each source and each running download, not for each queued one."""

    def __init__(self, engine: DownloadEngine, tally: Tally) -> None:
        self._engine = engine
        self._tally = tally
        self._started_at = monotonic()

    def take(self) -> Board:
        """Read the engine and return a board."""
        tally, on = self._tally, time()
        bars = [bar for running in tally.now_running() if (bar := self._bar(*running)) is not None]
        lines = [self._line(name, status, on) for name, status in self._engine.stats().items()]
        return Board(
            sources=tuple(lines),
            bars=tuple(bars),
            total=tally.total,
            done=tally.done,
            failed=len(tally.failed),
            transferred=tally.bytes_done + sum(bar.transferred for bar in bars),
            speed=sum(bar.speed for bar in bars),
            elapsed_s=monotonic() - self._started_at,
        )

    def _bar(self, download_id: str, source: str) -> Bar | None:
        record = self._engine.get_record(source, download_id)
        if record is None:
            return None
        return Bar(
            download_id,
            record["name"],
            source,
            record["transferred"],
            record["size"],
            record["speed"],
            record["time_remaining"],
        )

    def _line(self, name: str, status: SourceStatus, on: float) -> SourceLine:
        kind, text = state_of(status, *self._tally.next_try(name), on)
        return SourceLine(name, kind, text, status["queued"], status["succeeded"], status["failed"])


def state_of(status: SourceStatus, backing_off: int, next_try_on: float, on: float) -> tuple[str, str]:
    """The state of a source at ``on`` (UTC seconds): its kind, and the text for the table.

    ``backing_off`` is how many of its queued downloads wait for a retry. The first retry is due at ``next_try_on`` (UTC
    seconds).
    """
    queued, in_flight = status["queued"], status["in_flight"]
    suspended_until, next_start = status["suspended_until"], status["next_start"]
    if status["down"]:
        return "down", "down: crashed too often"
    if status["paused"]:
        return "paused", "waits for its turn"
    if suspended_until is not None and (queued or in_flight):
        return "suspended", f"suspended, {span_text(suspended_until - on)}"
    if in_flight:
        return "running", f"{in_flight} running" if status["concurrency"] > 1 else "running"
    if not queued:
        return "ended", "all ended" if status["succeeded"] + status["failed"] else "nothing to do"
    if next_start is None:
        return "restart", "crashed, restarts soon"
    if backing_off >= queued:
        return "back-off", f"next try in {span_text(next_try_on - on)}"
    if next_start > on:
        return "delay", f"delay, {span_text(next_start - on)}"
    return "running", "starts"
