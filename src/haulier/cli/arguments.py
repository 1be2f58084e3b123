"""What the command line understands."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from haulier.fetchers.urls import redacted

__all__ = ["UsageError", "parsed", "usage_error"]

_EXAMPLES = """\
examples:
  haulier get https://example.org/a.iso https://example.net/b.zip
  haulier get --dest music --delay 3 -i urls.txt
  grep -o 'https://[^"]*\\.pdf' page.html | haulier get --dest papers -

Hosts are downloaded from side by side, and each one politely: one file at a time, unless --concurrency says
otherwise. What fails on the way is tried again; a host that asks for a pause (429) gets it. An existing file is
never overwritten. Ctrl-C stops it and leaves no half a file behind.

exit status:
  0 all files are there, 1 some are not, 2 wrong usage (nothing was downloaded), 130 stopped by Ctrl-C
"""

_DEMO = """\
Starts a small file server on this machine and downloads from it as if it were five hosts: a fast one, a slow one,
one that asks for pauses, one whose connections break, and one whose plugin crashes. No network is needed, and
nothing is left behind. At the end it says in plain words what happened, and whether all went as promised.
"""


class UsageError(Exception):
    """haulier was called wrongly, and nothing has been downloaded."""


class _Parser(argparse.ArgumentParser):
    """argparse quotes what it does not understand; a URL among it may hold a password."""

    def error(self, message: str) -> NoReturn:
        super().error(_without_secrets(message))


def _without_secrets(text: str) -> str:
    return re.sub(r"[\w+.-]+://[^\s'\"]+", lambda found: redacted(found[0]), text)


def usage_error(command: str, message: str) -> None:
    """Say on stderr what was wrong with the call; ``message`` may have several lines."""
    print(f"haulier {command}: {message}", file=sys.stderr)


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, by default this process's. Exits for ``--help``, ``--version`` and what is wrong."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    # argparse does not take 'URL --option URL': the URLs after an option come back as the rest.
    unknown = [each for each in rest if each.startswith("-") and each != "-"]
    if unknown or (rest and args.command != "get"):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if rest:
        args.urls += rest
    return args


def _parser() -> _Parser:
    top = _Parser(prog="haulier", description="Downloads files in the background, politely.")
    top.add_argument("--version", action="version", version=f"haulier {_version()}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_get(commands)
    _add_demo(commands)
    return top


def _add_get(commands: argparse._SubParsersAction[_Parser]) -> None:
    get = commands.add_parser(
        "get",
        help="download files",
        description="Download files over HTTP and HTTPS.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    get.add_argument("urls", nargs="*", metavar="URL", help="what to download; '-' reads URLs from standard input")
    get.add_argument(
        "-i", "--input", action="append", default=[], metavar="FILE",
        help="read URLs from FILE, one a line; blank lines and lines that begin with '#' are skipped",
    )  # fmt: skip
    get.add_argument("-d", "--dest", default=".", metavar="DIR", help="where the files go (default: here)")
    get.add_argument(
        "-c", "--concurrency", type=_at_least(1), default=1, metavar="N",
        help="downloads at once from one host (default: 1)",
    )  # fmt: skip
    get.add_argument(
        "--delay", type=_seconds, default=0.0, metavar="SECONDS",
        help="rest between two downloads from one host (default: 0)",
    )  # fmt: skip
    get.add_argument(
        "--retries", type=_at_least(0), default=3, metavar="N",
        help="further attempts at a download that fails (default: 3)",
    )  # fmt: skip
    get.add_argument(
        "--timeout", type=_seconds_above_zero, default=30.0, metavar="SECONDS",
        help="give an attempt up after so long without a byte (default: 30)",
    )  # fmt: skip
    _add_loudness(get)
    get.add_argument("--version", action="version", version=f"haulier {_version()}")


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="see the engine work, and heal, without a network",
        description=_DEMO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument(
        "--seconds", type=_seconds_above_zero, default=14.0, metavar="SECONDS",
        help="how long it takes, roughly (default: 14; never less than 3 or so)",
    )  # fmt: skip
    demo.add_argument("--picture", metavar="FILE", help="save a picture of the live table as SVG")
    _add_loudness(demo)


def _add_loudness(command: argparse.ArgumentParser) -> None:
    loudness = command.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="say nothing but what failed")
    loudness.add_argument(
        "-v", "--verbose", action="count", default=0, help="show the engine's log on stderr; twice: all of it"
    )


def _version() -> str:
    try:
        return version("haulier")
    except PackageNotFoundError:
        return "(not installed)"


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
        return value

    return number


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 up, not {text}")
    return value


def _seconds_above_zero(text: str) -> float:
    value = _seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value
