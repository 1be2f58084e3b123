"""Run an impl in a test as a source would, without an engine."""

from __future__ import annotations

import inspect
import os
from contextvars import copy_context
from time import monotonic, time
from typing import Any
from uuid import uuid4

from haulier._engine.shells.calling import LateImpl, caller_of
from haulier._engine.ticket import Impl, make_ticket
from haulier.transfer import Transfer, set_current

__all__ = ["make_transfer", "run_impl"]


def make_transfer(
    target_id: Any,
    *,
    source: str = "test",
    display_name: str = "",
    filename: str = "",
    username: str = "",
    attempt: int = 1,
) -> Transfer:
    """Make the ``Transfer`` of one attempt, as if ``target_id`` had just been taken from the queue of ``source``.

    ``filename`` is the ``original_filename`` of ``dispatch``. ``attempt`` starts at 1. Set ``cancelled`` on the
    transfer to test how an impl stops, and ``deadline`` (``time.monotonic()`` seconds) to test a time-out.
    """
    ticket = make_ticket(str(uuid4()), source, target_id, display_name, filename, username, queued_at=time())
    return Transfer(ticket, attempt, {}, monotonic(), time())


def run_impl(impl: Impl, transfer: Transfer) -> str | None:
    """Call ``impl`` on this thread with the parameters that it takes, and return the path that a record would show.

    None means that the impl returned no path, which the engine counts as a failed attempt. An exception of the impl
    passes through unchanged. Raises ``TypeError`` if the impl returns a coroutine. ``current_transfer()`` returns
    ``transfer`` while the impl runs; ``transfer.cell`` holds the progress that the impl reported.
    """
    try:
        path = copy_context().run(_call, impl, transfer)
    finally:
        transfer.has_ended = True
    if inspect.iscoroutine(path):
        path.close()
        raise TypeError("the impl returned a coroutine: it must block until the file is there")
    if not path:
        return None
    return os.fspath(path) if isinstance(path, os.PathLike) else str(path)


def _call(impl: Impl, transfer: Transfer) -> Any:
    set_current(transfer)
    found = impl.find() if isinstance(impl, LateImpl) else impl
    return caller_of(found)(found, transfer)
