"""What happened, as a line for people."""

from __future__ import annotations

from pathlib import PurePath
from time import time
from typing import NamedTuple

from haulier._cli.tally import CLOSED
from haulier._cli.words import bytes_text, span_text
from haulier.events import Changed
from haulier.records import Phase, Record

__all__ = ["News", "news_of"]


class News(NamedTuple):
    """One line. ``kind`` is its first word: start, done, here, why, again, waits, failed or stops."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind:<7} {self.text}"


def news_of(event: Changed, *, put_back: bool) -> News | None:
    """The line on an event, None for one that is no news.

    ``put_back``: whether the event is a download's return to its queue, since its source asked for a pause.
    """
    record, shown = event.record, event.record["shown"]
    if put_back:
        pause_s = record.get("next_attempt_at", 0.0) - time()
        return News("waits", f"{event.source}: the server asks for a pause, {span_text(pause_s)} to go")
    if event.phase == Phase.RUNNING:
        again = f" (attempt {record['attempt']})" if record["attempt"] > 1 else ""
        return News("start", f"{shown}{again}")
    if event.phase == Phase.SUCCEEDED:
        if record.get("already_there"):
            return News("here", f"{shown} -> {PurePath(record['file_path']).name}, already there")
        return News("done", f"{shown} -> {_landed(record)}")
    if event.phase == Phase.BACKING_OFF:
        in_s = record.get("next_attempt_at", 0.0) - time()
        return News("again", f"{shown}: {record.get('error')}; next attempt in {span_text(in_s)}")
    if event.phase in (Phase.FAILED, Phase.CANCELLED) and record["error_type"] != CLOSED:
        return News("failed", f"{shown}: {record.get('error') or 'cancelled'}")
    return None


def _landed(record: Record) -> str:
    took_s = record["finished_at"] - record["started_at"]
    return f"{PurePath(record['file_path']).name}, {bytes_text(record['transferred'])} in {span_text(took_s)}"
