"""Check the URLs of HTTP downloads, and show them without secrets."""

from __future__ import annotations

import mimetypes
import re
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from haulier.errors import PermanentError

__all__ = ["Target", "names_a_file", "redacted"]

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HIDDEN = "***"


def redacted(url: str) -> str:
    """``url`` as it may be shown and logged: no user, no password, no fragment, every value of its query as ``***``.

    Never raises; of a malformed URL it shows less rather than more.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return _HIDDEN
    if port is not None and "@" in url and "@" not in parts.netloc:
        return f"{parts.scheme}://{_HIDDEN}"  # a password with an unquoted '/', '?' or '#' looks like a port and a path
    netloc = parts.netloc.rpartition("@")[2]
    path = parts.path
    if not netloc and (parts.scheme or not path.startswith("/")):
        rest = path.rpartition("@")[2]
        # Up to Python 3.14 urlunsplit adds the slash itself.
        rooted = path.startswith("/") or (rest and parts.scheme in _PORTS)
        path = f"/{rest.removeprefix('/')}" if rooted else rest
    path = re.sub(r"(;[^=/;]*=)[^/;]*", rf"\1{_HIDDEN}", path)
    query = "&".join(_without_value(pair) for pair in parts.query.split("&")) if parts.query else ""
    shown = urlunsplit((parts.scheme, netloc, path, query, ""))
    return shown if shown.isprintable() else "".join(char if char.isprintable() else "?" for char in shown)


def names_a_file(url: str) -> bool:
    """Whether ``url`` ends like a file that is not a web page: ``…/a.iso``, but not ``…/watch`` or ``….html``."""
    try:
        path = urlsplit(url.strip()).path
    except ValueError:
        return False
    return mimetypes.guess_type(path)[0] not in (None, "text/html", "application/xhtml+xml")


def _without_value(pair: str) -> str:
    key, equals, _ = pair.partition("=")
    return f"{key}={_HIDDEN}" if equals else _HIDDEN


@dataclass(frozen=True, slots=True)
class Target:
    """One URL to ask for, split into what is sent, where to, and what must stay secret.

    ``url`` has neither userinfo nor fragment. ``authorization`` is the header that the userinfo stands for.
    """

    scheme: str
    host: str
    port: int
    url: str
    authorization: str | None

    @classmethod
    def parse(cls, url: object) -> Target:
        """The target that ``url`` names.

        Raises ``PermanentError`` for anything but a well-formed http or https URL. Its message shows no secret.
        """
        if not isinstance(url, str):
            raise PermanentError(f"the target_id of an HTTP download is its URL, not {type(url).__name__}")
        url = url.strip()
        if _CONTROL.search(url):
            raise PermanentError("malformed URL: it has a control character in it")
        parts, port = _split(url)
        if parts.scheme not in _PORTS:
            raise PermanentError(f"unsupported URL {redacted(url)!r}: only http and https")
        host = _ascii_host(parts)
        if port == 0 or host is None or "\\" in parts.netloc:
            raise PermanentError(f"malformed URL {redacted(url)!r}")
        default = _PORTS[parts.scheme]
        place = host if port in (None, default) else f"{host}:{port}"
        return cls(
            scheme=parts.scheme,
            host=host,
            port=port or default,
            url=urlunsplit((parts.scheme, place, parts.path or "/", parts.query, "")),
            authorization=_basic(parts),
        )

    @property
    def place(self) -> str:
        """The host, with its port if that is not the default one."""
        return urlsplit(self.url).netloc

    def redirected(self, location: str, *, allow_downgrade: bool = False) -> Target:
        """The target that a ``Location`` header of this one's answer names.

        Raises ``PermanentError`` if it must not be followed: not http(s), malformed, or from https down to http
        without ``allow_downgrade``.
        """
        refusal = "malformed URL"
        following = None
        try:
            following = Target.parse(urljoin(self.url, location))
        except PermanentError as exc:
            refusal = str(exc)
        except ValueError:
            pass
        if following is None:
            raise PermanentError(f"redirect refused: {refusal}")
        if self.scheme == "https" and following.scheme == "http" and not allow_downgrade:
            raise PermanentError("redirect refused: from https down to http")
        return following

    def trusts(self, other: Target) -> bool:
        """Whether secrets sent here may go to ``other``: the same host and port, or its upgrade from http to https."""
        upgrade = (self.scheme, self.port, other.scheme, other.port) == ("http", 80, "https", 443)
        same = (self.scheme, self.port) == (other.scheme, other.port)
        return self.host == other.host and (same or upgrade)

    @property
    def last_segment(self) -> str:
        """The last component of the path, percent-decoded; it may be empty."""
        segment = urlsplit(self.url).path.rpartition("/")[2]
        try:
            return unquote(segment, errors="strict")
        except UnicodeDecodeError:
            return unquote(segment, encoding="latin-1")


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        pass
    raise PermanentError(f"malformed URL {redacted(url)!r}")


def _ascii_host(parts: SplitResult) -> str | None:
    name = parts.hostname or ""
    if ":" in name:
        name = f"[{name}]"
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return name if _HOST.fullmatch(name) else None


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(pair.encode()).decode("ascii")
