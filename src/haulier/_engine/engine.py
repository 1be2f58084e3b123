"""``DownloadEngine``: what a program embeds. It sends messages and reads records; every decision is in ``core``."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from threading import TIMEOUT_MAX, Thread
from time import monotonic, time
from types import EllipsisType
from typing import Any, Final, Literal

from haulier._engine import messages as m
from haulier._engine.core.entry import is_terminal, phase_of
from haulier._engine.core.status import explanation_of, status_of
from haulier._engine.process_end import open_engines
from haulier._engine.records_api import LOOKS, RecordKeeper
from haulier._engine.shells.draining import behind_own, drain_queues
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.system import System
from haulier._engine.shells.waiting import arrivals
from haulier._engine.storage import open_storage
from haulier._engine.ticket import Impl
from haulier._engine.worker import BackgroundDownloadWorker, check_impl
from haulier._threads.subscription import Subscription
from haulier.errors import UnknownDownload
from haulier.events import Event
from haulier.policies import Retention, SourcePolicy, check_int, check_seconds
from haulier.records import WAITING_PHASES, Record
from haulier.status import Explanation, SourceStatus
from haulier.trace import Trace

__all__ = ["DownloadEngine"]

CLOSE_S: Final = 10.0
"""How long ``close()`` waits for running impls by default, in seconds."""


class DownloadEngine(RecordKeeper):
    """A background download engine. Every method may be called from any thread, also from an impl.

    - ``retention``: how many terminal records stay in memory, and for how long.
    - ``policy``: the policy of sources that are not registered. The default is ``SourcePolicy()``.
    - ``max_running``: how many impls run at once, over all sources, which then take turns. The default is no limit.
    - ``idle_timeout``: seconds after which a source without work gives its threads back.
    - ``store``: where records survive the process. Either the path of an SQLite file, or the URL of a PostgreSQL
      database (``postgresql://…``; needs ``haulier[postgres]``). When ``dispatch`` returns, the download is on disk.
      Queued downloads resume at the next start, as soon as their source is registered.
    - ``name``: tells engines apart that share a PostgreSQL database.
    - ``synchronous``: ``'normal'`` is faster, but SQLite may lose the last moments at a power failure.
    - ``trace``: a file to which the engine appends what happens, for ``haulier verify``. See ``haulier.trace``.

    Use it in a ``with`` statement: leaving it calls ``close()``. An engine that is never closed does not keep the
    interpreter alive.
    """

    def __init__(
        self,
        *,
        retention: Retention | None = None,
        policy: SourcePolicy | None = None,
        max_running: int | None = None,
        idle_timeout: float = 30.0,
        store: str | os.PathLike[str] | None = None,
        name: str = "default",
        synchronous: Literal["full", "normal"] = "full",
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        """Raises ``StoreUnavailable`` if the store cannot be used, and ``StoreLocked`` if another engine uses it.

        Raises ``TypeError`` or ``ValueError``, naming the argument, for an invalid one.
        """
        if retention is not None and not isinstance(retention, Retention):
            raise TypeError(f"retention must be a Retention, e.g. Retention(max_terminal=100), not {retention!r}")
        if policy is not None and not isinstance(policy, SourcePolicy):
            raise TypeError(f"policy must be a SourcePolicy, not {policy!r}")
        if store is not None and not isinstance(store, (str, os.PathLike)):
            raise TypeError(f"store must be the path of an SQLite file or a postgresql:// URL, not {store!r}")
        if trace is not None and not isinstance(trace, (str, os.PathLike)):
            raise TypeError(f"trace must be the path of a file, not {trace!r}")
        if max_running is not None:
            check_int("max_running", max_running, 1)
        patience_s = check_seconds("idle_timeout", idle_timeout, above_zero=True)
        storage = None if store is None else open_storage(store, name, synchronous)
        traced: Trace | None = None
        try:
            traced = None if trace is None else Trace(trace)
            limits = (retention or Retention(), policy or SourcePolicy(), min(patience_s, TIMEOUT_MAX))
            self._system = System(*limits, traced, storage)
        except BaseException:
            if storage is not None:
                storage.close()
            if traced is not None:
                traced.close()
            raise
        self._system.limit_running(max_running)
        self.worker = BackgroundDownloadWorker(self)
        open_engines.add(self)
        self._finalizer = weakref.finalize(self, self._system.supervisor.tell, m.Abandon(0.0))
        self._finalizer.atexit = False

    def __enter__(self) -> DownloadEngine:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self._say_what_is_awaited()
        self.close()

    def _say_what_is_awaited(self) -> None:
        """After Ctrl-C: say on stderr why the program does not end yet, if impls still run."""
        running = {name: status["in_flight"] for name, status in self.stats().items() if status["in_flight"]}
        if running:
            where = ", ".join(f"{count} at {name}" for name, count in sorted(running.items()))
            print(f"haulier: waiting up to {CLOSE_S:g} s for running downloads to stop ({where})", file=sys.stderr)

    # ---- cancel, wait, watch -----------------------------------------------------------------------------------------

    def cancel_download(self, download_id: str, source_hint: str | None = None, remove: bool = False) -> bool:
        """Cancel a download. If it waits, it does not start (again); if it runs, its result no longer counts.

        Returns False if the download has ended, is unknown, or is kept for the next start by an engine that is closed.
        ``source_hint`` names the source to look at first. ``remove=True`` also removes the record, even if the download
        had ended.

        With a durable store the cancel is on disk when this returns True. Raises ``StoreUnavailable`` if it could not
        be written. Then it counts in this engine, and is written as soon as the store can.
        """
        system = self._system
        hinted = None if source_hint is None else system.mailboxes.get(system.name_of(source_hint))
        found = hinted if hinted is not None and hinted.has(download_id) else self._mailbox_of(download_id)
        if found is not None and found.is_durable and system.store.is_shut:
            cancelled = False  # the next start would not know of it
        elif found is not None and found.cancel(download_id):
            cancelled = True
        else:
            cancelled = bool(system.store.ask(m.Cancel(download_id)))
        if remove:
            system.store.ask(m.Remove(None, download_id))
        # A queued download must not start with the next engine either, so wait until the cancel is on disk.
        return cancelled and self._is_on_disk(system.is_durable if found is None else found.is_durable)

    def _mailbox_of(self, download_id: str) -> Mailbox | None:
        """The mailbox of a download that waits or runs; None if it does neither."""
        system = self._system
        found = system.ledger.table.find(None, download_id)  # one step; there may be 100,000 mailboxes
        mailbox = None if found is None else system.mailboxes.get(found[0])
        if mailbox is not None and mailbox.has(download_id):
            return mailbox
        if found is not None and is_terminal(found[1]):
            return None
        for mailbox in list(system.mailboxes.values()):
            if mailbox.has(download_id):
                return mailbox
        # A slot may be taking it at this moment, when no mailbox shows it. Its record names the source.
        for catch_up in (False, True):
            if catch_up:
                self._catch_up()
            stored = system.ledger.table.find(None, download_id)
            if stored is not None:
                return system.mailboxes.get(stored[0])
        return None

    def wait(self, download_id: str, timeout: float | None = None) -> Record:
        """Wait until a download has ended, and return its record. A download that is removed has ended, too.

        Raises ``UnknownDownload`` if there is no record, ``TimeoutError`` after ``timeout`` seconds (None: never),
        ``EngineClosed`` if a closed engine keeps the download for the next start, and ``RuntimeError`` in an impl that
        waits for its own download, or for one that waits for its slot.
        """
        return next(self.as_completed((download_id,), timeout))

    def as_completed(self, download_ids: Iterable[str], timeout: float | None = None) -> Iterator[Record]:
        """Yield the record of each download as soon as it has ended, each once; ``timeout`` is for all.

        A download whose record has left memory (see ``Retention``) is reported with a short one: id, source, state,
        phase, path, error and the time of its end. The last 50,000 of these are known. Raises like ``wait``.
        """
        ids = list(dict.fromkeys(download_ids))
        deadline = None if timeout is None else monotonic() + check_seconds("timeout", timeout)
        if not behind_own(self._system).isdisjoint(ids):
            raise RuntimeError("an impl cannot wait for its own download, or for one that waits for its slot")
        return arrivals(self._system.store, ids, deadline)

    def subscribe(self, callback: Callable[[Event], Any], *, capacity: int = 10_000) -> Subscription:
        """Call ``callback(event)`` for each event from now on, on a thread of its own. See ``haulier.events``.

        The events of one download arrive in order. A callback that is more than ``capacity`` events behind loses some,
        and receives a ``Missed`` event that says how many. Call ``close()`` on the subscription, or use it in a
        ``with`` statement.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._system.check_open()
        system = self._system
        subscription = Subscription(callback, check_int("capacity", capacity, 1), system.unsubscribe)
        system.subscribe(subscription)
        return subscription

    @property
    def max_running(self) -> int | None:
        """How many impls run at once, over all sources; None for no limit. It may be changed while the engine runs.

        Under a lower limit running impls finish. Setting it raises ``TypeError`` if it is not an int, ``ValueError`` if
        it is below 1.
        """
        turns = self._system.turns
        return None if turns is None else turns.limit

    @max_running.setter
    def max_running(self, limit: int | None) -> None:
        self._system.limit_running(None if limit is None else check_int("max_running", limit, 1))

    # ---- sources -----------------------------------------------------------------------------------------------------

    def register_source(
        self,
        name: str,
        policy: SourcePolicy | None = None,
        impl: Impl | None = None,
        aliases: Iterable[str] = (),
    ) -> None:
        """Give a source a policy, an impl and aliases. What is left out stays as it is.

        ``impl`` takes ``(download_id, target_id, display_name)``, the same and a parameter named ``transfer``, or
        ``transfer`` alone, which receives a ``haulier.Transfer``. Registering a source again takes effect at once.

        Raises ``TypeError`` if ``policy`` is not a ``SourcePolicy`` or ``impl`` is not callable, and ``ValueError`` if
        an alias is the name or the alias of another source.
        """
        system = self._system
        if policy is not None and not isinstance(policy, SourcePolicy):
            raise TypeError(f"policy must be a SourcePolicy, not {policy!r}")
        if impl is not None:
            check_impl("impl", impl)
        system.alias(system.name_of(name), (aliases,) if isinstance(aliases, str) else tuple(aliases))
        mailbox = system.mailbox(name)
        if policy is not None:
            with mailbox.lock:  # the store hears of the policy before it hears of a start that obeys it
                mailbox.apply(policy)
                if system.is_durable:
                    system.store.tell(m.Registered(mailbox.source.name))
        if impl is not None:
            mailbox.impl = impl
        mailbox.changed()
        mailbox.intake.release()
        if mailbox.is_durable:
            system.store.tell(m.Registered(mailbox.source.name))

    def pause(self, source_name: str) -> None:
        """Start no further download at a source. Running impls finish. Raises ``UnknownSource``."""
        self._set_paused(source_name, True)

    def resume(self, source_name: str) -> None:
        """Start downloads again at a source that was paused. Raises ``UnknownSource``."""
        self._set_paused(source_name, False)

    def _set_paused(self, source_name: str, paused: bool) -> None:
        self._system.known(source_name).change(lambda source: source.gate.set_paused(paused))

    def revive(self, source_name: str) -> None:
        """Open a source that is down. Does nothing if the source is not down. Raises ``UnknownSource``."""
        self._system.known(source_name).change(lambda source: source.revive())

    def stats(self) -> dict[str, SourceStatus]:
        """The status of each source, by its name."""
        self._catch_up()
        counts, status = self._system.ledger.counts, {}
        for name, mailbox in list(self._system.mailboxes.items()):
            with mailbox.lock:
                status[name] = status_of(mailbox.source, counts.get(name, {}), monotonic(), time())
        return status

    def explain(self, download_id: str) -> Explanation:
        """Say why a download is not running, what it waits for, and when it starts if nothing else happens.

        Raises ``UnknownDownload`` if there is no record. The time that this call takes grows with the queue.
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
            # It has moved on since its record was read: look again.
        return explanation_of(download_id, phase, None, monotonic(), time())

    # ---- the end -----------------------------------------------------------------------------------------------------

    def close(self, drain: bool = False, timeout: float | EllipsisType | None = ...) -> None:
        """Stop the engine: queued downloads fail, and running impls are asked to stop.

        - ``drain=True`` lets all queued downloads finish first.
        - ``timeout``: seconds to wait for running impls. After that their records fail with the error ``engine
          closed``, and late results are ignored. The default is 10 s, and no limit with ``drain=True``. None means no
          limit.
        - With a durable store queued downloads are kept for the next start instead. So are running ones if their
          source has ``resume_interrupted=True``.

        Records can still be read afterwards. ``close`` may be called twice, from several threads, and from an impl. A
        signal handler that interrupts another call of this engine may call it, too: it then returns at once, and a
        thread does the rest.
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
            # The finalizer refers to the supervisor's agenda, which refers to impls, which may refer to this engine.
            self._finalizer.detach()

    def __reduce__(self) -> Any:
        raise TypeError("a DownloadEngine lives in the process that made it: make one in each process")
