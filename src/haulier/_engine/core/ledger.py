"""Records and messages: one message in, the records changed, a reply and effects out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, Stored, is_terminal, phase_of, record_of, success_of, view
from haulier._engine.core.lifecycle import TABLE
from haulier._engine.core.shelf import End, Shelf
from haulier._engine.ticket import ID, QUEUED_AT, SOURCE, Ticket
from haulier.events import Changed, Discarded
from haulier.policies import Retention
from haulier.records import TERMINAL_PHASES, Phase, Record, State
from haulier.transfer import Transfer

__all__ = ["Ledger"]


_EMPTY: Final[dict[str, Stored]] = {}


class Ledger(Shelf):
    """The messages, and what each does to the records."""

    def __init__(self, retention: Retention) -> None:
        super().__init__(retention)
        self.counts: dict[str, dict[str, int]] = {}
        """How many downloads of a source have ended so far, by phase."""
        self.dead_letters: list[str] = []
        """Messages that came too late or made no sense, for the shell to log and count."""
        self.handlers: dict[type, Callable[[Any], Any]] = {
            tuple: self._added,
            Transfer: self._started,
            m.Succeeded: self._landed,
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

    # ---- a download's life -------------------------------------------------------------------------------------------

    def _added(self, ticket: Ticket) -> None:
        bucket = self.buckets.get(ticket[SOURCE])
        if bucket is None:
            bucket = self.buckets[ticket[SOURCE]] = {}
        bucket[ticket[ID]] = ticket
        if self.events is not None:
            self.events.append(Changed(ticket[ID], ticket[SOURCE], Phase.QUEUED, record_of(ticket), ticket[QUEUED_AT]))

    def _started(self, transfer: Transfer) -> None:
        ticket = transfer.ticket
        download_id, source = ticket[ID], ticket[SOURCE]
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

    def _landed(self, message: m.Succeeded) -> None:
        transfer, following = message.transfer, message.following
        ticket = transfer.ticket
        download_id, source = ticket[ID], ticket[SOURCE]
        bucket = self.buckets.get(source, _EMPTY)
        if bucket.get(download_id) is transfer and self.events is None:
            end = bucket[download_id] = success_of(message)
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
        self.is_damaged |= entry is not None and entry.phase is not None and not entry.is_terminal
        where = "no record" if entry is None else f"it is {entry.phase}"
        self.dead_letters.append(f"{event} of {download_id} at {source}: {where}")

    # ---- what got lost -----------------------------------------------------------------------------------------------

    def _unfinished(self, message: m.Unfinished) -> list[str]:
        bucket = self.buckets.get(message.source, _EMPTY)
        return [each for each, held in bucket.items() if not is_terminal(held) and phase_of(held) is not None]

    def _lost(self, message: m.Lost) -> list[str]:
        failed = []
        for download_id in message.download_ids:
            entry = self._entry(message.source, download_id)
            if entry is not None and entry.phase is not None and not entry.is_terminal:
                patch = {"error": message.error, "error_type": message.error_type}
                self._moved(m.Moved("fail", message.source, download_id, entry.transfer, patch, message.on))
                failed.append(download_id)
        return failed

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

    def _patch_unless(self, message: m.PatchUnless) -> bool | BaseException:
        entry = self._entry(message.source, message.download_id)
        if entry is None:
            return False
        state = view(entry).get("state")
        try:
            if state in message.states:
                return False
        except BaseException as error:  # objects of the caller's: it is for him, whatever it is
            return error
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
        bucket = self.buckets.get(message.source, _EMPTY)
        held = bucket.get(message.download_id)
        if held is not None:
            self.watches.call(message.download_id, held)  # first: nobody is to wait for what is gone
            del bucket[message.download_id]

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
            entry.ended_on = self._moment()
            self._note_end(source, download_id, (source, download_id, entry.ended_on))
