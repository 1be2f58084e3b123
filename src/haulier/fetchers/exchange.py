"""Send HTTP requests: choose connection and proxy, follow redirects, and decide which host gets which header."""

from __future__ import annotations

import os
import re
import ssl
from codecs import BOM_UTF8
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from threading import Lock
from typing import Any, Final, NamedTuple

import urllib3

from haulier._threads.log import Log
from haulier.errors import PermanentError
from haulier.fetchers.access import Cookies, Netrc, checked_proxy, proxy_for, proxy_secret
from haulier.fetchers.faults import no_answer
from haulier.fetchers.hosts import Route, Turn
from haulier.fetchers.sockets import Watch, close_pools, pool_manager
from haulier.fetchers.urls import Target, redacted

__all__ = ["Exchange", "Reply", "checked_headers"]

log = Log("haulier.fetchers.http")

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FOR_ANY_HOST: Final = frozenset({"accept", "accept-language", "user-agent", "accept-encoding", "range", "if-range"})
_OURS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "if-range", "range", "te", "transfer-encoding"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""How OpenSSL finds certificates in a folder: by a hash of their subject."""
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Reply(NamedTuple):
    """An answer with its body unread, the URL that it came from, and the turn at its host."""

    answer: urllib3.BaseHTTPResponse
    target: Target
    turn: Turn

    def close(self) -> None:
        """End the request: close the answer, and let the next request go to its host."""
        try:
            self.answer.close()
        finally:
            self.turn.leave()


class Exchange:
    """Sends requests and follows redirects. Threads may share one. ``HttpFetcher`` describes the arguments."""

    def __init__(
        self,
        *,
        timeout_s: float,
        headers: Mapping[str, str],
        ca_certs: str | os.PathLike[str] | None,
        max_redirects: int,
        allow_downgrade: bool,
        proxy: str | None,
        cookies: str | os.PathLike[str] | None,
        netrc: str | os.PathLike[str] | bool,
    ) -> None:
        self.timeout_s = timeout_s
        self._headers = {"user-agent": _user_agent(), "accept": "*/*"} | checked_headers(headers)
        self._context = _tls_context(ca_certs)
        self._max_redirects = max_redirects
        self._allow_downgrade = allow_downgrade
        self._proxy = None if proxy is None else checked_proxy(proxy)
        self._cookies = None if cookies is None else Cookies(cookies)
        self._netrc = None if netrc is False else Netrc(netrc)
        self._lock = Lock()
        self._managers: dict[str | None, urllib3.PoolManager] = {}

    def ask(
        self, target: Target, headers: Mapping[str, str], more: Mapping[str, str], watch: Watch, route: Route
    ) -> Reply:
        """The first answer that is not a redirect. The caller reads its body and closes the reply.

        Each request waits for its turn by ``route``. While it waits it holds no other turn.

        ``headers`` go to the target's host only; ``more`` (ranges, conditions) wherever redirects lead.
        """
        sent = self._with_secrets({**self._headers, **_own(headers)}, target)
        for _ in range(self._max_redirects + 1):
            watch.transfer.raise_if_cancelled()
            reply = self._ask_in_turn(target, {**sent, **more, "accept-encoding": "identity"}, route)
            location = reply.answer.headers.get("Location")
            if reply.answer.status not in _REDIRECTS or location is None:
                return reply
            reply.close()
            following = target.redirected(_utf8(location), allow_downgrade=self._allow_downgrade)
            log.debug("%s redirects to %s", redacted(target.url), redacted(following.url))
            if not target.trusts(following):
                sent = {name: value for name, value in sent.items() if name in _FOR_ANY_HOST}
            if self._cookies is not None:
                sent.pop("cookie", None)
            sent = self._with_secrets(sent, following)
            target = following
        raise PermanentError(f"more than {self._max_redirects} redirects")

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            managers = list(self._managers.values())
        for manager in managers:
            close_pools(manager)

    def _with_secrets(self, headers: Mapping[str, str], target: Target) -> dict[str, str]:
        """``headers`` with the authorization and the cookies for ``target``.

        The user in its URL comes first, then a header of the caller, then netrc.
        """
        sent = dict(headers)
        if target.authorization is not None:
            sent["authorization"] = target.authorization
        elif self._netrc is not None and "authorization" not in sent:
            sent |= self._netrc.headers(target)
        if self._cookies is not None:
            sent |= self._cookies.headers(target)
        return sent

    def _ask_in_turn(self, target: Target, headers: Mapping[str, str], route: Route) -> Reply:
        turn = route.turn(target)
        try:
            return Reply(self._ask_once(target, headers), target, turn)
        except BaseException:
            turn.leave()
            raise

    def _ask_once(self, target: Target, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self._manager(target).request(
                "GET",
                target.url,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as exc:
            failure = no_answer(exc, target.host, self.timeout_s)
        # Raised outside the except clause: urllib3's exceptions show the whole URL, so they must not be its context.
        raise failure

    def _manager(self, target: Target) -> urllib3.PoolManager:
        """The connections through the proxy for ``target``."""
        proxy = proxy_for(target, self._proxy)  # read each time, as the program may change its environment
        with self._lock:
            manager = self._managers.get(proxy)
            if manager is None:
                place, secret = (None, {}) if proxy is None else proxy_secret(proxy)
                manager = self._managers[proxy] = pool_manager(self.timeout_s, self._context, place, secret)
            return manager


def _own(headers: Mapping[Any, Any]) -> dict[str, str]:
    """The checked headers of one request. Raises ``PermanentError`` if they are invalid."""
    try:
        return checked_headers(headers)
    except (TypeError, ValueError) as error:
        failure = PermanentError(str(error))
    raise failure


def checked_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """The headers with lower-case names.

    Raises ``TypeError`` or ``ValueError``. The message shows no value, as it may be a secret.
    """
    checked = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers must map str to str, not {name!r} to {type(value).__name__}")
        if name.lower() in _OURS:
            raise ValueError(f"headers must not have {name!r}: the fetcher sets it itself")
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"headers has a name or a value that HTTP does not allow, at {name!r}")
        checked[name.lower()] = value
    return checked


def _utf8(header: str) -> str:
    """Decode a header again as UTF-8 if it is valid UTF-8. urllib3 decodes headers as Latin-1."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


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
    path.stat()  # its error names the file; the error of OpenSSL does not
    try:
        if path.is_dir():
            if not any(_HASHED_NAME.fullmatch(each.name) for each in path.iterdir()):
                raise ValueError(
                    f"ca_certs: the folder {str(path)!r} has no certificate under a hashed name, such as 5ed36f99.0; "
                    f"run: openssl rehash {quote(str(path))}"
                )
            context.load_verify_locations(capath=path)
        else:
            _load(context, path)
    except ssl.SSLError as exc:
        raise ValueError(f"ca_certs: {str(path)!r} is not a file of PEM certificates") from exc
    return context


def _load(context: ssl.SSLContext, path: Path) -> None:
    raw = path.read_bytes()
    if raw.startswith(BOM_UTF8):  # OpenSSL would take the first certificate for a comment
        context.load_verify_locations(cadata=raw.decode("ascii", "ignore"))
    else:
        context.load_verify_locations(cafile=path)
