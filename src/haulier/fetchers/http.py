"""Downloads over HTTP and HTTPS: an impl ready to use. Needs ``pip install 'haulier[http]'``.

::

    from haulier.fetchers.http import HttpFetcher

    engine.register_source("example.org", impl=HttpFetcher("downloads"))
    engine.worker.dispatch("example.org", "https://example.org/a.iso", "A", "")

Or alone, in the calling thread: ``fetch("https://example.org/a.iso", "downloads")``.
"""

from __future__ import annotations

try:
    import urllib3  # noqa: F401  to say what is missing, where it is
except ImportError as exc:
    raise ImportError("haulier.fetchers.http needs urllib3: pip install 'haulier[http]'") from exc

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from haulier._engine.ticket import make_ticket
from haulier.errors import Throttled
from haulier.fetchers.delivery import Delivery
from haulier.fetchers.destination import Overwrite, checked_overwrite
from haulier.fetchers.exchange import Exchange
from haulier.fetchers.faults import FetchError
from haulier.fetchers.hosts import HostBusy, HostLimits
from haulier.fetchers.pace import Pace
from haulier.fetchers.parts import FileBusy
from haulier.fetchers.pauses import forget_pauses, pause_or_no
from haulier.fetchers.request import Request
from haulier.fetchers.sockets import watching
from haulier.fetchers.speed import Slowness, TooSlow, checked_min_speed
from haulier.fetchers.sums import Expected, Sums
from haulier.fetchers.tries import retry_by_progress
from haulier.fetchers.urls import redacted
from haulier.policies import check_int, check_seconds
from haulier.transfer import Transfer

__all__ = [
    "FetchError",
    "FileBusy",
    "HostBusy",
    "HostLimits",
    "HttpFetcher",
    "Request",
    "Sums",
    "TooSlow",
    "fetch",
    "redacted",
    "retry_by_progress",
]


