"""``--json``: one JSON object per line for each event, in ASCII, for programs.

``docs/get.md`` lists the events and their keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic, time
from typing import Any, Final

from haulier._cli.display.board import Board
from haulier._cli.display.tally import CLOSED
from haulier._cli.display.views import Notice, Silence
from haulier._cli.outlet import Outlet
from haulier.events import Changed, Event
from haulier.records import Phase

__all__ = ["JsonLines"]

PROGRESS_S: Final = 1.0
"""The shortest time between two progress lines of one download, in seconds."""

_EVENTS: Final[dict[str, str]] = {
    Phase.QUEUED: "queued",
    Phase.RUNNING: "started",
    Phase.SUCCEEDED: "done",
    Phase.BACKING_OFF: "again",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}


def _name_of(event: Changed, *, waits: bool) -> str:
    if waits:
        return "waits"
    closed = event.phase == Phase.FAILED and event.record["error_type"] == CLOSED
    return "unfinished" if closed else _EVENTS[event.phase]


class JsonLines(Silence):
    """Writes JSON lines, both as a subscriber of the engine and as a view."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._next_at = monotonic() + PROGRESS_S
        self._shown: dict[str, str] = {}
        """The URL of each running download, by id, without secrets."""

    def on_event(self, event: Event) -> None:
        """Write a line for a change of phase. Called by the engine's subscription."""
        if not isinstance(event, Changed):
            return
        record = event.record
        if event.phase == Phase.RUNNING:
            self._shown[event.download_id] = record["shown"]
        else:
            self._shown.pop(event.download_id, None)
        waits = event.phase == Phase.QUEUED and "next_attempt_at" in record
        line: dict[str, Any] = {
            "event": _name_of(event, waits=waits),
            "at": event.on,
            "id": event.download_id,
            "source": event.source,
            "url": record["shown"],
        }
        if event.phase != Phase.QUEUED or record["attempt"]:
            line["attempt"] = record["attempt"]
        if event.phase == Phase.SUCCEEDED:
            line |= {"path": record["file_path"], "bytes": record["transferred"]}
            line["already_there"] = bool(record.get("already_there"))
            if record.get("unlisted"):
                line["unlisted"] = True
        elif event.phase in (Phase.FAILED, Phase.BACKING_OFF):
            line |= {"error": record.get("error"), "error_type": record.get("error_type")}
        if "next_attempt_at" in record:
            line["next_attempt_at"] = record["next_attempt_at"]
        self._write(line)

    def frame(self, take: Callable[[], Board]) -> None:
        """Write a progress line for each running download, at most once in ``PROGRESS_S``."""
        if monotonic() < self._next_at:
            return
        self._next_at = monotonic() + PROGRESS_S
        for bar in take().bars:
            line: dict[str, Any] = {"event": "progress", "at": time(), "id": bar.download_id, "source": bar.source}
            line["url"] = self._shown.get(bar.download_id)
            self._write({**line, "bytes": bar.transferred, "size": bar.size or None, "speed": round(bar.speed)})

    def show(self, notice: Notice) -> None:
        """Write a ``why`` or ``stops`` line. ``on_event`` writes the events of downloads."""
        if notice.kind in ("why", "stops"):
            self._write({"event": notice.kind, "at": time(), "text": notice.text})

    def summary(self, **counts: Any) -> None:
        """Write the summary, which is the last line."""
        self._write({"event": "summary", "at": time(), **counts})

    def _write(self, line: dict[str, Any]) -> None:
        self._outlet.line(json.dumps(line))
