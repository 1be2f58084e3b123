"""What went wrong with a fetch, in words for people, and whether another attempt may help.

``FetchError``: perhaps. ``PermanentError``: no. ``Throttled``: yes, but later, and the whole source waits.
No message names anything of a URL but its host.
"""

from __future__ import annotations

import errno
import math
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from urllib3 import exceptions as u3

from haulier.errors import HaulierError, PermanentError, Throttled

__all__ = ["FetchError", "broke_off", "explained", "no_answer", "not_written", "refused", "retry_after_s", "utc_of"]

LONGEST_PAUSE_S: Final = 3600.0
"""What a server asks for beyond an hour is cut to an hour: its typing error must not stop a source for a year."""

SHORTEST_PAUSE_S: Final = 1.0
"""'Retry-After: 0' would make a throttled download, which costs no attempt, a busy loop."""

DEFAULT_PAUSE_S: Final = 60.0
"""For a 429 that does not say how long."""

_WORTH_ANOTHER_TRY: Final = frozenset({202, 408, 425})
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_MAY_RECOVER: Final = frozenset(
    {*_DISK_FULL, errno.EIO, errno.ENOENT, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EAGAIN}
)


class FetchError(HaulierError):
    """The attempt failed, another one may not: a broken connection, a server's error, a full disk.

    Raised by the fetchers; the source's ``RetryPolicy`` decides what follows.
    """


def refused(status: int, headers: Mapping[str, str]) -> Exception:
    """The exception for an answer that is not the file."""
    try:
        text = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        text = f"HTTP status {status}"
    pause = retry_after_s(headers)
    if status == 429 and pause is None:
        pause = DEFAULT_PAUSE_S
    if status in (429, 503) and pause is not None:
        return Throttled(pause, f"{text}: again in {pause:g} s")
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        return FetchError(text)
    return PermanentError(text)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for, within sensible bounds; None where there is none that can be read.

    A date is taken relative to the server's own ``Date``, so that a wrong clock on either side does no harm.
    """
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        then = utc_of(value)
        if then is None:
            return None
        now = utc_of(headers.get("Date", ""))
        seconds = then - (time.time() if now is None else now)
    if math.isnan(seconds):
        return None
    return max(SHORTEST_PAUSE_S, min(LONGEST_PAUSE_S, seconds))


def utc_of(date: str) -> float | None:
    """An HTTP date in seconds since the epoch."""
    try:
        moment = parsedate_to_datetime(date)
    except (TypeError, ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _dropped(exc: u3.HTTPError) -> bool:
    """Whether the connection ended before a byte of the answer came: an idle one may have been closed long ago."""
    cause = exc.args[-1] if isinstance(exc, u3.ProtocolError) and exc.args else None
    return isinstance(cause, ConnectionError)  # http.client's RemoteDisconnected is one too


def no_answer(exc: u3.HTTPError, host: str, timeout_s: float) -> Exception:
    """The exception for a request that got no answer from ``host``."""
    match exc:
        case u3.LocationValueError():
            return PermanentError(f"malformed URL: {host!r} is no host")
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


def broke_off(transferred: int, size: int | None, exc: u3.HTTPError | None, timeout_s: float) -> FetchError:
    """The exception for a body that ended too early; ``exc``: how, None for a plain end."""
    of = "" if size is None else f" of {size:,}"
    why = f": nothing came for {timeout_s:g} s" if isinstance(exc, u3.ReadTimeoutError) else ""
    return FetchError(f"broke off after {transferred:,}{of} bytes{why}")


def not_written(exc: OSError, name: str, dest: str) -> Exception:
    """The exception for a file that could not be written."""
    why = "no space left" if exc.errno in _DISK_FULL else _reason(exc)
    text = f"cannot write {name!r} in {dest!r}: {why}"
    return FetchError(text) if exc.errno in _DISK_MAY_RECOVER else PermanentError(text)


@contextmanager
def explained(name: str, dest: str) -> Iterator[None]:
    """Within it, an ``OSError`` becomes what ``not_written`` makes of it."""
    failure: OSError | None = None
    try:
        yield
    except OSError as exc:
        failure = exc
    if failure is not None:
        raise not_written(failure, name, dest)


def _proxy_fault(exc: u3.ProxyError, host: str) -> Exception:
    told = re.search(r"Tunnel connection failed: (\d{3})", str(exc.original_error))
    if told is None:
        return FetchError(f"cannot reach {host}: the proxy cannot be reached, or broke off")
    text = f"cannot reach {host}: the proxy answered {told[1]}"
    return PermanentError(text) if told[1] in ("401", "403", "407") else FetchError(text)


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
