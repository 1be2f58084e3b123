"""Records and messages: one message in, the records changed, a reply and effects out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, Stored, is_terminal, phase_of, record_of, success_of, view
from haulier._engine.core.journal import Journal
from haulier._engine.core.lifecycle import TABLE
from haulier._engine.core.retention import End
from haulier._engine.core.table import Table
from haulier._engine.core.values import are_plain
from haulier._engine.ticket import ID, QUEUED_AT, SOURCE, Ticket
from haulier.events import Changed, Discarded
from haulier.policies import Retention
from haulier.records import TERMINAL_PHASES, Phase, Record, State
from haulier.transfer import Transfer

__all__ = ["Ledger"]


_EMPTY: Final[dict[str, Stored]] = {}


class Ledger:
    """Applies messages to the records in ``table``. ``journal`` collects changes for a durable store."""

    def __init__(self, retention: Retention, journal: Journal | None = None) -> None:
        self.journal = journal
        self.table = Table(retention, journal)
        self.counts: dict[str, dict[str, int]] = {}
        """How many downloads of a source have ended so far, by phase."""
        self.dead_letters: list[str] = []
        """Messages that came too late or were invalid, for the shell to log and count."""
        self.handlers: dict[type, Callable[[Any], Any]] = {
            tuple: self._added,
            Transfer: self._started,
            m.Succeeded: self._succeeded,
            m.Moved: self._moved,
            m.Patch: self._patch,
            m.PatchUnless: self._patch_unless,
            m.Put: self._put,
            m.Remove: self._remove,
            m.Cancel: self._cancel,
            m.Forget: self._forget,
            m.Clear: lambda _: self.table.drop_terminal(),
            m.Unfinished: self._unfinished,
            m.Lost: self._lost,
            m.Watch: self._watch,
            m.Listen: self._listen,
            m.Unwatch: lambda message: self.table.watches.unwatch(message.download_ids, message.callback),
            m.Closed: self._close,
            Discarded: self._discarded,
            m.Sync: lambda _: None,
        }
        if journal is not None:
            self.handlers |= {
                m.Add: self._add,
                m.Registered: self._registered,
                m.WrittenTo: self._written_to,
                m.Paced: journal.end_late_run,
            }

    def apply(self, message: Any) -> Any:
        """Apply one message. Returns its reply."""
        handler = self.handlers.get(type(message))
        if handler is None:
            self.dead_letters.append(f"no such message: {type(message).__name__}")
            return None
        return handler(message)

    # ---- a download's life -------------------------------------------------------------------------------------------

    def _added(self, ticket: Ticket) -> None:
        table, source = self.table, ticket[SOURCE]
        bucket = table.buckets.get(source)
        if bucket is None or table.is_indexed:
            table.store(source, ticket[ID], ticket)
        else:
            bucket[ticket[ID]] = ticket
        if table.events is not None:
            table.events.append(Changed(ticket[ID], source, Phase.QUEUED, record_of(ticket), ticket[QUEUED_AT]))

    def _add(self, message: m.Add) -> None:
        assert self.journal is not None
        for ticket, text in zip(message.tickets, message.texts, strict=True):
            self._added(ticket)
            self.journal.add(ticket[SOURCE], ticket[ID], text)
        if message.source not in self.journal.pacing:
            self.journal.know(message.source)

    def refuse(self, written: bool) -> None:
        """Take back the new downloads, which cannot be written. See ``Journal.refuse`` for ``written``."""
        assert self.journal is not None
        refused = self.journal.refuse(written)
        for source, download_id in refused:
            self.table.forget(source, download_id)
        if self.table.events:
            ids = {download_id for _, download_id in refused}
            events = (each for each in self.table.events if not (isinstance(each, Changed) and each.download_id in ids))
            self.table.events = deque(events)

    def _started(self, transfer: Transfer) -> None:
        ticket = transfer.ticket
        download_id, source = ticket[ID], ticket[SOURCE]
        bucket = self.table.buckets.get(source, _EMPTY)
        if bucket.get(download_id) is ticket and self.table.events is None:
            bucket[download_id] = transfer
        else:
            self._start_entry(source, download_id, transfer)
        if self.journal is not None:
            self.table.touch(source, download_id)

    def _start_entry(self, source: str, download_id: str, transfer: Transfer) -> None:
        entry = self.table.entry(source, download_id)
        if entry is not None and entry.phase == Phase.CANCELLED:
            # The cancel overtook the message of the start: the state stays, the rest is true.
            entry.record.update(attempt=transfer.attempt, started_at=transfer.started_on)
        elif entry is None or entry.phase is None or "take" not in TABLE[entry.phase]:
            self._dead("take", source, download_id, entry)
        else:
            entry.start(transfer)
            self._changed(source, download_id, entry, transfer.started_on)

    def _succeeded(self, message: m.Succeeded) -> None:
        transfer, following = message.transfer, message.following
        ticket = transfer.ticket
        download_id, source = ticket[ID], ticket[SOURCE]
        bucket = self.table.buckets.get(source, _EMPTY)
        if bucket.get(download_id) is transfer and self.table.events is None:
            success = bucket[download_id] = success_of(message)
            if self.journal is not None:
                self.journal.pace_first_success(source, success)
            self._ended(source, download_id, Phase.SUCCEEDED, success)
        else:
            patch = {"file_path": message.path}
            self._moved(m.Moved("succeed", source, download_id, transfer, patch, message.on))
        if following is not None:
            self._started(following)

    def _moved(self, message: m.Moved) -> None:
        source, download_id, transfer = message.source, message.download_id, message.transfer
        entry = self.table.entry(source, download_id)
        phase = None if entry is None or entry.phase is None else TABLE[entry.phase].get(message.event)
        if entry is None or phase is None or transfer is not entry.transfer:
            self._dead(message.event, source, download_id, entry)
            return
        entry.move(phase, message.patch, message.on)
        self._changed(source, download_id, entry, message.on)
        if self.journal is not None:
            entry.standing = message.standing
            self.table.touch(source, download_id)
            if transfer is not None:
                self.journal.note_attempt(transfer, message)
        if phase in TERMINAL_PHASES:
            entry.ended_on = message.on
            self._ended(source, download_id, phase, (source, download_id, message.on))

    def _changed(self, source: str, download_id: str, entry: Entry, on: float) -> None:
        if self.table.events is not None:
            assert entry.phase is not None
            self.table.events.append(Changed(download_id, source, entry.phase, view(entry), on))

    def _ended(self, source: str, download_id: str, phase: str, end: End) -> None:
        """Count a download that the engine ended."""
        counts = self.counts.get(source)
        if counts is None:
            counts = self.counts[source] = dict.fromkeys(TERMINAL_PHASES, 0)
        counts[phase] += 1
        self.table.end(source, download_id, end)

    def _dead(self, event: str, source: str, download_id: str, entry: Entry | None) -> None:
        self.table.is_damaged |= entry is not None and entry.phase is not None and not entry.is_terminal
        where = "no record" if entry is None else f"it is {entry.phase}"
        self.dead_letters.append(f"{event} of {download_id} at {source}: {where}")

    # ---- lost downloads ---------------------------------------------------------------------------------------------

    def _unfinished(self, message: m.Unfinished) -> list[str]:
        bucket = self.table.buckets.get(message.source, _EMPTY)
        return [each for each, stored in bucket.items() if not is_terminal(stored) and phase_of(stored) is not None]

    def _lost(self, message: m.Lost) -> list[str]:
        failed = []
        for download_id in message.download_ids:
            entry = self.table.entry(message.source, download_id)
            if entry is not None and entry.phase is not None and not entry.is_terminal:
                patch = {"error": message.error, "error_type": message.error_type}
                self._moved(m.Moved("fail", message.source, download_id, entry.transfer, patch, message.on))
                failed.append(download_id)
        return failed

    # ---- what callers write ------------------------------------------------------------------------------------------

    def _put(self, message: m.Put) -> None:
        source, download_id, record = message
        stored = self.table.entry(source, download_id)
        if stored is not None and stored.phase is not None and stored.phase not in TERMINAL_PHASES:
            # The engine still runs the download. Only the contents of its record are replaced.
            stored.record = {**record, "phase": stored.phase}
            stored.is_nested = not are_plain(record.values())
            if stored.overlay is not None:
                stored.overlay.clear()
            self.table.touch(source, download_id)
            return
        self.table.retained.uncount(stored)
        entry = Entry(record, None, {}, not are_plain(record.values()))
        self.table.store(source, download_id, entry)
        if self.journal is not None:
            if stored is not None:
                self.journal.touch(source, download_id)
            else:
                self.journal.add(source, download_id, None)
        self.table.end_if_terminal(source, download_id, entry)

    def _patch(self, message: m.Patch) -> None:
        source, download_id, patch = message
        entry = self.table.entry(source, download_id)
        if entry is None:
            return
        before = entry.record.get("state")
        patch = dict(patch)
        if entry.phase is not None:
            patch.pop("phase", None)
        if "state" in patch:
            state = patch.pop("state")
            if not entry.fixed:
                entry.record["state"] = state
                entry.fixed = entry.phase is None and state == State.CANCELLED
        entry.is_nested |= not are_plain(patch.values())
        (entry.record if entry.overlay is None else entry.overlay).update(patch)
        self.table.end_if_terminal(source, download_id, entry)
        if self.journal is not None and download_id in self.table.buckets[source]:
            urgent = entry.record.get("state") != before or not self.table.is_live(source, download_id)
            self.journal.touch(source, download_id, urgent)

    def _patch_unless(self, message: m.PatchUnless) -> bool | BaseException:
        entry = self.table.entry(message.source, message.download_id)
        if entry is None:
            return False
        state = view(entry).get("state")
        try:
            if state in message.states:
                return False
        except BaseException as error:  # raised by the caller's own objects: the caller gets it
            return error
        self._patch(m.Patch(message.source, message.download_id, message.patch))
        return True

    def _written_to(self, message: m.WrittenTo) -> None:
        assert self.journal is not None
        if message.download_id in self.table.buckets.get(message.source, ()):
            self.journal.touch(message.source, message.download_id, urgent=False)

    def _cancel(self, message: m.Cancel) -> bool:
        found = self.table.find(None, message.download_id)
        if found is None:
            return False
        source, _ = found
        entry = self.table.entry(source, message.download_id)
        assert entry is not None
        if entry.phase is not None or entry.is_terminal:
            return False  # what the engine runs is cancelled at its source; what has ended stays as it is
        entry.record["state"] = State.CANCELLED
        entry.fixed = True
        self.table.end_if_terminal(source, message.download_id, entry)
        self.table.touch(source, message.download_id)
        return True

    def _remove(self, message: m.Remove) -> Record | None:
        found = self.table.find(message.source, message.download_id)
        return None if found is None else self.table.drop(found[0], message.download_id)

    def _forget(self, message: m.Forget) -> None:
        self.table.forget(message.source, message.download_id)
        if self.journal is not None:
            self.journal.forget(message.source, message.download_id)

    def _registered(self, message: m.Registered) -> None:
        assert self.journal is not None
        if self.journal.is_durable(message.source):
            self.journal.know(message.source)
            return
        for download_id, stored in self.table.buckets.get(message.source, {}).items():
            self.journal.stop_writing(message.source, download_id, stored)

    # ---- watchers ----------------------------------------------------------------------------------------------------

    def _watch(self, message: m.Watch) -> m.Watched:
        ended, unknown = [], []
        for download_id in message.download_ids:
            found = self.table.find(None, download_id)
            departed = None if found is not None else self.table.departed.record(download_id)
            if departed is not None:
                ended.append(departed)
            elif found is None:
                unknown.append(download_id)
            elif not self.table.watches.watch(download_id, found[1], message.callback):
                ended.append(view(found[1]))
        return m.Watched(ended, unknown)

    def _close(self, _: m.Closed) -> None:
        watches = self.table.watches
        watched = {each: self.table.find(None, each) for each in watches.callbacks}
        watches.close({each: found[1] for each, found in watched.items() if found is not None})

    def _discarded(self, event: Discarded) -> None:
        if self.table.events is not None:
            self.table.events.append(event)

    def _listen(self, message: m.Listen) -> None:
        if not message.active:
            self.table.events = None
        elif self.table.events is None:  # otherwise others subscribe already, and their recent events must not be lost
            self.table.events = deque()
