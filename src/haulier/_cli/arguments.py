"""What the command line understands."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

from haulier._cli import values
from haulier._cli.bench import options as bench_options
from haulier._cli.get.chooser import WISHES, wish_of
from haulier._cli.values import MOST_HOSTS
from haulier.fetchers.urls import redacted

__all__ = ["UsageError", "parsed", "parser", "usage_error"]

_EXAMPLES = """\
examples:
  haulier get https://example.org/a.iso https://example.net/b.zip
  haulier get --dest music --delay 3 -i urls.txt
  grep -o 'https://[^"]*\\.pdf' page.html | haulier get --dest papers -

  haulier get --dest 'mirror/{host}/{path}' --config policies.toml --checksums SHA256SUMS -i urls.txt

Hosts are downloaded from side by side, and each one politely: one file at a time, unless --concurrency says
otherwise. What fails on the way is tried again, and goes on where it broke off if the server lets it; a host that asks
for a pause (429) gets it. Ctrl-C stops it, and the same command again goes on: what is here already is not fetched
twice. A file that grows is called NAME.part, with NAME.part.json beside it.

exit status:
  0 all files are there, 1 some are not, 2 wrong usage (nothing was downloaded), 130 stopped by Ctrl-C
"""

_DEMO = """\
Starts a small file server on this machine and downloads from it as if it were five hosts: a fast one, a slow one,
one that asks for pauses, one whose connections break, and one whose plugin crashes. No network is needed, and
nothing is left behind. At the end it says in plain words what happened, and whether all went as promised.
"""


_VERIFY = """\
Checks a trace: never more at once than the limit, never a start before the delay is over, never one of what was
cancelled, first come first served, and every download over exactly once. Names the first line that says otherwise,
and the one that it contradicts.

exit status:
  0 every promise was kept, 1 one was not, 2 this is no trace
"""

_COMPLETION = """\
Prints a script that completes haulier's commands and options. To have it in every new shell:

  bash:  haulier completion bash > ~/.local/share/bash-completion/completions/haulier
  zsh:   haulier completion zsh > "${fpath[1]}/_haulier"
  fish:  haulier completion fish > ~/.config/fish/completions/haulier.fish
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
    top = parser()
    argv = sys.argv[1:] if argv is None else argv
    if argv and "://" in argv[0]:
        top.error(f"a command comes first; did you mean: haulier get {redacted(argv[0])} …?")
    args, rest = top.parse_known_args(argv)
    # argparse does not take 'URL --option URL': the URLs after an option come back as the rest.
    unknown = [each for each in rest if each.startswith("-") and each != "-"]
    if unknown or (rest and args.command != "get"):
        top.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if rest:
        args.urls += rest
    return args


def parser() -> _Parser:
    """The parser of the whole command line."""
    top = _Parser(prog="haulier", description="Downloads files in the background, politely.")
    top.add_argument("--version", action="version", version=f"haulier {_version()}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_get(commands)
    _add_demo(commands)
    _add_verify(commands)
    _add_bench(commands)
    _add_completion(commands)
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
        help="read URLs from FILE, one a line; behind it name=… checksum=… source=… with=…; '#' begins a comment",
    )  # fmt: skip
    get.add_argument(
        "--with", type=_typed(wish_of), choices=WISHES, default="auto", dest="via", metavar="FETCHER",
        help="http, ytdlp, or auto: yt-dlp, if it is installed, for pages of sites that it knows (default: auto)",
    )  # fmt: skip
    get.add_argument("--version", action="version", version=f"haulier {_version()}")
    _add_files(get.add_argument_group("files"))
    _add_manners(get.add_argument_group("manners, of each host"))
    _add_access(get.add_argument_group("access"))
    output = get.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object a line for whatever happens")
    output.add_argument("--dry-run", action="store_true", help="only say what would go where, and under which settings")
    output.add_argument("--explain", action="store_true", help="say what each host waits for, whenever that changes")
    output.add_argument("--trace", metavar="FILE", help="append what happens when, for 'haulier verify'")
    _add_loudness(get)


