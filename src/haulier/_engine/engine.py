"""``DownloadEngine``: what a daemon embeds. It asks and tells, and decides nothing."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from threading import TIMEOUT_MAX, Thread
from time import monotonic, time
from types import EllipsisType
from typing import Any, Final, Literal

from haulier._engine import messages as m
from haulier._engine.core.entry import phase_of
from haulier._engine.core.status import explanation_of, status_of
from haulier._engine.records_api import LOOKS, RecordKeeper
from haulier._engine.shells.draining import behind_own, drain_queues
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.system import System
from haulier._engine.shells.waiting import arrivals
from haulier._engine.storage import open_storage
from haulier._engine.ticket import Impl
from haulier._engine.worker import BackgroundDownloadWorker, check_impl
from haulier._threads.subscription import Subscription
from haulier.errors import UnknownDownload, forked
from haulier.events import Event
from haulier.policies import Retention, SourcePolicy, check_int, check_seconds
from haulier.records import WAITING_PHASES, Record
from haulier.status import Explanation, SourceStatus
from haulier.trace import Trace

__all__ = ["DownloadEngine"]

CLOSE_S: Final = 10.0
"""How long ``close()`` lets running impls come to an end, where its caller does not say."""

EXIT_S: Final = 0.2
"""How long the interpreter's exit waits for each of the actors of an engine that nobody closed."""


