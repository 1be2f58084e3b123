"""The methods of an engine that read and write records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from time import monotonic, sleep
from typing import Any, Final

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, Stored, phase_of, view
from haulier._engine.core.status import Outlook
from haulier._engine.core.values import own
from haulier._engine.shells.system import System
from haulier._engine.storage.codec import check_name, encode
from haulier._threads.log import Log
from haulier.errors import StoreUnavailable
from haulier.policies import check_int
from haulier.records import TERMINAL_PHASES, WAITING_PHASES, Attempt, Cursor, HistoryRow, Record, State

__all__ = ["LOOKS", "RecordKeeper"]

LOOKS: Final = 8
"""How often a call looks at a download until its source and its record agree. Mostly one look is enough."""


class RecordKeeper:
    """The record methods of ``DownloadEngine``, which inherits them.

    This is a base class and not a part. Delegating would cost little (30 ns of the 1.6 µs that a patch takes), but
    fourteen delegating methods would repeat every signature and docstring.
    """

    _system: System
    _patches = 0

    def add_record(self, source_name: str, download_id: str, record: Mapping[str, Any]) -> None:
        """Store a record unchanged, e.g. of a download that the caller runs. Logs a warning if it replaces one.

        Raises ``TypeError`` if ``record`` is not a mapping, or if a durable store cannot write a value in it.
        """
        system = self._system
        source = system.name_of(source_name)
        copy = _copied("record", record)
        if system.is_durable:
            if not isinstance(download_id, str):
                raise TypeError(f"download_id must be a str if the engine has a durable store, not {download_id!r}")
            check_name("source_name", source)
            check_name("download_id", download_id)
        if system.is_durable_source(source):
            _check_storable("record", copy)
        if self.get_record(source, download_id) is not None:
            _logger.warning("record %s of %s is replaced", download_id, source)
        system.store.tell(m.Put(source, download_id, copy))

    def update_record(self, source_name: str, download_id: str, patch: Mapping[str, Any]) -> None:
        """Update a record with ``patch``. Does nothing if there is no record.

        - ``state='Cancelled'`` on a download that has not ended cancels it. Any other ``state`` is stored as it is.
        - If the download has ended, a ``state`` in the patch is dropped and the rest is applied.
        - Progress costs no message, so it may be written every 2 KiB.
        - A caller that writes faster than the store applies waits for the store, one second at most.
        """
        if self._update(source_name, download_id, patch) and self._system.store.is_full:
            self._system.store.wait_for_room()

    def _update(self, source_name: str, download_id: str, patch: Mapping[str, Any]) -> bool:
        """Update a record without waiting for the store. Returns whether that took a message."""
        system = self._system
        plain = type(source_name) is str and source_name not in system.aliases and source_name
        source = source_name if plain else system.name_of(source_name)
        if type(patch) is not dict and not isinstance(patch, Mapping):  # in this order: the second check is slow
            raise TypeError(f"patch must be a mapping, not {patch!r}")
        if system.is_durable and system.is_durable_source(source):
            _check_storable("patch", patch)
        # Progress is written past the store, but only while it has applied every message: none then overwrites it.
        if not system.store.backlog:
            entry = system.ledger.table.buckets.get(source, _NOTHING).get(download_id)
            if entry is None:
                return False
            if isinstance(entry, Entry) and entry.accept_progress(patch, system.is_durable):
                if system.is_durable and not entry.is_noted:
                    entry.is_noted = True
                    system.store.tell(m.WrittenTo(source, download_id))
                self._patches += 1
                if not self._patches & 63:
                    sleep(0)  # lets readers run: a writer that never blocks would hold the interpreter
                return False
        copy = own(patch)
        if copy.get("state") == State.CANCELLED:
            mailbox = system.mailboxes.get(source)
            if mailbox is not None:
                mailbox.cancel(download_id)
        system.store.tell(m.Patch(source, download_id, copy))
        return True

    def update_record_unless_state(
        self, source_name: str, download_id: str, patch: Mapping[str, Any], skip_if_state_in: Collection[Any] = ()
    ) -> bool:
        """Update a record unless its state is in ``skip_if_state_in``, in one atomic step.

        Returns whether the patch was applied: False if the state is in ``skip_if_state_in`` or there is no record. A
        patch that cancels raises ``StoreUnavailable`` as ``cancel_download`` does.
        """
        system = self._system
        source = system.name_of(source_name)
        states = (skip_if_state_in,) if isinstance(skip_if_state_in, str) else tuple(skip_if_state_in)
        copy = _copied("patch", patch)
        if system.is_durable_source(source):
            _check_storable("patch", copy)
        if copy.get("state") == State.CANCELLED and source in system.mailboxes:
            mailbox = system.mailboxes[source]
            for looks_left in reversed(range(LOOKS)):
                self._catch_up()
                with mailbox.lock:  # nothing starts or ends between the look and the cancel
                    if system.store.backlog and looks_left:
                        continue  # never wait for the store with this lock held: a finalizer on its thread may need it
                    record = self.get_record(source, download_id)
                    if record is None or record.get("state") in states:
                        return False
                    if mailbox.cancel(download_id):
                        states = ()  # the cancel succeeded: apply the rest of the patch whatever the state is now
                    break
        done: bool | BaseException = system.store.ask(m.PatchUnless(source, download_id, copy, states))
        if isinstance(done, BaseException):
            raise done
        if done and copy.get("state") == State.CANCELLED:
            return self._is_on_disk(system.is_durable_source(source))
        return done

    def _is_on_disk(self, is_durable: bool) -> bool:
        """Wait until a cancel is on disk, if it is to be. Returns False if the store has ended without writing it.

        Raises ``StoreUnavailable`` if the store cannot write it now.
        """
        store = self._system.store
        try:
            if is_durable:
                store.ask(m.OnDisk())
        except StoreUnavailable as error:
            if store.is_shut:
                return False
            raise StoreUnavailable(
                f"the download is cancelled in this engine, but that is not on disk yet: {error}"
            ) from error
        return True

    def remove_record(self, source_name: str, download_id: str) -> Record | None:
        """Remove a record and return it; None if there is none. A download that has not ended is cancelled first.

        Raises ``StoreUnavailable`` if such a cancel could not be written, as ``cancel_download`` does.
        """
        system = self._system
        source = system.name_of(source_name)
        mailbox = system.mailboxes.get(source)
        cancelled = mailbox is not None and mailbox.cancel(download_id)
        removed: Record | None = system.store.ask(m.Remove(source, download_id))
        if cancelled:
            self._is_on_disk(system.is_durable_source(source))
        return removed

    def get_record(self, source_name: str, download_id: str) -> Record | None:
        """Return a copy of a record; None if there is none."""
        system = self._system
        source = system.name_of(source_name)
        self._catch_up()
        stored = system.ledger.table.buckets.get(source, _NOTHING).get(download_id)
        return None if stored is None else self._view(source, download_id, stored)

    def iter_records_for_source(self, source_name: str) -> Iterator[Record]:
        """Return copies of all records of a source at the moment of the call, in the order of their dispatch."""
        source = self._system.name_of(source_name)
        self._catch_up()
        return iter(self._views(source))

    def get_download_status(self, download_id: str) -> Record | None:
        """Return a copy of the record of a download at any source; None if there is none."""
        self._catch_up()
        found = self._system.ledger.table.find(None, download_id)
        return None if found is None else self._view(found[0], download_id, found[1])

    def get_all_downloads(self, exclude: Iterable[str] = ()) -> list[Record]:
        """Return copies of all records, except those of the sources in ``exclude``."""
        system = self._system
        names = (exclude,) if isinstance(exclude, str) else exclude
        without = {system.aliases.get(name, name) for name in names}
        self._catch_up()
        return [
            record
            for source in list(system.ledger.table.buckets)
            if source not in without
            for record in self._views(source)
        ]

    def clear_all_completed_downloads(self) -> int:
        """Remove all terminal records. Returns how many."""
        return int(self._system.store.ask(m.Clear()))

    def _catch_up(self) -> None:
        """Wait until the store has applied every earlier message. Mostly it has, and this costs nothing."""
        if self._system.store.backlog:
            self._system.store.ask(m.Sync())

    def _views(self, source: str) -> list[Record]:
        # copy() is one atomic step, while other threads continue to write
        bucket = self._system.ledger.table.buckets.get(source, _NOTHING).copy()
        mailbox = self._system.mailboxes.get(source)
        outlook = None if mailbox is None else Outlook(mailbox.source, monotonic())
        return [_copy_of(download_id, stored, outlook) for download_id, stored in bucket.items()]

    def _view(self, source: str, download_id: str, stored: Stored) -> Record:
        mailbox = self._system.mailboxes.get(source) if phase_of(stored) in WAITING_PHASES else None
        return _copy_of(download_id, stored, None if mailbox is None else Outlook(mailbox.source, monotonic()))

    def history(
        self,
        source_name: str | None = None,
        *,
        phase: str | None = None,
        before: Cursor | None = None,
        limit: int = 100,
    ) -> list[HistoryRow]:
        """Return downloads that have ended, newest first, including those that have left memory.

        Returns at most ``limit`` rows. For the next page pass ``before=rows[-1].cursor``. ``phase`` selects downloads
        that ended in this phase. Raises ``RuntimeError`` without a durable store, ``EngineClosed`` after ``close()``,
        and ``TypeError`` or ``ValueError`` for an invalid argument.
        """
        source = None if source_name is None else self._system.name_of(source_name)
        check_int("limit", limit, 1)
        if phase is not None and phase not in TERMINAL_PHASES:
            raise ValueError(f"phase must be one of {', '.join(map(repr, sorted(TERMINAL_PHASES)))}, not {phase!r}")
        if before is not None and not isinstance(before, Cursor):
            raise TypeError(f"before must be the cursor of a row, such as rows[-1].cursor, not {before!r}")
        self._check_durable()
        rows: list[HistoryRow] = self._system.store.ask(m.History(source, phase, before, limit))
        return rows

    def attempts(self, source_name: str, download_id: str) -> list[Attempt]:
        """Return the ended attempts at a download. Raises ``RuntimeError`` without a durable store."""
        self._check_durable()
        ended: list[Attempt] = self._system.store.ask(m.Attempts(self._system.name_of(source_name), download_id))
        return ended

    def _check_durable(self) -> None:
        if not self._system.is_durable:
            raise RuntimeError("only a durable store has a history; give the engine one: store='haulier.db'")
        self._system.check_open()


def _copy_of(download_id: str, stored: Stored, outlook: Outlook | None) -> Record:
    """A copy of the record. If the download waits, the copy has a ``reason``."""
    record = view(stored)
    if outlook is not None and phase_of(stored) in WAITING_PHASES:
        record["reason"] = outlook.reason(download_id)
    return record


def _copied(name: str, value: Mapping[str, Any]) -> Record:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {value!r}")
    return own(value)


def _check_storable(name: str, values: Mapping[str, Any]) -> None:
    """Raise ``TypeError``, naming the key, if a durable store cannot write a value."""
    for key, value in values.items():
        if not (type(key) is str and key.isascii() and _is_plain(value)):
            encode(name, {key: value})


def _is_plain(value: Any) -> bool:
    """Whether a value can certainly be stored. Most values pass this cheap test; the others are encoded to find out."""
    if type(value) is str:
        return value.isascii()
    if type(value) is int or type(value) is float:
        return -_LARGE < value < _LARGE
    return value is None or type(value) is bool


_logger = Log("haulier.engine")
_NOTHING: Final[dict[str, Any]] = {}
_LARGE: Final = 2.0**63
