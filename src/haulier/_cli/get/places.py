"""``--dest``: a folder, or a template that says for each file where in it."""

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
    """``folder``, and below it ``pattern``; without one, files are named as their servers like."""

    folder: str
    pattern: str | None

    def name_of(self, url: str, name: str, today: date) -> str:
        """Where below ``folder`` the file of ``url`` goes, by default called ``name``; '' for wherever."""
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
    """What ``--dest`` means. Raises ``UsageError`` for a template that is none."""
    try:
        pieces = list(Formatter().parse(dest))
    except ValueError as error:
        raise UsageError(f"--dest {dest!r} is no template: {error}; write {{{{ and }}}} for braces") from None
    for _, field, form, conversion in pieces:
        if field is not None and field not in _FIELDS:
            near = get_close_matches(field, _FIELDS, 1, 0.4)
            hint = f"did you mean {{{near[0]}}}?" if near else f"there are {', '.join(_FIELDS)}"
            raise UsageError(f"--dest has no field {{{field}}}: {hint}")
        if form or conversion:
            raise UsageError(f"--dest: a field is written as {{{field}}}, and nothing more")
    if all(field is None for _, field, _, _ in pieces):
        return Place(dest.replace("{{", "{").replace("}}", "}"), None)
    fixed, _, _ = dest.partition("{")
    folder, slash, _ = fixed.rpartition("/")
    pattern = dest[len(folder + slash) :]
    if "{name}" not in pattern and "{stem}" not in pattern:
        pattern += "/{name}"
    return Place((folder or slash or ".").replace("}}", "}"), pattern)
