"""Dispatch downloads, and change the concurrency or the delay of a source."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from math import inf
from time import monotonic, time
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from haulier._engine.core.values import own
from haulier._engine.shells.calling import check_callable_with_download
from haulier._engine.shells.ids import new_id
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.tickets import name_of, text_of_ticket
from haulier._engine.ticket import ID, Impl, Ticket
from haulier.policies import SourcePolicy, check_int, check_seconds
from haulier.records import FIRST_KEYS

if TYPE_CHECKING:
    from haulier._engine.engine import DownloadEngine

__all__ = ["BackgroundDownloadWorker", "Wanted"]


COMMON: Final = 8
"""How many impls of a source its mailbox keeps, so that tickets need not carry them. Most programs have one or two.
The bound is for programs that dispatch a new closure each time."""

BETWEEN_S: Final = 0.001
"""The shortest time, in seconds, between two dispatches that wait for an idle source to take their download."""


class Wanted(NamedTuple):
    """One download for ``dispatch_many``, with the fields of ``dispatch``."""

    target_id: Any
    display_name: str
    original_filename: str
    extra_record_fields: Mapping[str, Any] | None = None
    username_override: str | None = None
    thread_name: str | None = None


class BackgroundDownloadWorker:
    """Hands downloads to their sources. Every engine has one: ``engine.worker``."""

    def __init__(self, engine: DownloadEngine, *, hands_over: bool = True) -> None:
        """``hands_over``: whether ``dispatch`` waits, 10 ms at most, until an idle source has taken the download."""
        self._engine = engine
        self._hands_over = hands_over
        self._handed_over_at = -inf

    def dispatch(
        self,
        source_name: str,
        target_id: Any,
        display_name: str,
        original_filename: str,
        impl_callable: Impl | None = None,
        extra_record_fields: Mapping[str, Any] | None = None,
        username_override: str | None = None,
        thread_name: str | None = None,
    ) -> str:
        """Queue a download at a source, and return its id, a UUID4 string. Its impl runs in the background.

        - ``target_id`` reaches the impl untouched, as the same object.
        - ``impl_callable(download_id, target_id, display_name)`` blocks until the file is there, and returns its path.
          None or an empty string means failure. Leave it out if ``register_source`` gave the source an impl.
        - ``extra_record_fields``: further keys of the record. They replace its first values, except ``id`` and
          ``state``, which raise ``ValueError``.
        - ``username_override``: the ``username`` of the record, instead of the source's name.
        - ``thread_name``: the name of the thread while the impl runs.

        This call never waits for a download. If the source is idle, it returns when the impl is about to be called,
        after 10 ms at most.

        Raises ``TypeError`` or ``ValueError`` for an invalid argument, ``EngineClosed`` after ``close()``,
        ``SourceDown`` or ``QueueFull`` if the source takes no download, and ``StoreUnavailable`` if the download cannot
        be stored. If it raises, nothing was stored.
        """
        mailbox = self._mailbox(source_name)
        ticket = self._ticket(
            mailbox, target_id, display_name, original_filename, impl_callable,
            extra_record_fields, username_override, thread_name,
        )  # fmt: skip
        source = mailbox.source
        if mailbox.is_durable:
            mailbox.intake.put_kept((ticket,), (text_of_ticket(ticket, _name_of(mailbox, impl_callable)),))
        elif source.attempts.in_flight or source.queue.pending or not self._may_hand_over or not mailbox.intake.is_idle:
            mailbox.intake.put(ticket)
        else:
            mailbox.intake.put_and_wait(ticket)
            self._handed_over_at = monotonic()
        return ticket[ID]

    def dispatch_many(self, source_name: str, wanted: Iterable[Wanted], impl_callable: Impl | None = None) -> list[str]:
        """Queue many downloads at a source, in this order, and return their ids. Either all are queued, or none.

        ``wanted`` holds ``haulier.Wanted`` values. A durable store writes all of them in one transaction. Raises what
        ``dispatch`` raises.
        """
        mailbox = self._mailbox(source_name)
        tickets = []
        for each in wanted:
            if not isinstance(each, Wanted):
                raise TypeError(f"wanted must hold haulier.Wanted values, not {each!r}")
            tickets.append(
                self._ticket(
                    mailbox, each.target_id, each.display_name, each.original_filename, impl_callable,
                    each.extra_record_fields, each.username_override, each.thread_name,
                )
            )  # fmt: skip
        if not tickets:
            return []
        if mailbox.is_durable:
            name = _name_of(mailbox, impl_callable)
            mailbox.intake.put_kept(tickets, [text_of_ticket(ticket, name) for ticket in tickets])
        else:
            mailbox.intake.put_many(tickets)
        return [ticket[ID] for ticket in tickets]

    @property
    def _may_hand_over(self) -> bool:
        """Whether a dispatch may wait for an idle source to take its download.

        The wait costs two thread switches. A burst over many sources would pay them each time, for no benefit.
        """
        return self._hands_over and monotonic() - self._handed_over_at > BETWEEN_S

    def _mailbox(self, source_name: str) -> Mailbox:
        system = self._engine._system
        mailbox = system.mailboxes.get(source_name) if type(source_name) is str else None
        if mailbox is None or not system.is_open:
            mailbox = system.mailbox(source_name)
            system.check_open()
        return mailbox

    def _ticket(
        self,
        mailbox: Mailbox,
        target_id: Any,
        display_name: str,
        original_filename: str,
        impl_callable: Impl | None,
        extras: Mapping[str, Any] | None,
        username: str | None,
        thread_name: str | None,
    ) -> Ticket:
        impl = mailbox.impl if impl_callable is None else impl_callable
        common = mailbox.common
        place = 0 if common and impl is common[0] else _place_of(mailbox, impl)
        if thread_name is not None and not isinstance(thread_name, str):
            raise TypeError(f"thread_name must be a str, not {thread_name!r}")
        download_id = new_id()
        if not mailbox.is_plain:
            policy = mailbox.source.policy
            username = username or policy.username
            extras = _filled(policy, target_id, display_name, extras)
            if policy.thread_name is not None and not thread_name:
                thread_name = policy.thread_name.format(target_id=target_id, download_id=download_id)
        name = mailbox.source.name
        return (
            download_id,
            name,
            target_id,
            display_name,
            original_filename,
            username or name,
            place,
            thread_name,
            None if extras is None else _flat(extras),
            time(),
        )

    def set_concurrency(self, source_name: str, max_concurrent: int) -> None:
        """Let at most ``max_concurrent`` impls of a source run at once, from now on. Running impls finish.

        Raises ``TypeError`` if ``max_concurrent`` is not an int, ``ValueError`` if it is below 1.
        """
        check_int("max_concurrent", max_concurrent, 1)
        mailbox = self._engine._system.mailbox(source_name)
        mailbox.change(lambda source: source.slots.set_limit(max_concurrent))

    def set_delay(self, source_name: str, seconds: float) -> None:
        """Leave at least ``seconds`` between the end of one download of a source and the start of the next.

        Raises ``TypeError`` if ``seconds`` is not a number, ``ValueError`` if it is negative, NaN or infinite.
        """
        seconds = check_seconds("seconds", seconds)
        mailbox = self._engine._system.mailbox(source_name)
        mailbox.change(lambda source: source.gate.set_delay(seconds))


def _is_coroutine_function(impl: object) -> bool:
    try:
        return inspect.iscoroutinefunction(impl)
    except TypeError:  # a Mock with the attributes of a function
        return False


def check_impl(name: str, impl: object) -> None:
    """Raise ``TypeError`` if ``impl`` cannot be called with a download. ``name`` is the parameter's."""
    if not callable(impl):
        raise TypeError(f"{name} must be callable, not {impl!r}; or give the source its own impl: register_source")
    if _is_coroutine_function(impl):
        raise TypeError(f"{name} must be a blocking function, not a coroutine function: {impl!r}")
    check_callable_with_download(name, impl)