class DownloadEngine(RecordKeeper):
    """A background download engine, usable from any thread, also from inside its own impls.

    - ``retention``: how many terminal records stay in memory, and for how long.
    - ``idle_timeout``: seconds after which a source without work gives its threads back.
    - ``store``: where records outlive the process: the path of an SQLite file, or the URL of a PostgreSQL database
      (``postgresql://…``, with ``haulier[postgres]``), where ``name`` tells its engines apart. When ``dispatch`` has
      returned, the download is on disk. What waited goes on at the next start, once its source is registered.
      ``synchronous='normal'`` lets SQLite lose the last moments when the power fails, and is faster.
    - ``trace``: a file to which it appends what happens, for ``haulier verify``; see ``haulier.trace``.

    A context manager: leaving it closes it. An engine that nobody closes keeps no interpreter alive.
    """

    def __init__(
        self,
        *,
        retention: Retention | None = None,
        idle_timeout: float = 30.0,
        store: str | os.PathLike[str] | None = None,
        name: str = "default",
        synchronous: Literal["full", "normal"] = "full",
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        """Raises ``StoreUnavailable`` where there is a store that cannot be used, ``StoreLocked`` if it is in use."""
        patience_s = check_seconds("idle_timeout", idle_timeout, above_zero=True)
        storage = None if store is None else open_storage(store, name, synchronous)
        traced: Trace | None = None
        try:
            traced = None if trace is None else Trace(trace)
            self._system = System(retention or Retention(), min(patience_s, TIMEOUT_MAX), traced, storage)
        except BaseException:
            if storage is not None:
                storage.close()
            if traced is not None:
                traced.close()
            raise
        self.worker = BackgroundDownloadWorker(self)
        _engines.add(self)
        self._finalizer = weakref.finalize(self, self._system.supervisor.tell, m.Abandon(0.0))
        self._finalizer.atexit = False

    def __enter__(self) -> DownloadEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- cancel, wait, watch -----------------------------------------------------------------------------------------

    def cancel_download(self, download_id: str, source_hint: str | None = None, remove: bool = False) -> bool:
        """Cancel a download that waits (its impl is never called) or runs (its result no longer counts).

        False where it is over already or unknown, or kept for the next start of an engine that is closed.
        ``source_hint``: where to look first. ``remove``: take the record
        out as well, also where it was over already. With a durable store it is on disk when this returns.
        """
        system = self._system
        hinted = None if source_hint is None else system.mailboxes.get(system.name_of(source_hint))
        found = hinted if hinted is not None and hinted.has(download_id) else self._mailbox_of(download_id)
        if found is not None and found.is_durable and system.store.is_shut:
            cancelled = False  # the next start would not know of it
        elif found is not None and found.cancel(download_id):
            # A queued one is not to start with the next engine either.
            cancelled = not found.is_durable or bool(system.store.ask(m.Written()))
        else:
            cancelled = bool(system.store.ask(m.Cancel(download_id)))
        if remove:
            system.store.ask(m.Remove(None, download_id))
        return cancelled

    def _mailbox_of(self, download_id: str) -> Mailbox | None:
        """The mailbox of a download that waits or runs."""
        system = self._system
        for mailbox in list(system.mailboxes.values()):
            if mailbox.has(download_id):
                return mailbox
        # Nowhere, or it was in nobody's sight for a moment, as it was being taken: its record says where it is.
        for catch_up in (False, True):
            if catch_up:
                self._catch_up()
            held = system.ledger.table.find(None, download_id)
            if held is not None:
                return system.mailboxes.get(held[0])
        return None

    def wait(self, download_id: str, timeout: float | None = None) -> Record:
        """Wait until a download is over; its record. One that is removed meanwhile is over, too.

        Raises ``UnknownDownload`` where there is no record, ``TimeoutError`` after ``timeout`` seconds, and
        ``RuntimeError`` in the download's own impl.
        """
        return next(self.as_completed((download_id,), timeout))

    def as_completed(self, download_ids: Iterable[str], timeout: float | None = None) -> Iterator[Record]:
        """The records of downloads, each as soon as it is over. Raises what ``wait`` raises; ``timeout`` is for all."""
        ids = list(dict.fromkeys(download_ids))
        deadline = None if timeout is None else monotonic() + check_seconds("timeout", timeout)
        if not behind_own(self._system).isdisjoint(ids):
            raise RuntimeError("an impl cannot wait for its own download, or for one that waits for its slot")
        return arrivals(self._system.store, ids, deadline)

    def subscribe(self, callback: Callable[[Event], Any], *, capacity: int = 10_000) -> Subscription:
        """Have ``callback(event)`` called for each event from now on, on a thread of its own; see ``haulier.events``.

        In order for each download. A callback that is more than ``capacity`` events behind misses some, and hears a
        ``Missed`` that says how many. ``close()`` the subscription, or use it in a ``with``.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._system.check_open()
        system = self._system
        subscription = Subscription(callback, check_int("capacity", capacity, 1), system.unsubscribe)
        system.subscribe(subscription)
        return subscription

    # ---- sources -----------------------------------------------------------------------------------------------------

    def register_source(
        self,
        name: str,
        policy: SourcePolicy | None = None,
        impl: Impl | None = None,
        aliases: Iterable[str] = (),
    ) -> None:
        """Give a source its manners (default: those it has), an impl of its own, and other names.

        ``impl(download_id, target_id, display_name)``, or with a further parameter ``transfer``, or with ``transfer``
        alone; it gets a ``Transfer`` there. Registering again replaces what is given, at once.

        Raises ``TypeError`` or ``ValueError`` for arguments that are none.
        """
        system = self._system
        if policy is not None and not isinstance(policy, SourcePolicy):
            raise TypeError(f"policy must be a SourcePolicy, not {policy!r}")
        if impl is not None:
            check_impl("impl", impl)
        system.alias(system.name_of(name), (aliases,) if isinstance(aliases, str) else tuple(aliases))
        mailbox = system.mailbox(name)
        if policy is not None:
            mailbox.apply(policy)
        if impl is not None:
            mailbox.impl = impl
        if policy is not None and system.is_durable:
            system.store.tell(m.Registered(mailbox.source.name))
        mailbox.changed()
        mailbox.intake.release()
        if mailbox.is_durable:
            system.store.tell(m.Registered(mailbox.source.name))

    def pause(self, source_name: str) -> None:
        """Start nothing new at a source; what runs goes on."""
        self._set_paused(source_name, True)

    def resume(self, source_name: str) -> None:
        """Go on after ``pause``."""
        self._set_paused(source_name, False)

    def _set_paused(self, source_name: str, paused: bool) -> None:
        mailbox = self._system.mailbox(source_name)
        mailbox.change(lambda source: source.gate.set_paused(paused))

    def revive(self, source_name: str) -> None:
        """Open a source that is down; one that is not is left as it is."""
        self._system.mailbox(source_name).change(lambda source: source.revive())

    def stats(self) -> dict[str, SourceStatus]:
        """What each source is doing, by its name."""
        self._catch_up()
        counts, status = self._system.ledger.counts, {}
        for name, mailbox in list(self._system.mailboxes.items()):
            with mailbox.lock:
                status[name] = status_of(mailbox.source, counts.get(name, {}), monotonic(), time())
        return status

    def explain(self, download_id: str) -> Explanation:
        """Why a download is not running, what it waits for, and when it starts if nothing else happens.

        Raises ``UnknownDownload`` where there is no record. Takes as long as the queue is.
        """
        for _ in range(LOOKS):
            self._catch_up()
            found = self._system.ledger.table.find(None, download_id)
            if found is None:
                raise UnknownDownload(f"no record of download {download_id!r}")
            phase, mailbox = phase_of(found[1]), self._system.mailboxes.get(found[0])
            if mailbox is None or phase not in WAITING_PHASES:
                break
            with mailbox.lock:
                if download_id in mailbox.source.queue.pending:
                    return explanation_of(download_id, phase, mailbox.source, monotonic(), time())
            # It has gone on since its record was read.
        return explanation_of(download_id, phase, None, monotonic(), time())

    # ---- the end -----------------------------------------------------------------------------------------------------

    def close(self, drain: bool = False, timeout: float | EllipsisType | None = ...) -> None:
        """Take no more downloads, and end: queued ones fail, running ones are asked to stop.

        ``drain=True`` lets the queues run dry first. What still runs after ``timeout`` seconds fails with the error
        ``engine closed``, and its late report is fenced; by default that is 10 s, and without limit where it drains
        (None: without limit). With a durable store queued ones are kept for the next start instead, and what runs as
        well where its source has ``resume_interrupted``.

        Records can still be read. Twice is fine, also at once, or from an impl. From a signal handler that came in the
        middle of another call of this engine it returns at once, and a thread does the rest.
        """
        if isinstance(timeout, EllipsisType):
            timeout = None if drain else CLOSE_S
        deadline = None if timeout is None else monotonic() + check_seconds("timeout", timeout)
        if self._system.interrupts_itself:
            self._system.refuse()
            Thread(target=self._close, args=(drain, deadline), name="haulier-closer").start()
        else:
            self._close(drain, deadline)

    def _close(self, drain: bool, deadline: float | None) -> None:
        if drain:
            self._system.refuse()
            drain_queues(self._system, deadline)
        self._system.close(deadline)
        if not self._system.store.running:
            # It holds what the supervisor still had to do, and so the impls, and so the engine that these refer to.
            self._finalizer.detach()

    def __reduce__(self) -> Any:
        raise TypeError("a DownloadEngine lives in the process that made it: make one in each process")


class _Forked:
    """What a forked child finds in place of its parent's actors."""

    def __getattr__(self, _: str) -> Any:
        raise forked()


def _at_exit() -> None:
    """End what nobody closed, without waiting: a thread that was frozen in a step would keep what it holds for ever."""
    for engine in list(_engines):
        if not isinstance(engine._system, _Forked):
            engine._system.close(monotonic(), EXIT_S)


def _after_fork() -> None:
    for engine in list(_engines):
        if isinstance(engine._system, _Forked):
            continue  # this child's parent was one itself
        engine._system.store.forked = True
        for mailbox in engine._system.sources():
            mailbox.forsake()
        engine._system = _Forked()  # type: ignore[assignment]


_engines: weakref.WeakSet[DownloadEngine] = weakref.WeakSet()
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
