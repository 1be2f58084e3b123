"""``haulier completion SHELL``: print a shell script that completes haulier's commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

import shtab

from haulier._cli.outlet import Outlet

__all__ = ["run"]

_COMPLETED_BY: Final = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}


def run(parser: argparse.ArgumentParser, shell: str, outlet: Outlet) -> int:
    """Print the script for ``shell``. Returns the exit status."""
    for action in _actions(parser):
        if action.metavar in _COMPLETED_BY:
            action.complete = _COMPLETED_BY[action.metavar]  # type: ignore[attr-defined]  # shtab's own attribute
    outlet.line(shtab.complete(parser, shell))
    return int(outlet.is_broken)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every option and argument of ``parser`` and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
