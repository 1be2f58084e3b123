"""``BackgroundDownloadWorker`` for asyncio."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from haulier._engine.ticket import Impl
from haulier._engine.worker import BackgroundDownloadWorker as SyncWorker
from haulier._engine.worker import Wanted

__all__ = ["BackgroundDownloadWorker", "check_blocking"]


class BackgroundDownloadWorker:
    """Hands downloads to their sources. Every engine has one: ``engine.worker``."""

    def __init__(
        self, worker: SyncWorker, write: Callable[..., Awaitable[Any]], take_back: Callable[[Iterable[str]], None]
    ) -> None:
        self._worker = worker
        self._write = write
        self._take_back = take_back

    async def dispatch(
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
        """Queue a download at a source, and return its id, a UUID4 string. Waits only for a durable store.

        Takes the arguments of ``haulier.BackgroundDownloadWorker.dispatch``, and raises what that raises. If the
        awaiting task is cancelled, the download is taken back: it is cancelled, and has no record.
        """
        check_blocking("impl_callable", impl_callable)
        download_id: str = await self._write(
            self._worker.dispatch, lambda made: self._take_back((made,)), source_name, target_id, display_name,
            original_filename, impl_callable, extra_record_fields, username_override, thread_name,
        )  # fmt: skip
        return download_id

    async def dispatch_many(
        self, source_name: str, wanted: Iterable[Wanted], impl_callable: Impl | None = None
    ) -> list[str]:
        """Queue many downloads at a source, in this order, and return their ids. Either all are queued, or none.

        If the awaiting task is cancelled, all are taken back, as with ``dispatch``.
        """
        check_blocking("impl_callable", impl_callable)
        many = self._worker.dispatch_many
        ids: list[str] = await self._write(many, self._take_back, source_name, wanted, impl_callable)
        return ids

    async def set_concurrency(self, source_name: str, max_concurrent: int) -> None:
        """Let at most ``max_concurrent`` impls of a source run at once, from now on. Running impls finish."""
        self._worker.set_concurrency(source_name, max_concurrent)

    async def set_delay(self, source_name: str, seconds: float) -> None:
        """Leave at least ``seconds`` between the end of one download of a source and the start of the next."""
        self._worker.set_delay(source_name, seconds)


def check_blocking(name: str, impl: object) -> None:
    """Raise ``TypeError`` if ``impl`` is a coroutine function: its coroutine would be taken for a path."""
    if inspect.iscoroutinefunction(impl) or inspect.iscoroutinefunction(getattr(impl, "__call__", None)):  # noqa: B004
        raise TypeError(f"{name} must be a blocking function, not a coroutine function: {impl!r}")
