"""Which checksum of a list belongs to which download."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from haulier.errors import PermanentError
from haulier.fetchers.checksums import Checksum
from haulier.fetchers.filenames import safe_path
from haulier.fetchers.request import Request

__all__ = ["UNLISTED", "Expected", "Sums"]

UNLISTED: Final = "unlisted"
"""The record's key that says whether a list of checksums was given that does not name the file."""


class Sums:
    """A list of checksums, as ``checksums.read_sums`` returns it: the checksum of each name.

    ``required``: a download that the list does not name fails with ``PermanentError``. Otherwise it is not checked.
    """

    def __init__(self, by_name: Mapping[str, Checksum], *, required: bool = False) -> None:
        self.required = required
        self._by_name = {_without_dot(name): checksum for name, checksum in by_name.items()}
        self._endings: dict[str, Checksum | None] = {}
        """By the end of each name, made safe; None where two names with different checksums end so."""
        self._safe: dict[str, Checksum | None] = {}
        for name, checksum in self._by_name.items():
            safe = safe_path(name, quiet=True)
            _add(self._safe, safe, checksum)
            for ending in _endings(safe):
                _add(self._endings, ending, checksum)

    def find(self, url: str, *names: str) -> Checksum | None:
        """Return the checksum of the file at ``url`` that is, or will be, called ``names``; None if it is not listed.

        The path of the URL goes before the names. A path counts as listed if the list has it, or the end of it, or if
        it is itself the end of exactly one name in the list: ``a.iso`` and ``dist/a.iso`` are the same file.
        """
        paths = [path for path in (*_paths(url), *map(_without_dot, names)) if path]
        for path in paths:
            for ending in _endings(path):
                found = self._by_name.get(ending) or self._safe.get(safe_path(ending, quiet=True))
                if found is not None:
                    return found
        return next(filter(None, (self._endings.get(safe_path(path, quiet=True)) for path in paths)), None)


class Expected:
    """The checksum that a download must have: that of its request, else that in the list ``sums``.

    ``cell``: of the transfer. Its key ``UNLISTED`` becomes True if there is a list that does not name the file.
    """

    def __init__(self, request: Request, sums: Sums | None, cell: MutableMapping[str, Any]) -> None:
        """Raise ``PermanentError`` if the checksum in ``request`` is invalid."""
        self.of_request = Checksum.required(request.checksum)
        self._request, self._sums, self._cell = request, sums, cell

    def named(self, name: str) -> Checksum | None:
        """Return the checksum, now that the file is called ``name``; None if there is none to check.

        Raises ``PermanentError`` if the list does not name the file, but has to.
        """
        if self.of_request is not None or self._sums is None:
            return self.of_request
        found = self._sums.find(self._request.url, self._request.name, name)
        if found is None and self._sums.required:
            raise PermanentError(f"the list of checksums does not name {name!r}")
        self._cell[UNLISTED] = found is None or self._cell.get(UNLISTED, False)  # one of several media is enough
        return found


def _paths(url: str) -> tuple[str, str]:
    """The path of ``url`` below its host, as the host and as mirrors that keep the host call it."""
    parts = urlsplit(url.strip())
    try:
        path = unquote(parts.path, errors="strict")
    except UnicodeDecodeError:
        path = unquote(parts.path, encoding="latin-1")
    path = _without_dot(path.strip("/"))
    return (f"{parts.hostname}/{path}", path) if parts.hostname and path else ("", path)


def _endings(path: str) -> Iterator[str]:
    """Yield ``a/b/c``, ``b/c`` and ``c`` for ``a/b/c``."""
    while path:
        yield path
        path = path.partition("/")[2]


def _without_dot(name: str) -> str:
    name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name.lstrip("/")


def _add(to: dict[str, Checksum | None], name: str, checksum: Checksum) -> None:
    to[name] = checksum if to.get(name, checksum) == checksum else None
