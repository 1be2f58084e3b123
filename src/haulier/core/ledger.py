"""All records: one message in, the records changed, a reply and effects out.

The ledger is written by one thread and read by all: a reader copies a record without a lock, since each step that a
reader could see half done is one C call (``dict.update``, ``dict.copy``). That is also why a record is two dicts:
``record``, which only the ledger writes, and ``overlay``, the latest progress, into which impls and callers write
directly. Readers lay the second over the first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf, nextafter
from typing import Any, Final, TypeAlias

from haulier import messages as m
from haulier.core.entry import Entry, Held, Past, entry_of, is_past, is_terminal, past, phase_of, record_of, view
from haulier.core.lifecycle import TABLE
from haulier.core.watches import Watches
from haulier.events import Changed, Discarded, Event, Removed
from haulier.policies import Retention
from haulier.records import TERMINAL_PHASES, Phase, Record, State
from haulier.transfer import Transfer

__all__ = ["Ledger", "ended_on"]


_EMPTY: Final[dict[str, Held]] = {}

End: TypeAlias = Past | tuple[str, str, float]
"""The end of a record: its source, its id and when (UTC seconds); or the ``Past`` that says so already."""


class Ledger:
    """Every record of an engine, by source and id."""

    def __init__(self, retention: Retention) -> None:
        self.buckets: dict[str, dict[str, Held]] = {}
        self.counts: dict[str, dict[str, int]] = {}
        """How many downloads of a source have ended so far, by phase."""
        self.dead_letters: list[str] = []
        """Messages that came too late or made no sense, for the shell to log and count."""
        self.now = 0.0
        """UTC seconds, set by the shell before it applies messages."""
        self.events: deque[Event] | None = None
        """What happened since the shell last looked; None while nobody listens."""
        self.watches = Watches()
        self._max_terminal, self._max_age = retention.max_terminal, retention.max_age
        self._ended: deque[End] = deque()
        """The ends of terminal records, the oldest first; some may have been removed since."""
        self._last_end = 0.0
        self._terminal = 0
        """How many of them are still there."""
        self.handlers: dict[type, Callable[[Any], Any]] = {
            tuple: self._added,
            Transfer: self._started,
            m.Landed: self._landed,
            m.Moved: self._moved,
            m.Patch: self._patch,
            m.PatchUnless: self._patch_unless,
            m.Put: self._put,
            m.Remove: self._remove,
            m.Cancel: self._cancel,
            m.Forget: self._forget,
            m.Clear: self._clear,
            m.Unfinished: self._unfinished,
            m.Lost: self._lost,
            m.Watch: self._watch,
            m.Listen: self._listen,
            m.Unwatch: lambda message: self.watches.unwatch(message.download_ids, message.callback),
            m.Closed: self._close,
            Discarded: self._discarded,
            m.Sync: lambda _: None,
        }

    def apply(self, message: Any) -> Any:
        """Carry out one message; its reply."""
        handler = self.handlers.get(type(message))
        if handler is None:
            self.dead_letters.append(f"no such message: {type(message).__name__}")
            return None
        return handler(message)

    def find(self, source: str | None, download_id: str) -> tuple[str, Held] | None:
        """Where a record is; every source is asked where ``source`` is None."""
        for name in list(self.buckets) if source is None else (source,):
            held = self.buckets.get(name, {}).get(download_id)
            if held is not None:
                return name, held
        return None

    # ---- a download's life -------------------------------------------------------------------------------------------

    def _added(self, ticket: m.Ticket) -> None:
        bucket = self.buckets.get(ticket[1])
        if bucket is None:
            bucket = self.buckets[ticket[1]] = {}
        bucket[ticket[0]] = ticket
        if self.events is not None:
            self.events.append(Changed(ticket[0], ticket[1], Phase.QUEUED, record_of(ticket), ticket[9]))

    def _started(self, transfer: Transfer) -> None:
        ticket = transfer.ticket
        download_id, source = ticket[0], ticket[1]
        bucket = self.buckets.get(source, _EMPTY)
        if bucket.get(download_id) is ticket and self.events is None:
            bucket[download_id] = transfer
            return
        entry = self._entry(source, download_id)
        if entry is not None and entry.phase == Phase.CANCELLED:
            # The cancel overtook the news of the start: the state stays, the rest is true.
            entry.record.update(attempt=transfer.attempt, started_at=transfer.started_on)
        elif entry is None or entry.phase is None or "take" not in TABLE[entry.phase]:
            self._dead("take", source, download_id, entry)
        else:
            entry.start(transfer)
            self._changed(source, download_id, entry, transfer.started_on)

    def _landed(self, message: m.Landed) -> None:
        transfer, following = message.transfer, message.following
        ticket = transfer.ticket
        download_id, source = ticket[0], ticket[1]
        bucket = self.buckets.get(source, _EMPTY)
        if bucket.get(download_id) is transfer and self.events is None:
            end = bucket[download_id] = past(message)
            self._over(source, download_id, Phase.SUCCEEDED, end)
        else:
            patch = {"file_path": message.path}
            self._moved(m.Moved("succeed", source, download_id, transfer, patch, message.on))
        if following is not None:
            self._started(following)

    def _moved(self, message: m.Moved) -> None:
        source, download_id, transfer = message.source, message.download_id, message.transfer
        entry = self._entry(source, download_id)
        phase = None if entry is None or entry.phase is None else TABLE[entry.phase].get(message.event)
        if entry is None or phase is None or transfer is not entry.transfer:
            self._dead(message.event, source, download_id, entry)
            return
        entry.move(phase, message.patch, message.on)
        self._changed(source, download_id, entry, message.on)
        if phase in TERMINAL_PHASES:
            entry.ended_on = message.on
            self._over(source, download_id, phase, (source, download_id, message.on))

    def _changed(self, source: str, download_id: str, entry: Entry, on: float) -> None:
        if self.events is not None:
            assert entry.phase is not None
            self.events.append(Changed(download_id, source, entry.phase, view(entry), on))

    def _over(self, source: str, download_id: str, phase: str, end: End) -> None:
        """The engine ended a download."""
        counts = self.counts.get(source)
        if counts is None:
            counts = self.counts[source] = dict.fromkeys(TERMINAL_PHASES, 0)
        counts[phase] += 1
        self._note_end(source, download_id, end)

    def _dead(self, event: str, source: str, download_id: str, entry: Entry | None) -> None:
        where = "no record" if entry is None else f"it is {entry.phase}"
        self.dead_letters.append(f"{event} of {download_id} at {source}: {where}")

    # ---- what got lost -----------------------------------------------------------------------------------------------

    def _unfinished(self, message: m.Unfinished) -> list[str]:
        bucket = self.buckets.get(message.source, _EMPTY)
        return [each for each, held in bucket.items() if not is_terminal(held) and phase_of(held) is not None]

    def _lost(self, message: m.Lost) -> None:
        for download_id in message.download_ids:
            entry = self._entry(message.source, download_id)
            if entry is not None and entry.phase is not None and not entry.is_terminal:
                patch = {"error": message.error, "error_type": message.error_type}
                self._moved(m.Moved("fail", message.source, download_id, entry.transfer, patch, message.on))

    # ---- what callers write ------------------------------------------------------------------------------------------

    def _put(self, message: m.Put) -> None:
        source, download_id, record = message
        bucket = self.buckets.setdefault(source, {})
        held = self._entry(source, download_id)
        if held is not None and held.phase is not None and held.phase not in TERMINAL_PHASES:
            # What the engine runs it goes on running: only what the record says is replaced.
            held.record = {**record, "phase": held.phase}
            if held.overlay is not None:
                held.overlay.clear()
            return
        self._uncount(held)
        entry = bucket[download_id] = Entry(record, None, {})
        self._look_again(source, download_id, entry)

    def _patch(self, message: m.Patch) -> None:
        source, download_id, patch = message
        entry = self._entry(source, download_id)
        if entry is None:
            return
        patch = dict(patch)
        if entry.phase is not None:
            patch.pop("phase", None)
        if "state" in patch:
            state = patch.pop("state")
            if not entry.fixed:
                entry.record["state"] = state
                entry.fixed = entry.phase is None and state == State.CANCELLED
        (entry.record if entry.overlay is None else entry.overlay).update(patch)
        self._look_again(source, download_id, entry)

    def _patch_unless(self, message: m.PatchUnless) -> bool:
        entry = self._entry(message.source, message.download_id)
        if entry is None or view(entry).get("state") in message.states:
            return False
        self._patch(m.Patch(message.source, message.download_id, message.patch))
        return True

    def _cancel(self, message: m.Cancel) -> bool:
        found = self.find(None, message.download_id)
        if found is None:
            return False
        source, _ = found
        entry = self._entry(source, message.download_id)
        assert entry is not None
        if entry.phase is not None or entry.is_terminal:
            return False  # what the engine runs is cancelled at its source; what is over is over
        entry.record["state"] = State.CANCELLED
        entry.fixed = True
        self._look_again(source, message.download_id, entry)
        return True

    def _remove(self, message: m.Remove) -> Record | None:
        found = self.find(message.source, message.download_id)
        return None if found is None else self._drop(found[0], message.download_id)

    def _forget(self, message: m.Forget) -> None:
        held = self.buckets.get(message.source, _EMPTY).pop(message.download_id, None)
        if held is not None:
            self.watches.call(message.download_id, held)

    def _clear(self, _: m.Clear) -> int:
        over = [
            (source, download_id)
            for source, bucket in self.buckets.items()
            for download_id, held in bucket.items()
            if is_terminal(held)
        ]
        for source, download_id in over:
            self._drop(source, download_id)
        return len(over)

    # ---- who watches -------------------------------------------------------------------------------------------------

    def _watch(self, message: m.Watch) -> m.Watched:
        over, unknown = [], []
        for download_id in message.download_ids:
            found = self.find(None, download_id)
            if found is None:
                unknown.append(download_id)
            elif not self.watches.watch(download_id, found[1], message.callback):
                over.append(view(found[1]))
        return m.Watched(over, unknown)

    def _close(self, _: m.Closed) -> None:
        watched = {each: self.find(None, each) for each in self.watches.callbacks}
        self.watches.close({each: found[1] for each, found in watched.items() if found is not None})

    def _discarded(self, event: Discarded) -> None:
        if self.events is not None:
            self.events.append(event)

    def _listen(self, message: m.Listen) -> None:
        if not message.active:
            self.events = None
        elif self.events is None:  # else others listen already, and what just happened is on its way to them
            self.events = deque()

    def _look_again(self, source: str, download_id: str, entry: Entry) -> None:
        """A record that ``add_record`` made is over when its callers say so."""
        if entry.phase is None and entry.ended_on is None and entry.is_terminal:
            # A moment of its own, by which this end is told from an earlier one of the same id.
            entry.ended_on = self._last_end = max(self.now, nextafter(self._last_end, inf))
            self._note_end(source, download_id, (source, download_id, self._last_end))

    # ---- what is over ------------------------------------------------------------------------------------------------

    def _note_end(self, source: str, download_id: str, end: End) -> None:
        if self.watches.callbacks:
            self.watches.call(download_id, self.buckets[source][download_id])
        self._ended.append(end)
        self._terminal += 1
        if self._terminal > self._max_terminal:
            self.expire()

    def _left(self, source: str, download_id: str, held: Held) -> None:
        """A record has left memory."""

    def _uncount(self, held: Held | None) -> None:
        """A record is gone, or another has its place."""
        if ended_on(held) is not None:
            self._terminal -= 1
            if len(self._ended) > 2 * self._terminal + 1024:
                self._ended = deque(end for end in self._ended if self._is_that(*_parts(end)))

    def _is_that(self, source: str, download_id: str, on: float) -> bool:
        """Whether the record is still there, and of this end."""
        return ended_on(self.buckets[source].get(download_id)) == on

    def expire(self) -> None:
        """Let go of terminal records that are too many or too old by now, oldest first."""
        max_terminal, max_age = self._max_terminal, self._max_age
        while self._ended:
            source, download_id, on = _parts(self._ended[0])
            too_old = max_age is not None and on <= self.now - max_age
            if self._terminal <= max_terminal and not too_old:
                return
            self._ended.popleft()
            bucket = self.buckets[source]
            held = bucket.get(download_id)
            if held is None or ended_on(held) != on:
                continue  # removed since, and perhaps added anew
            if is_terminal(held):
                del bucket[download_id]
                self._left(source, download_id, held)
                self._uncount(held)
                if self.events is not None:
                    self.events.append(Removed(download_id, source, self.now))
            elif isinstance(held, Entry):
                held.ended_on = None  # its owner goes on with it
                self._terminal -= 1

    @property
    def is_watched(self) -> bool:
        """Whether somebody waits for what happens next, be it the clock that lets records go by age."""
        return self.events is not None or bool(self.watches.callbacks) or self._max_age is not None

    def next_expiry(self) -> float | None:
        """When (UTC seconds) the next record is too old; None when none will be."""
        if self._max_age is None or not self._ended:
            return None
        return _parts(self._ended[0])[2] + self._max_age

    def _drop(self, source: str, download_id: str) -> Record:
        """Take out a record that is there."""
        held = self.buckets[source].pop(download_id)
        self._left(source, download_id, held)
        self._uncount(held)
        record = view(held)
        self.watches.call(download_id, held)
        if self.events is not None:
            self.events.append(Removed(download_id, source, self.now))
        return record

    def _entry(self, source: str, download_id: str) -> Entry | None:
        """The record, from now on as an entry."""
        bucket = self.buckets.get(source, {})
        held = bucket.get(download_id)
        if held is None or isinstance(held, Entry):
            return held
        entry = bucket[download_id] = entry_of(held)
        return entry


def _parts(end: End) -> tuple[str, str, float]:
    """Source, id and moment of an end."""
    return (end[0][1], end[0][0], end[4]) if len(end) == 6 else end


def ended_on(held: Held | None) -> float | None:
    """When a record ended, where retention counts it."""
    return held[4] if is_past(held) else held.ended_on if isinstance(held, Entry) else None
