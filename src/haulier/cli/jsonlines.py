"""``--json``: what happens as one JSON object a line, for programs.

Keys: ``event`` (``queued``, ``started``, ``done``, ``again``, ``failed``, ``cancelled``, and at the end ``summary``),
``at`` (UTC seconds), ``id``, ``source``, ``url`` (without its secrets), and, where they apply, ``attempt``, ``path``,
``bytes``, ``already_there``, ``error``, ``error_type``, ``next_attempt_at``.
"""

from __future__ import annotations

import json
from time import time
from typing import Any, Final

from haulier.cli.outlet import Outlet
from haulier.events import Changed, Event
from haulier.records import Phase

__all__ = ["JsonLines"]

_EVENTS: Final[dict[str, str]] = {
    Phase.QUEUED: "queued",
    Phase.RUNNING: "started",
    Phase.SUCCEEDED: "done",
    Phase.BACKING_OFF: "again",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}


class JsonLines:
    """A subscriber that writes."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def hear(self, event: Event) -> None:
        """Write a line on an event."""
        if not isinstance(event, Changed):
            return
        record = event.record
        line: dict[str, Any] = {
            "event": _EVENTS[event.phase],
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
        elif event.phase in (Phase.FAILED, Phase.BACKING_OFF):
            line |= {"error": record.get("error"), "error_type": record.get("error_type")}
        if event.phase == Phase.BACKING_OFF:
            line["next_attempt_at"] = record.get("next_attempt_at")
        self._outlet.line(json.dumps(line, ensure_ascii=False))

    def summary(self, **counts: Any) -> None:
        """Write the last line."""
        self._outlet.line(json.dumps({"event": "summary", "at": time(), **counts}, ensure_ascii=False))
