"""What gets a request through: proxies, cookies, passwords from netrc. None of it is ever shown."""

from __future__ import annotations

import netrc
import os
import warnings
from base64 import b64encode
from http.cookiejar import LoadError, MozillaCookieJar
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import Request as UrllibRequest
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from haulier.errors import PermanentError
from haulier.fetchers.texts import read_text
from haulier.fetchers.urls import Target

__all__ = ["Cookies", "Netrc", "basic", "checked_proxy", "proxy_for"]


def basic(user: str, password: str) -> str:
    """The value of an ``Authorization`` header (RFC 7617)."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def checked_proxy(proxy: str) -> str:
    """``proxy`` if it is the URL of an HTTP proxy. Raises ``ValueError`` that does not show it."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.geturl()
    except ValueError:
        pass
    raise ValueError("proxy must be the URL of an HTTP proxy, like http://proxy.example:3128")


def proxy_for(target: Target, explicit: str | None) -> str | None:
    """The proxy to reach ``target`` by: ``explicit``, else the environment's (``https_proxy``, ``no_proxy`` …)."""
    if explicit is not None:
        return explicit
    if getproxies is getproxies_environment and not _may_name_a_proxy(target.scheme):
        return None
    found = getproxies().get(target.scheme)
    if not found or proxy_bypass(f"{target.host.strip('[]')}:{target.port}") or proxy_bypass(target.host.strip("[]")):
        return None
    try:
        return checked_proxy(found)
    except ValueError as error:
        failure = PermanentError(f"{target.scheme}_proxy: {error}")
    raise failure


def _may_name_a_proxy(scheme: str) -> bool:
    """Whether the environment has a variable for ``scheme``. Cheaper than ``getproxies``, which reads all."""
    return f"{scheme}_proxy" in os.environ or f"{scheme}_proxy".upper() in os.environ


def proxy_secret(proxy: str) -> tuple[str, dict[str, str]]:
    """The proxy's URL without its password, and the headers that stand for that."""
    parts = urlsplit(proxy)
    place = parts.netloc.rpartition("@")[2]
    if parts.username is None:
        return f"{parts.scheme}://{place}", {}
    secret = basic(unquote(parts.username), unquote(parts.password or ""))
    return f"{parts.scheme}://{place}", {"proxy-authorization": secret}


class Cookies:
    """Cookies from a file in Netscape's format, as browsers' extensions and curl write it.

    Raises ``OSError`` if it cannot be read, ``ValueError`` if it is not such a file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._jar = MozillaCookieJar(os.fspath(path))
        text = _text_of(path, "cookies")
        try:
            with warnings.catch_warnings():  # at a bad line it warns with a traceback
                warnings.simplefilter("ignore")
                load: Any = self._jar._really_load  # type: ignore[attr-defined]  # 'load' keeps a byte order mark
                load(StringIO(text), os.fspath(path), True, True)
        except LoadError:
            raise ValueError(f"cookies: {str(path)!r} is not a cookie file in Netscape's format") from None
        for cookie in self._jar:
            if cookie.expires == 0:  # curl's and the browsers' way to write: until the session ends
                cookie.expires, cookie.discard = None, True

    def headers(self, target: Target) -> dict[str, str]:
        """The ``Cookie`` header for ``target``, if it gets one."""
        request = UrllibRequest(target.url)  # noqa: S310  only http and https come here
        self._jar.add_cookie_header(request)
        cookie = request.get_header("Cookie")
        return {"cookie": cookie} if cookie else {}


class _NetrcText(netrc.netrc):
    """Parses text: ``netrc.netrc`` reads a file itself, and rejects one that begins with a byte order mark."""

    def __init__(self, name: str, text: str) -> None:
        self.hosts = {}
        self.macros = {}
        parse: Any = self._parse  # type: ignore[attr-defined]
        parse(name, StringIO(text), False)


def _text_of(path: str | os.PathLike[str], what: str) -> str:
    try:
        return read_text(path)
    except ValueError as error:
        raise ValueError(f"{what}: cannot read {os.fspath(path)!r}: {error}") from None


class Netrc:
    """Users and passwords by host from a netrc file (True: ``~/.netrc``, which may be missing).

    Raises ``OSError`` if it cannot be read, ``ValueError`` if it is not such a file.
    """

    def __init__(self, path: str | os.PathLike[str] | bool) -> None:
        found: Any = None
        file = Path.home() / ".netrc" if path is True else Path(os.fspath(path))  # type: ignore[arg-type]
        try:
            found = _NetrcText(str(file), _text_of(file, "netrc"))
        except FileNotFoundError:
            if path is not True:
                raise
        except netrc.NetrcParseError:
            raise ValueError(f"netrc: {str(file)!r} is not a netrc file") from None
        self._netrc = found

    def headers(self, target: Target) -> dict[str, str]:
        """The ``Authorization`` header for ``target``, if its host is in the file by name."""
        # Not authenticators(): that falls back to the 'default' entry, which any host would get by a redirect.
        entry = None if self._netrc is None else self._netrc.hosts.get(target.host)
        if entry is None or target.host == "default":
            return {}
        user, _, password = entry
        return {"authorization": basic(user or "", password or "")}
