"""Downloads over HTTP and HTTPS: an impl ready to use. Needs ``pip install 'haulier[http]'``.

::

    from haulier.fetchers.http import HttpFetcher

    engine.register_source("example.org", impl=HttpFetcher("downloads"))
    engine.worker.dispatch("example.org", "https://example.org/a.iso", "A", "")
"""

from __future__ import annotations

try:
    import urllib3
except ImportError as exc:
    raise ImportError("haulier.fetchers.http needs urllib3: pip install 'haulier[http]'") from exc

import logging
import os
import re
import ssl
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from haulier.errors import PermanentError
from haulier.fetchers.body import declared_size, decoder_for
from haulier.fetchers.faults import FetchError, broke_off, dropped, no_answer, refused
from haulier.fetchers.filenames import disposition_filename, last_component, safe_filename
from haulier.fetchers.landing import Landing
from haulier.fetchers.sockets import Watch, close_pools, pool_manager, watching
from haulier.fetchers.urls import Target, redacted
from haulier.policies import check_seconds
from haulier.transfer import Transfer

__all__ = ["FetchError", "HttpFetcher", "redacted"]

log = logging.getLogger(__name__)

CHUNK_BYTES: Final = 64 * 1024
MAX_REDIRECTS: Final = 10

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FILE_FOLLOWS: Final = frozenset({200, 203})
_FOR_ANY_HOST: Final = frozenset({"accept", "accept-language", "user-agent", "accept-encoding"})
_OURS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "range", "te", "transfer-encoding"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class HttpFetcher:
    """Fetches the URL that ``target_id`` is into the folder ``dest``; any number of threads may share one.

    - ``timeout``: seconds that connecting may take, and that may pass without a byte from the server.
    - ``headers``: sent along, e.g. ``{"User-Agent": "…"}``. On a redirect to another host only User-Agent, Accept and
      Accept-Language are. A user and password in the URL become basic authentication, for its host only.
    - ``ca_certs``: a PEM file (or a folder of them) with certificates of authorities that are trusted beside the
      system's. Verification cannot be turned off.
    - ``overwrite``: replace a file of the same name. Otherwise the new one is called ``NAME (1).ext``.

    The file is named by the dispatch's ``original_filename``; where that is empty, by the server's
    ``Content-Disposition``; else by the last segment of the URL (after redirects); else ``download``. Whoever chose the
    name: what is unsafe in it is replaced.

    It grows as ``NAME.part``, and is called ``NAME`` once it has exactly the declared size and is on disk. Without a
    declared size it must end as its protocol says; an answer that ends with its connection (HTTP/1.0) cannot be
    checked. Each attempt starts anew, and no part stays behind: one that a killed process left is removed when the
    same name is wanted again.

    A cancel takes effect within a quarter of a second, except while connecting.

    Raises ``ValueError`` or ``TypeError``, naming the argument; ``OSError`` where ``ca_certs`` cannot be read.
    """

    def __init__(
        self,
        dest: str | os.PathLike[str] = "downloads",
        *,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
        ca_certs: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.dest = Path(os.path.abspath(dest))
        self.overwrite = overwrite
        self._timeout_s = check_seconds("timeout", timeout, above_zero=True)
        self._headers = _checked_headers(headers or {})
        self._pools = pool_manager(self._timeout_s, _tls_context(ca_certs))

    def __call__(self, download_id: str, target_id: object, display_name: str, transfer: Transfer) -> str:
        """Fetch it, and return the path of the file.

        Raises ``PermanentError`` (bad URL, 404, untrusted certificate, may not write), ``Throttled`` (429, or 503 with
        Retry-After), ``DownloadCancelled``, or ``FetchError`` for what another attempt may mend.
        """
        transfer.raise_if_cancelled()
        asked = Target.parse(target_id)
        with watching(transfer) as watch:
            reply, target = self._open(asked, watch)
            try:
                names = _names(transfer.filename, reply, target, asked)
                return self._save(reply, names, transfer)
            finally:
                reply.close()

    def close(self) -> None:
        """Close the connections that are kept for the next download, when none runs. It can be used again."""
        close_pools(self._pools)

    def __enter__(self) -> HttpFetcher:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<HttpFetcher into {str(self.dest)!r}>"

    def _open(self, target: Target, watch: Watch) -> tuple[urllib3.BaseHTTPResponse, Target]:
        """The answer that has the file, and where it came from."""
        headers = self._headers | _authorization(target)
        for _ in range(MAX_REDIRECTS + 1):
            watch.transfer.raise_if_cancelled()
            reply = self._ask(target, headers, watch)
            if reply.status in _FILE_FOLLOWS:
                return reply, target
            reply.close()
            location = reply.headers.get("Location")
            if reply.status not in _REDIRECTS or location is None:
                raise refused(reply.status, reply.headers)
            following = target.redirected(_utf8(location))
            log.debug("%s redirects to %s", redacted(target.url), redacted(following.url))
            if not target.trusts(following):
                headers = {name: value for name, value in headers.items() if name in _FOR_ANY_HOST}
            headers |= _authorization(following)
            target = following
        raise PermanentError(f"more than {MAX_REDIRECTS} redirects")

    def _ask(self, target: Target, headers: Mapping[str, str], watch: Watch) -> urllib3.BaseHTTPResponse:
        """One request. It is repeated only where the server had closed a kept connection before it could see it."""
        while True:
            watch.connected = False
            try:
                return self._pools.request(
                    "GET",
                    target.url,
                    headers=headers,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    decode_content=False,
                )
            except urllib3.exceptions.HTTPError as exc:
                if dropped(exc) and not watch.connected:
                    continue
                failure = no_answer(exc, target.host, self._timeout_s)
            # Not inside the except: urllib3's exceptions show the whole URL, and must not be this one's context.
            raise failure

    def _save(self, reply: urllib3.BaseHTTPResponse, names: list[str], transfer: Transfer) -> str:
        name = next(filter(None, map(safe_filename, names)))
        size = declared_size(reply.headers)
        decoder = decoder_for(reply.headers, name)
        with Landing(self.dest, name, overwrite=self.overwrite) as landing:
            done = 0
            transfer.progress(0, size)
            while chunk := self._read(reply, done, size):
                for piece in decoder.feed(chunk):
                    transfer.raise_if_cancelled()
                    landing.write(piece)
                done += len(chunk)
                transfer.progress(done, size)
            if size is not None and done != size:
                raise broke_off(done, size, None, self._timeout_s)
            decoder.finish()
            transfer.progress(done, done)
            transfer.raise_if_cancelled()
            return str(landing.land())

    def _read(self, reply: urllib3.BaseHTTPResponse, done: int, size: int | None) -> bytes:
        """What has come, at most a chunk; b'' at the end."""
        if done == size:
            return b""
        try:
            return reply.read1(CHUNK_BYTES, decode_content=False)
        except urllib3.exceptions.HTTPError as exc:
            failure = broke_off(done, size, exc, self._timeout_s)
        raise failure


def _names(wanted: str, reply: urllib3.BaseHTTPResponse, target: Target, asked: Target) -> list[str]:
    """What the file could be called, best first; none is safe yet, each may be empty, the last is not."""
    return [
        wanted,
        disposition_filename(reply.headers.get("Content-Disposition", "")),
        last_component(target.last_segment),
        last_component(asked.last_segment),
        "download",
    ]


def _authorization(target: Target) -> dict[str, str]:
    return {} if target.authorization is None else {"authorization": target.authorization}


def _utf8(header: str) -> str:
    """Headers arrive decoded as Latin-1; a Location with raw UTF-8 in it means UTF-8."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def _checked_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """With lower-case names, and with what is sent in any case. Errors do not show a value: it may be a secret."""
    checked = {"user-agent": _user_agent(), "accept": "*/*"}
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers must map str to str, not {name!r} to {type(value).__name__}")
        if name.lower() in _OURS:
            raise ValueError(f"headers must not have {name!r}: the fetcher sets it itself")
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"headers has a name or a value that HTTP does not allow, at {name!r}")
        checked[name.lower()] = value
    return checked | {"accept-encoding": "identity"}


def _user_agent() -> str:
    try:
        return f"haulier/{version('haulier')}"
    except PackageNotFoundError:
        return "haulier"


def _tls_context(ca_certs: str | os.PathLike[str] | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_certs is None:
        return context
    path = Path(ca_certs)
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except ssl.SSLError as exc:
        raise ValueError(f"ca_certs: {str(path)!r} is no file of PEM certificates") from exc
    return context