def _name_of(mailbox: Mailbox, impl: Impl | None) -> str | None:
    """The name under which a store keeps an impl; None for the source's own impl.

    Raises ``TypeError`` if the impl could not be found by its name after a restart.
    """
    if impl is None or _same(impl, mailbox.impl):
        return None
    name = name_of(impl)
    if name is None:
        raise TypeError(
            f"impl_callable: {impl!r} cannot be found again after a restart. Register an impl "
            f"(register_source({mailbox.source.name!r}, impl=…)), or pass a function at the top level of a module, "
            f"or keep the source's downloads in memory only: SourcePolicy(durable=False)"
        )
    return name


def _same(impl: Impl | None, other: Impl | None) -> bool:
    # Two bound methods of one object are equal, not identical. On any other object == may run foreign code.
    return impl is other or (type(impl) is MethodType and impl == other)


def _place_of(mailbox: Mailbox, impl: Impl | None) -> Impl | int:
    """What a ticket holds for its impl: an index into ``mailbox.common`` if there is room, else the impl itself."""
    common = mailbox.common
    for place, other in enumerate(common):
        if _same(impl, other):
            return place
    check_impl("impl_callable", impl)
    assert impl is not None
    with mailbox.lock:
        if len(common) < COMMON:
            common.append(impl)
            return len(common) - 1
    return impl


def _flat(extras: Mapping[str, Any]) -> tuple[Any, ...] | None:
    if not isinstance(extras, Mapping):
        raise TypeError(f"extra_record_fields must be a mapping, not {extras!r}")
    for key in extras:
        if not isinstance(key, str):
            raise TypeError(f"extra_record_fields: a key must be a str, not {key!r}")
    extras = own(extras)
    if "id" in extras or "state" in extras:
        raise ValueError("extra_record_fields must not set 'id' or 'state': the engine sets them")
    return (*extras, *extras.values()) if extras else None


def _filled(
    policy: SourcePolicy, target_id: Any, display_name: str, extras: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """The fields that ``policy.record_fields`` gives each record of a source, with the caller's on top."""
    have = {"target_id": target_id, "display_name": display_name, None: None}
    fields = {key: have[filler] for key, filler in policy.record_fields.items() if key not in FIRST_KEYS}
    if extras is None:
        return fields
    return {**fields, **extras} if isinstance(extras, Mapping) else extras
