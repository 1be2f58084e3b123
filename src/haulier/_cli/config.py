"""``--config policies.toml``: manners by source.

::

    ["*"]
    delay = 1

    ["*.example.org"]
    concurrency = 2
    limit-rate = "500k"

Every table whose pattern matches counts; where two set one key, the longer pattern does (wildcards not counted).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from haulier._cli import values

__all__ = ["Config", "ConfigError", "read_config"]

_KEYS: Final[dict[str, Callable[[str], Any]]] = {
    "concurrency": values.at_least(1),
    "delay": values.seconds,
    "jitter": values.jitter,
    "retries": values.at_least(0),
    "timeout": values.seconds_above_zero,
    "limit-rate": values.rate,
    "max-size": values.byte_count,
}


class ConfigError(Exception):
    """The configuration is wrong; the message says where, and what to write instead."""


class Config:
    """Settings by pattern, the most general first. Names of settings as in ``Manners``."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self._tables = sorted(tables.items(), key=lambda table: len(re.sub(r"[*?\[\]]", "", table[0])))

    def of(self, source: str) -> dict[str, Any]:
        """The settings for ``source``."""
        host = source.rpartition(":")[0] or source
        found: dict[str, Any] = {}
        for pattern, settings in self._tables:
            if fnmatchcase(source.lower(), pattern.lower()) or fnmatchcase(host.lower(), pattern.lower()):
                found |= settings
        return found


def read_config(path: str | None) -> Config:
    """The configuration in the file ``path``; an empty one for None. Raises ``ConfigError``."""
    if path is None:
        return Config({})
    try:
        text = Path(path).read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or 'it failed').lower()}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read {path}: it is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None
    lines = text.splitlines()
    return Config({pattern: _settings(path, lines, pattern, table) for pattern, table in tables.items()})


def _settings(path: str, lines: list[str], pattern: str, table: Any) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(
            f'{path}, line {_line_of(lines, None, pattern)}: {pattern!r} is outside of a table; begin with ["*"]'
        )
    settings = {}
    for key, value in table.items():
        where = f"{path}, line {_line_of(lines, pattern, key)}"
        meaning = _KEYS.get(key.replace("_", "-"))
        if meaning is None:
            near = get_close_matches(key, _KEYS, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_KEYS)}"
            raise ConfigError(f"{where}: no setting {key!r}: {hint}")
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ConfigError(f"{where}: {key} must be a number or a text, not {value!r}")
        try:
            settings[key.replace("-", "_")] = meaning(str(value))
        except ValueError as error:
            raise ConfigError(f"{where}: {key}: {error}") from None
    return settings


def _line_of(lines: list[str], table: str | None, key: str) -> int:
    """Where ``key`` of ``table`` is set: tomllib does not say."""
    inside = table is None
    for number, line in enumerate(lines, 1):
        header = re.match(r"\s*\[\s*(.*?)\s*\]\s*(#.*)?$", line)
        if header is not None:
            inside = table is not None and header[1].strip("\"'") == table
        elif inside and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return 1
