"""Connections that notice a cancel while they wait, and logs of urllib3 without secrets."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any, Final, TypeVar

import urllib3
from urllib3.connection import HTTPConnection

from haulier.fetchers.speed import Slowness
from haulier.fetchers.urls import redacted
from haulier.transfer import Transfer

__all__ = ["SLICE_S", "Watch", "close_pools", "pool_manager", "watching"]

SLICE_S: Final = 0.25
"""Seconds between two looks at the transfer while nothing arrives: how long a stalled server can delay a cancel."""

_T = TypeVar("_T")


class Watch:
    """What the connections of one fetch, all on its thread, share with it."""

    __slots__ = ("slowness", "transfer")

    def __init__(self, transfer: Transfer, slowness: Slowness) -> None:
        self.transfer = transfer
        self.slowness = slowness

    def look(self) -> None:
        """Raise ``DownloadCancelled`` after a cancel, and ``TooSlow`` if the server is too slow."""
        self.transfer.raise_if_cancelled()
        self.slowness.check()


_current: ContextVar[Watch | None] = ContextVar("haulier_http_watch", default=None)


@contextmanager
def watching(transfer: Transfer, slowness: Slowness) -> Iterator[Watch]:
    """Within it, this thread's waits end soon after ``transfer`` is cancelled, or ``slowness`` has had enough."""
    watch = Watch(transfer, slowness)
    token = _current.set(watch)
    try:
        yield watch
    finally:
        _current.reset(token)


class _Socket(socket.socket):
    """A socket that waits in slices of ``SLICE_S`` and looks at the transfer between them.

    It keeps its time-out itself: the system knows only the slice.
    """

    _timeout_s: float | None = None

    def settimeout(self, value: float | None) -> None:
        self._timeout_s = value
        super().settimeout(SLICE_S if value is None else min(value, SLICE_S))

    def gettimeout(self) -> float | None:
        return self._timeout_s

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        receive = super().recv_into
        return self._in_slices(lambda: receive(buffer, nbytes or 0, flags))

    def _in_slices(self, step: Callable[[], _T]) -> _T:
        until = None if self._timeout_s is None else monotonic() + self._timeout_s
        watch = _current.get()
        while True:
            if watch is not None:
                watch.look()  # each time: a server may dribble for ever without a silence
            try:
                return step()
            except TimeoutError:
                if until is not None and monotonic() >= until:
                    raise


class _TLSSocket(_Socket, ssl.SSLSocket):
    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        receive = super(_Socket, self).recv_into
        return self._in_slices(lambda: receive(buffer, nbytes, flags))

    def do_handshake(self, block: bool = False) -> None:
        shake = super().do_handshake
        try:
            self._in_slices(lambda: shake(block))
        except BaseException:
            self.close()  # the ssl module closes it only after an OSError, which a cancel is not
            raise


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        plain = self.sock
        timeout = plain.gettimeout()
        self.sock = _Socket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self.sock.settimeout(timeout)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


def pool_manager(
    timeout_s: float, context: ssl.SSLContext, proxy: str | None = None, proxy_headers: Mapping[str, str] | None = None
) -> urllib3.PoolManager:
    """Connections that any thread may use, kept alive between downloads; ``context`` is changed to make ours."""
    context.sslsocket_class = _TLSSocket
    timeout = urllib3.Timeout(connect=timeout_s, read=timeout_s)
    pools = (
        urllib3.PoolManager(num_pools=32, maxsize=64, ssl_context=context, timeout=timeout)
        if proxy is None
        else urllib3.ProxyManager(
            proxy,
            num_pools=32,
            maxsize=64,
            proxy_headers=proxy_headers,
            proxy_ssl_context=context,
            ssl_context=context,
            timeout=timeout,
        )
    )
    pools.pool_classes_by_scheme = {"http": _Pool, "https": urllib3.HTTPSConnectionPool}
    return pools


def close_pools(manager: urllib3.PoolManager) -> None:
    """Close the kept connections now: urllib3's own ``clear`` leaves that to the garbage collector."""
    pools = [manager.pools.get(key) for key in manager.pools.keys()]  # noqa: SIM118  it cannot be iterated over
    manager.clear()
    for pool in pools:
        if pool is not None:
            pool.close()


def _without_secrets(record: logging.LogRecord) -> bool:
    """Redact the URLs in what urllib3 logs for our fetches. Records of other callers stay as they are."""
    if _current.get() is not None and isinstance(record.args, tuple):
        record.args = tuple(
            redacted(arg) if isinstance(arg, str) and ("/" in arg or "?" in arg) else arg for arg in record.args
        )
    return True


for _name in ("urllib3.connection", "urllib3.connectionpool", "urllib3.response"):
    logging.getLogger(_name).addFilter(_without_secrets)
