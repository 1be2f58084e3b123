"""The settings of each source: from the command line, else from ``--config``, else the defaults."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Final

import tenacity

from haulier import presets
from haulier._cli import values
from haulier.fetchers.faults import NotYet
from haulier.fetchers.texts import read_text
from haulier.fetchers.tries import retry_by_progress
from haulier.policies import RetryPolicy, SourcePolicy

__all__ = ["Config", "ConfigError", "SourceSettings", "read_config", "settings_of"]

_KEYS: Final[dict[str, Callable[[str], Any]]] = {
    "concurrency": values.at_least(1),
    "delay": values.seconds,
    "jitter": values.jitter,
    "retries": values.at_least(0),
    "timeout": values.seconds_above_zero,
    "limit-rate": values.rate,
    "max-size": values.byte_count,
    "min-speed": values.speed,
    "max-time": values.seconds_above_zero,
}


class ConfigError(Exception):
    """The configuration is invalid. The message names the line and what to write instead."""


class Config:
    """Settings by pattern. A longer pattern overrides a shorter one. The names are those of ``SourceSettings``."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self._tables = sorted(tables.items(), key=lambda table: len(re.sub(r"[*?\[\]]", "", table[0])))

    def of(self, source: str) -> dict[str, Any]:
        """The settings that apply to ``source``: of every pattern that matches it."""
        host = source.rpartition(":")[0] or source
        found: dict[str, Any] = {}
        for pattern, settings in self._tables:
            if fnmatchcase(source.lower(), pattern.lower()) or fnmatchcase(host.lower(), pattern.lower()):
                found |= settings
        return found


def read_config(path: str | None) -> Config:
    """Read the configuration file ``path``. None gives an empty configuration.

    Raises ``ConfigError`` if the file cannot be read or is invalid.
    """
    if path is None:
        return Config({})
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or 'unknown error').lower()}") from None
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}{_unquoted(text, str(error))}") from None
    lines = text.splitlines()
    return Config({pattern: _settings(path, lines, pattern, table) for pattern, table in tables.items()})


def _settings(path: str, lines: list[str], pattern: str, table: Any) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(
            f'{path}, line {_line_of(lines, None, pattern)}: {pattern!r} is outside a table; write ["*"] above it'
        )
    settings = {}
    for key, value in table.items():
        if isinstance(value, dict) and key.replace("_", "-") not in _KEYS:
            name = _dotted(pattern, table)
            raise ConfigError(
                f'{path}, line {_line_of(lines, None, name)}: write ["{name}"] with quotation marks; '
                f"without them a dot makes a table in a table"
            )
        where = f"{path}, line {_line_of(lines, pattern, key)}"
        meaning = _KEYS.get(key.replace("_", "-"))
        if meaning is None:
            near = get_close_matches(key, _KEYS, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(_KEYS)}"
            raise ConfigError(f"{where}: unknown setting {key!r}; {hint}")
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ConfigError(f"{where}: {key} must be a number or a string, not {value!r}")
        try:
            settings[key.replace("-", "_")] = meaning(str(value))
        except ValueError as error:
            raise ConfigError(f"{where}: {key}: {error}") from None
    return settings


def _dotted(pattern: str, table: dict[str, Any]) -> str:
    """The name that ``[example.org]`` was meant to be, of the nested tables that TOML makes of it."""
    inner = next(((key, value) for key, value in table.items() if isinstance(value, dict)), None)
    return pattern if inner is None else f"{pattern}.{_dotted(*inner)}"


def _unquoted(text: str, error: str) -> str:
    """A hint, if TOML stumbles over a pattern without quotation marks, such as ``[*.example.org]``."""
    at = re.search(r"at line (\d+)", error)
    line = text.split("\n")[int(at[1]) - 1] if at else ""
    found = re.match(r"""\s*\[\s*([^\["'\]]+?)\s*\]""", line)
    return f'; write ["{found[1]}"] with quotation marks' if found else ""


def _line_of(lines: list[str], table: str | None, key: str) -> int:
    """The number of the line that sets ``key`` in ``table``: tomllib does not report it."""
    inside = table is None
    for number, line in enumerate(lines, 1):
        header = re.match(r"\s*\[\s*(.*?)\s*\]\s*(#.*)?$", line)
        if header is not None:
            if table is None and re.sub(r"""[\s"']""", "", header[1]) == key:
                return number  # a table in a table
            inside = table is not None and header[1].strip("\"'") == table
        elif inside and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return 1


@dataclass(frozen=True)
class SourceSettings:
    """The settings of one source. ``haulier get --help`` describes each of them."""

    concurrency: int = 1
    delay: float = 0.0
    jitter: tuple[float, float] | None = None
    retries: int = 3
    timeout: float = 30.0
    limit_rate: int | None = None
    max_size: int | None = None
    min_speed: tuple[int, float] | None = None
    max_time: float | None = None

    @property
    def policy(self) -> SourcePolicy:
        """The settings that the engine enforces."""
        retry = RetryPolicy(
            stop=tenacity.stop_after_attempt(self.retries + 1), wait=tenacity.wait_exponential_jitter(max=60)
        )
        if not self.retries:
            retry = replace(retry, retry=tenacity.retry_if_exception_type(NotYet))
        return SourcePolicy(
            concurrency=self.concurrency,
            delay=self.delay,
            jitter=self.jitter,
            retry=retry_by_progress(retry),
        )

    @property
    def fetching(self) -> dict[str, Any]:
        """The settings that the fetcher enforces, as its keyword arguments."""
        names = ("timeout", "limit_rate", "max_size", "min_speed", "max_time")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        parts = [f"{self.concurrency} at once"]
        if self.delay:
            factors = "" if self.jitter is None else f" x {self.jitter[0]:g}-{self.jitter[1]:g}"
            parts.append(f"{self.delay:g} s delay{factors}")
        parts.append(f"{self.retries} retries")
        if self.limit_rate is not None:
            parts.append(f"{self.limit_rate:,} B/s")
        if self.min_speed is not None:
            parts.append(f"at least {self.min_speed[0]:,} B/s over {self.min_speed[1]:g} s")
        if self.max_time is not None:
            parts.append(f"at most {self.max_time:g} s")
        return ", ".join(parts)


def settings_of(source: str, args: argparse.Namespace, config: Config) -> SourceSettings:
    """The settings of ``source``. An option that was not given is None in ``args``.

    If ``haulier.presets`` has a policy for the source, its concurrency and delay are the defaults.
    """
    given = {key: getattr(args, key) for key in SourceSettings.__dataclass_fields__ if getattr(args, key) is not None}
    preset = presets.BY_NAME.get(source)
    usual = SourceSettings() if preset is None else SourceSettings(preset.policy.concurrency, preset.policy.delay)
    return replace(usual, **{**config.of(source), **given})