class HttpFetcher:
    """Downloads the file at a URL, or of a ``Request``, into the folder ``dest``. Threads may share one fetcher.

    - ``timeout``: seconds that connecting may take, and that may pass without a byte from the server.
    - ``headers``: sent with every request, e.g. ``{"User-Agent": "…"}``. After a redirect to another host only
      User-Agent, Accept and Accept-Language are sent. A user and password in the URL become basic authentication,
      for the host of that URL only.
    - ``ca_certs``: a PEM file, or a folder of them, with certificate authorities to trust beside the system's.
      Verification cannot be turned off.
    - ``overwrite``: what to do with a file that exists. ``'never'`` (or False) keeps it. If it is this very download
      (its mark says so, or its size and modification time), it counts as fetched; else the new file is named
      ``NAME (1).ext``. ``'changed'`` downloads a file of this download again if the server has another version.
      ``'always'`` (or True) replaces any file.
    - ``max_redirects``: how many redirects to follow. ``allow_downgrade``: also follow them from https to http.
    - ``max_size``: refuse a file of more bytes.
    - ``limit_rate``: bytes per second, for all downloads of this fetcher together.
    - ``min_speed``: ``(bytes per second, seconds)``. An attempt that receives less, on average over so many seconds,
      fails with ``TooSlow``. Pauses for ``limit_rate`` do not count. ``max_time``: seconds that an attempt may take.
    - ``proxy``: the URL of an HTTP proxy. The default comes from the environment (``https_proxy``, ``no_proxy`` …).
    - ``host_limits``: the limits of hosts that redirects lead to, shared by all fetchers that get this object. Without
      it, a redirected request is under the limits of the download's source only.
    - ``cookies``: a cookie file in Netscape's format. ``netrc``: True for ``~/.netrc``, or the path of such a file.
    - ``checksums``: a list of checksums, in which each file is looked up by the path of its URL and by its names. See
      ``Sums``. The checksum of a ``Request`` goes before it.

    The name of the file is ``original_filename`` of the dispatch, or the name in the request. If both are empty, it
    comes from the server's ``Content-Disposition``, then from the last segment of the final URL, then it is
    ``download``. Unsafe characters are replaced. The modification time is the server's ``Last-Modified``.

    The file grows as ``NAME.part``. It gets its name once it has exactly the declared size and its checksum, and is on
    disk. Without a declared size the body must end as HTTP says; a body that ends with its connection (HTTP/1.0) cannot
    be checked. The next attempt, or the next process, resumes an interrupted download if the server gave a strong
    validator (RFC 9110, section 8.8). Otherwise the partial file is removed.

    A cancel takes effect within a quarter of a second, except while connecting.

    Raises ``ValueError`` or ``TypeError``, naming the argument, and ``OSError`` if a file of certificates, cookies or
    passwords cannot be read.
    """

    def __init__(
        self,
        dest: str | os.PathLike[str] = "downloads",
        *,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
        ca_certs: str | os.PathLike[str] | None = None,
        overwrite: Overwrite | bool = "never",
        max_redirects: int = 10,
        allow_downgrade: bool = False,
        max_size: int | None = None,
        limit_rate: float | None = None,
        proxy: str | None = None,
        cookies: str | os.PathLike[str] | None = None,
        netrc: str | os.PathLike[str] | bool = False,
        checksums: Sums | None = None,
        min_speed: tuple[float, float] | None = None,
        max_time: float | None = None,
        host_limits: HostLimits | None = None,
    ) -> None:
        self.dest = Path(os.path.abspath(dest))
        self.overwrite = checked_overwrite(overwrite)
        self._sums = checksums
        self._host_limits = host_limits
        self._max_size = None if max_size is None else check_int("max_size", max_size, 1)
        self._pace = None if limit_rate is None else Pace(check_seconds("limit_rate", limit_rate, above_zero=True))
        self._min_speed = checked_min_speed(min_speed, limit_rate)
        self._max_time = None if max_time is None else check_seconds("max_time", max_time, above_zero=True)
        self._exchange = Exchange(
            timeout_s=check_seconds("timeout", timeout, above_zero=True),
            headers=headers or {},
            ca_certs=ca_certs,
            max_redirects=check_int("max_redirects", max_redirects, 0),
            allow_downgrade=allow_downgrade,
            proxy=proxy,
            cookies=cookies,
            netrc=netrc,
        )

    def __call__(self, download_id: str, target_id: object, display_name: str, transfer: Transfer) -> str:
        """Download the file, and return its path.

        - Raises ``PermanentError`` for a bad URL, a 404, an untrusted certificate, a wrong checksum, or a folder
          without permission to write.
        - Raises ``Throttled`` for a 429. With ``Retry-After`` also for 202, 403, 408, 413, 420, 425 and 500 or above.
        - Raises ``FetchError`` if another attempt may succeed. With ``host_limits`` also ``HostBusy``, a kind of it.
        - Raises ``DownloadCancelled`` after a cancel.
        """
        transfer.raise_if_cancelled()
        request = Request.of(target_id)
        expected = Expected(request, self._sums, transfer.cell)
        with watching(transfer, Slowness(self._min_speed, self._max_time)) as watch:
            delivery = Delivery(
                self._exchange, self.dest, self.overwrite, self._max_size, self._pace, watch, self._host_limits
            )
            try:
                path = delivery.fetch(request, expected, transfer.filename)
            except (Throttled, HostBusy) as refusal:
                failure = pause_or_no(transfer, refusal)
            except BaseException:
                forget_pauses(transfer)
                raise
            else:
                return str(path)
        raise failure

    def close(self) -> None:
        """Close idle connections. The fetcher can be used again."""
        self._exchange.close()

    def __enter__(self) -> HttpFetcher:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<HttpFetcher into {str(self.dest)!r}>"


def fetch(url: str | Request, dest: str | os.PathLike[str] = ".", **options: Any) -> str:
    """Fetch one file in the calling thread, without an engine, and return its path.

    ``options``: those of ``HttpFetcher``. One attempt; raises what ``HttpFetcher`` raises.
    """
    download_id = str(uuid4())
    with HttpFetcher(dest, **options) as fetcher:
        ticket = make_ticket(download_id, "", url)
        return fetcher(download_id, url, "", Transfer(ticket, 1, {}, 0.0))
