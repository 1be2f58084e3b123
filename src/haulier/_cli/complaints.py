"""How the command line says that it was called wrongly."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn

from haulier._cli.outlet import Outlet
from haulier.fetchers.urls import redacted

__all__ = ["Parser", "UsageError", "usage_error"]


class UsageError(Exception):
    """The command line is wrong. Nothing was downloaded. ``main`` prints the message and returns 2."""


class Parser(argparse.ArgumentParser):
    """A parser that hides secrets: argparse quotes unknown arguments, and a URL in them may contain a password."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` alone, without the usage, which is a page long for ``haulier get``."""
        self.exit(2, f"{self.prog}: {_without_secrets(message)}\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print what ``--help`` and ``--version`` show. argparse ignores that a disk is full; the status is 1 here."""
        if file is not sys.stdout:
            super()._print_message(message, file)
            return
        outlet = Outlet(file)
        outlet.write(message)
        outlet.flush()
        if outlet.has_lost_text:
            self.exit(1)


def _without_secrets(text: str) -> str:
    return re.sub(r"[\w+.-]+://[^\s'\"]+", lambda found: redacted(found[0]), text)


def usage_error(command: str, message: str) -> None:
    """Print ``message`` on stderr, after the name of the command. It may have several lines."""
    print(f"haulier {command}: {message}", file=sys.stderr)
