"""Turn failures of the network and the disk into the exceptions of the fetchers, with messages for people.

``FetchError``: another attempt may help. ``PermanentError``: no attempt will. A message shows of a URL only its host.
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from urllib3 import exceptions as u3

from haulier.errors import HaulierError, PermanentError

__all__ = ["FetchError", "NotYet", "cut_short", "explained", "no_answer", "not_written"]

_SHORTEST_REST_S: Final = 1.0
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_MAY_RECOVER: Final = frozenset(
    {*_DISK_FULL, errno.EIO, errno.ENOENT, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EAGAIN}
)


class FetchError(HaulierError):
    """The attempt failed, but another one may succeed: a lost connection, a server's error, a full disk.

    Raised by the fetchers. The source's ``RetryPolicy`` decides whether there is another attempt.
    """

    tries: int | None = None
    """The number of attempts in a row without progress; None if they were not counted."""


class NotYet(FetchError):
    """What the attempt needs is in use by another download. ``retry_by_progress`` does not count such an attempt."""

    def __init__(self, retry_in_s: float, message: str) -> None:
        super().__init__(message)
        self.retry_in_s = max(_SHORTEST_REST_S, retry_in_s)
        """Seconds until the next attempt: at least 1, so that others of the source get their turn."""


def _dropped(exc: u3.HTTPError) -> bool:
    """Whether the connection ended before the first byte of the answer. The server may close an idle connection."""
    cause = exc.args[-1] if isinstance(exc, u3.ProtocolError) and exc.args else None
    return isinstance(cause, ConnectionError)  # http.client's RemoteDisconnected is one too


def no_answer(exc: u3.HTTPError, host: str, timeout_s: float) -> Exception:
    """The exception for a request that got no answer from ``host``."""
    match exc:
        case u3.LocationValueError():
            return PermanentError(f"malformed URL: {host!r} is not a host")
        case u3.ProxyError():
            return _proxy_fault(exc, host)
        case u3.NameResolutionError():
            return FetchError(f"cannot find {host}: its name does not resolve")
        case u3.NewConnectionError():  # before its base class, the next
            return FetchError(f"cannot connect to {host}: {_reason(exc.__cause__)}")
        case u3.ConnectTimeoutError():
            return FetchError(f"cannot connect to {host}: no answer within {timeout_s:g} s")
        case u3.ReadTimeoutError():
            return FetchError(f"no answer from {host} within {timeout_s:g} s")
        case u3.SSLError():
            return _tls_fault(exc.args[0] if exc.args else None, host)
    if _dropped(exc):
        return FetchError(f"{host} closed the connection without an answer")
    return FetchError(f"{host} gave an answer that is not HTTP")


def cut_short(transferred: int, size: int | None, exc: u3.HTTPError | None, timeout_s: float) -> FetchError:
    """The exception for a body that ended too early. ``exc`` says how; None for a closed connection."""
    of = "" if size is None else f" of {size:,}"
    if isinstance(exc, u3.ReadTimeoutError):
        return FetchError(f"no data for {timeout_s:g} s after {transferred:,}{of} bytes")
    return FetchError(f"connection closed after {transferred:,}{of} bytes")


def not_written(exc: OSError, name: str, dest: str) -> Exception:
    """The exception for a file that could not be written."""
    why = "no space left" if exc.errno in _DISK_FULL else _reason(exc)
    text = f"cannot write {name!r} in {dest!r}: {why}"
    return FetchError(text) if exc.errno in _DISK_MAY_RECOVER else PermanentError(text)


@contextmanager
def explained(name: str, dest: str) -> Iterator[None]:
    """Replace an ``OSError`` that is raised inside by the exception that ``not_written`` returns."""
    failure: OSError | None = None
    try:
        yield
    except OSError as exc:
        failure = exc
    if failure is not None:
        raise not_written(failure, name, dest)


def _proxy_fault(exc: u3.ProxyError, host: str) -> Exception:
    status = re.search(r"Tunnel connection failed: (\d{3})", str(exc.original_error))
    if status is None:
        return FetchError(f"cannot reach {host}: the proxy cannot be reached or closed the connection")
    text = f"cannot reach {host}: the proxy answered {status[1]}"
    return PermanentError(text) if status[1] in ("401", "403", "407") else FetchError(text)


def _tls_fault(cause: object, host: str) -> Exception:
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = cause.verify_message.rstrip(".")
        return PermanentError(f"the TLS certificate of {host} cannot be trusted: {why}")
    if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return FetchError(f"{host} closed the connection during the TLS handshake")
    reason = getattr(cause, "reason", None) or "handshake failed"
    return PermanentError(f"no TLS with {host}: {str(reason).replace('_', ' ').lower()}")


def _reason(exc: BaseException | None) -> str:
    text = getattr(exc, "strerror", None) or "it failed"
    return str(text).lower()
