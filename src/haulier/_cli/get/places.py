"""``--dest``: a folder, or a template for the path of each file in it."""

from __future__ import annotations

from datetime import date
from difflib import get_close_matches
from pathlib import PurePosixPath
from string import Formatter
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from haulier._cli.arguments import UsageError
from haulier.fetchers.filenames import safe_filename, safe_path

__all__ = ["Place", "place_of"]

_FIELDS: Final = ("host", "path", "name", "stem", "ext", "date")


class Place(NamedTuple):
    """Where files go: ``folder``, and a template for the path below it, or None: then servers name the files."""

    folder: str
    pattern: str | None

    def name_of(self, url: str, name: str, today: date) -> str:
        """The path of the file of ``url`` below ``folder``; '' without a pattern. ``name`` is the file's own name."""
        if self.pattern is None:
            return ""
        parts = urlsplit(url)
        name = name or "download"
        path = PurePosixPath(name)
        fields = {
            "host": safe_filename(parts.hostname or ""),
            "path": safe_path(unquote(parts.path.rpartition("/")[0], errors="replace")),
            "name": name,
            "stem": path.stem,
            "ext": path.suffix.lstrip("."),
            "date": today.isoformat(),
        }
        return safe_path(self.pattern.format_map(fields))


def place_of(dest: str) -> Place:
    """Parse ``--dest``. Raises ``UsageError`` if the template is invalid."""
    try:
        pieces = list(Formatter().parse(dest))
    except ValueError as error:
        raise UsageError(
            f"invalid template {dest!r} for --dest: {error}; write {{{{ and }}}} for literal braces"
        ) from None
    for _, field, form, conversion in pieces:
        if field is not None and field not in _FIELDS:
            near = get_close_matches(field, _FIELDS, 1, 0.4)
            hint = f"did you mean {{{near[0]}}}?" if near else f"use one of {', '.join(_FIELDS)}"
            raise UsageError(f"unknown field {{{field}}} in --dest; {hint}")
        if form or conversion:
            raise UsageError(f"invalid field in --dest; write {{{field}}} without a format or a conversion")
    if all(field is None for _, field, _, _ in pieces):
        return Place(dest.replace("{{", "{").replace("}}", "}"), None)
    fixed, _, _ = dest.partition("{")
    folder, slash, _ = fixed.rpartition("/")
    pattern = dest[len(folder + slash) :]
    if "{name}" not in pattern and "{stem}" not in pattern:
        pattern += "/{name}"
    return Place((folder or slash or ".").replace("}}", "}"), pattern)