def _add_files(files: argparse._ArgumentGroup) -> None:
    files.add_argument(
        "-d", "--dest", default=".", metavar="DIR",
        help="where the files go (default: here); may have {host} {path} {name} {stem} {ext} {date} in it",
    )  # fmt: skip
    files.add_argument(
        "--overwrite", choices=("never", "changed", "always"), default="never",
        help="never: what was fetched before is left as it is, and a file of somebody else's keeps its name; "
        "changed: fetch again what the server has a new version of; always: replace (default: never)",
    )  # fmt: skip
    files.add_argument("--checksum", metavar="ALGO:HEX", help="what the one URL must have, e.g. sha256:9f86d0…")
    files.add_argument("--checksums", metavar="FILE", help="a list as sha256sum writes it, for files of these names")
    files.add_argument("--max-size", type=_typed(values.byte_count), metavar="BYTES", help="refuse what is larger")
    files.add_argument(
        "--store", metavar="FILE",
        help="keep what is not finished in FILE; with no URL: go on with what is in it",
    )  # fmt: skip


def _add_manners(manners: argparse._ArgumentGroup) -> None:
    manners.add_argument(
        "-c", "--concurrency", type=_typed(values.at_least(1)), metavar="N", help="downloads at once (default: 1)"
    )
    manners.add_argument(
        "--delay", type=_typed(values.seconds), metavar="SECONDS", help="rest between two downloads (default: 0)"
    )
    manners.add_argument(
        "--jitter", type=_typed(values.jitter), metavar="LOW-HIGH",
        help="a factor between the two is drawn for each rest, e.g. 0.5-1.5",
    )  # fmt: skip
    manners.add_argument(
        "--retries", type=_typed(values.at_least(0)), metavar="N",
        help="further attempts at a download that fails (default: 3)",
    )  # fmt: skip
    manners.add_argument(
        "--timeout", type=_typed(values.seconds_above_zero), metavar="SECONDS",
        help="give an attempt up after so long without a byte (default: 30)",
    )  # fmt: skip
    manners.add_argument(
        "--limit-rate", type=_typed(values.rate), metavar="BYTES",
        help="per second, of all hosts with this limit together, e.g. 500k, 2M",
    )  # fmt: skip
    manners.add_argument(
        "--hosts", type=_typed(values.at_least(1)), default=MOST_HOSTS, metavar="N",
        help=f"hosts at once, of all that are listed (default: {MOST_HOSTS})",
    )  # fmt: skip
    manners.add_argument(
        "--config", metavar="FILE", help='TOML: settings by host, e.g. ["*.example.org"] with delay = 3'
    )


def _add_access(access: argparse._ArgumentGroup) -> None:
    access.add_argument(
        "--header", action="append", default=[], type=_typed(values.header), metavar="'NAME: VALUE'",
        help="sent along; not to another host on a redirect",
    )  # fmt: skip
    access.add_argument("--proxy", metavar="URL", help="an HTTP proxy (default: https_proxy and its kin)")
    access.add_argument("--cookies", metavar="FILE", help="cookies in Netscape's format")
    access.add_argument("--netrc", action="store_true", help="users and passwords from ~/.netrc")
    access.add_argument(
        "--ca-certs", metavar="FILE", help="certificates of authorities to trust beside the system's (not for yt-dlp)"
    )
    access.add_argument("--allow-downgrade", action="store_true", help="follow redirects from https to http")


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="see the engine work, and heal, without a network",
        description=_DEMO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument(
        "--seconds", type=_typed(values.seconds_above_zero), default=14.0, metavar="SECONDS",
        help="how long it takes, roughly (default: 14; never less than 3 or so)",
    )  # fmt: skip
    demo.add_argument("--picture", metavar="FILE", help="save a picture of the live table as SVG")
    _add_loudness(demo)


def _add_verify(commands: argparse._SubParsersAction[_Parser]) -> None:
    verify = commands.add_parser(
        "verify",
        help="check what an engine has traced against its promises",
        description=_VERIFY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("trace", metavar="FILE", help="what 'haulier get --trace' or DownloadEngine(trace=…) wrote")


def _add_bench(commands: argparse._SubParsersAction[_Parser]) -> None:
    bench = commands.add_parser(
        "bench",
        help="see what limits, delays and retries come to",
        description=bench_options.DESCRIPTION,
        epilog=bench_options.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench_options.add(bench, _typed)


def _add_completion(commands: argparse._SubParsersAction[_Parser]) -> None:
    completion = commands.add_parser(
        "completion",
        help="print a script that completes haulier's options in a shell",
        description=_COMPLETION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell the script is for")


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


def _typed(meaning: Callable[[str], Any]) -> Callable[[str], Any]:
    """Turn ``ValueError`` of ``meaning`` into ``ArgumentTypeError``: argparse shows the text of no other error."""

    def typed(text: str) -> Any:
        try:
            return meaning(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed
