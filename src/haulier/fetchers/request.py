"""``Request``: an HTTP download that needs more than a URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from haulier.errors import PermanentError
from haulier.fetchers.urls import redacted

__all__ = ["Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A ``target_id`` for ``HttpFetcher`` and ``YtDlpFetcher``, wherever a URL may be one.

    With a durable store, which writes it down: a dict with these keys instead, such as ``request.as_dict()``.

    - ``name``: of the file; with '/' in it, in folders below ``dest``; with one at its end, only the folder. What is
      unsafe in it is replaced. '': the server's.
    - ``checksum``: ``'sha256:<hex>'`` (any algorithm of ``hashlib``), without which the file does not land.
    - ``headers``: sent in addition to the fetcher's, which they override; not to another host after a redirect.
    """

    url: str
    name: str = ""
    checksum: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    @classmethod
    def of(cls, target: object) -> Request:
        """``target`` itself, or the request for the URL, or of the dict, that it is.

        Raises ``PermanentError`` for anything else.
        """
        if isinstance(target, cls):
            return target
        if isinstance(target, str):
            return cls(url=target)
        if isinstance(target, Mapping) and "url" in target and target.keys() <= _KEYS:
            return cls(**target)
        raise PermanentError(f"the target_id of an HTTP download is its URL or a Request, not {type(target).__name__}")

    def as_dict(self) -> dict[str, Any]:
        """Return the request as a dict for a durable store, with its URL and headers, secrets included."""
        values: dict[str, Any] = {"url": self.url, "name": self.name, "checksum": self.checksum}
        return {**values, "headers": dict(self.headers)}

    def __repr__(self) -> str:
        return f"Request(url={redacted(self.url)!r}, name={self.name!r}, checksum={self.checksum!r})"

    __str__ = __repr__


_KEYS: Final = frozenset({"url", "name", "checksum", "headers"})
