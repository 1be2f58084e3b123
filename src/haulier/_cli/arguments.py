"""The parser of the command line: every command, option and help text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from haulier._cli import values
from haulier._cli.bench import options as bench_options
from haulier._cli.complaints import Parser, UsageError, usage_error
from haulier._cli.get.chooser import FETCHERS, checked_fetcher
from haulier._cli.values import MOST_HOSTS
from haulier.fetchers.urls import redacted

__all__ = ["UsageError", "parsed", "parser", "usage_error"]

_EXAMPLES = """\
examples:
  haulier get https://example.org/a.iso https://example.net/b.zip
  haulier get --dest music --delay 3 -i urls.txt
  grep -o 'https://[^"]*\\.pdf' page.html | haulier get --dest papers -

  haulier get --dest 'mirror/{host}/{path}' --config policies.toml --checksums SHA256SUMS -i urls.txt

haulier downloads from many hosts in parallel, but only one file at a time from each host, unless you set --concurrency.
A failed download is retried, and resumes where it stopped if the server supports that. If a host answers 429 (Too Many
Requests), haulier waits as long as it asks. Ctrl-C stops the command. Run the same command again to resume: files that
are complete are not downloaded twice. An unfinished file is called NAME.part; NAME.part.json describes it.

exit status:
  0    every file was downloaded, or was already there
  1    some files failed, or the output could not be written
  2    wrong usage; nothing was downloaded
  130  stopped by Ctrl-C
"""

_DEMO = """\
Starts a small file server on this machine that plays five hosts: a fast one, a slow one, one that asks for pauses, one
that closes connections too early, and one whose plugin crashes. haulier downloads from them, then reports what happened
and whether the engine kept its promises. The demo needs no network and deletes its files at the end.
"""


_VERIFY = """\
Checks a trace: a log of what an engine did. In it,

  - a source never runs more downloads at once than its limit allows
  - no download starts before the delay has passed
  - no cancelled download starts
  - the downloads of a source start in the order in which they were queued
  - every download ends exactly once, and none succeeds that has not started

Prints the first line that breaks one of these promises, and the earlier line that it contradicts.

exit status:
  0  the engine kept every promise
  1  it broke one
  2  FILE cannot be read, or is not a trace
"""

_COMPLETION = """\
Prints a shell script that completes haulier's commands and options. To install it for every new shell:

  bash:  haulier completion bash > ~/.local/share/bash-completion/completions/haulier
  zsh:   haulier completion zsh > "${fpath[1]}/_haulier"
  fish:  haulier completion fish > ~/.config/fish/completions/haulier.fish
"""


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse ``argv``, by default the arguments of this process.

    Raises ``SystemExit`` for ``--help``, ``--version`` and invalid arguments.
    """
    top = parser()
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        top.print_usage(sys.stderr)
    if argv and "://" in argv[0]:
        top.error(f"the command is missing; did you mean: haulier get {redacted(argv[0])} …?")
    args, rest = top.parse_known_args(argv)
    # argparse does not parse 'URL --option URL': it returns the URLs after the option in `rest`.
    unknown = [each for each in rest if each.startswith("-") and each != "-"]
    if unknown or (rest and args.command != "get"):
        _command(top, args.command).error(_unknown(top, args.command, (unknown or rest)[0]))
    if rest:
        args.urls += rest
    return args


def _unknown(top: Parser, command: str, word: str) -> str:
    """Say that ``word`` is not an argument of ``command``, and suggest the option that is spelt most like it."""
    if not word.startswith("-"):
        return f"unexpected argument {word!r}; see haulier {command} --help"
    options = [name for action in _command(top, command)._actions for name in action.option_strings]
    name = word.partition("=")[0]
    near = get_close_matches(name, options, 1, 0.7)
    return f"unknown option {name}; {f'did you mean {near[0]}?' if near else f'see haulier {command} --help'}"


def _command(top: Parser, name: str) -> Parser:
    (commands,) = (each for each in top._actions if isinstance(each, argparse._SubParsersAction))
    found: Parser = commands.choices[name]
    return found


def parser() -> Parser:
    """Build the parser of all commands."""
    top = Parser(prog="haulier", description="Downloads files in the background, within limits for each host.")
    top.add_argument("--version", action="version", version=f"haulier {_version()}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_get(commands)
    _add_demo(commands)
    _add_verify(commands)
    _add_bench(commands)
    _add_completion(commands)
    return top


def _add_get(commands: argparse._SubParsersAction[Parser]) -> None:
    get = commands.add_parser(
        "get",
        help="download files",
        description="Downloads files over HTTP and HTTPS, and media from the sites that yt-dlp supports.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    get.add_argument("urls", nargs="*", metavar="URL", help="a URL to download; '-' reads URLs from standard input")
    get.add_argument(
        "-i", "--input", action="append", default=[], metavar="FILE",
        help="read URLs from FILE, one per line; options may follow the URL: name=… checksum=… source=… with=…; "
        "a line that begins with '#' is a comment; may be repeated",
    )  # fmt: skip
    get.add_argument(
        "--with", type=_typed(checked_fetcher), choices=FETCHERS, default="auto", dest="via", metavar="FETCHER",
        help="what to download with: http, ytdlp or auto; auto uses yt-dlp, if it is installed, for pages of the sites "
        "that it supports, and http for everything else (default: auto)",
    )  # fmt: skip
    get.add_argument("--version", action="version", version=f"haulier {_version()}")
    _add_files(get.add_argument_group("files"))
    _add_limits(get.add_argument_group("limits for each host"))
    _add_access(get.add_argument_group("access"))
    output = get.add_argument_group("output")
    output.add_argument(
        "--json", action="store_true", help="print a JSON object for each event, one per line, not text"
    )
    output.add_argument(
        "--dry-run", action="store_true", help="print the planned files and the settings of each host; download nothing"
    )
    output.add_argument("--explain", action="store_true", help="print what each host waits for, each time that changes")
    output.add_argument(
        "--trace", metavar="FILE", help="append a log of all starts and ends to FILE, for 'haulier verify'"
    )
    _add_verbosity(get)


def _add_files(files: argparse._ArgumentGroup) -> None:
    files.add_argument(
        "-d", "--dest", default=".", metavar="DIR",
        help="save files in DIR, which may contain {host} {path} {name} {stem} {ext} {date} (default: .)",
    )  # fmt: skip
    files.add_argument(
        "--overwrite", choices=("never", "changed", "always"), default="never",
        help="what to do if the file exists. never: keep it; if it is another file, save the new one as "
        "'NAME (1).ext'. changed: download again if the server has a new version. always: replace it (default: never)",
    )  # fmt: skip
    files.add_argument(
        "--checksum", metavar="ALGO:HEX", help="the checksum of the file, if there is only one URL, e.g. sha256:9f86d0…"
    )
    files.add_argument(
        "--checksums", metavar="FILE",
        help="a list of checksums, as sha256sum writes it; files are matched by path and by name",
    )  # fmt: skip
    files.add_argument(
        "--checksums-required", action="store_true", help="fail for a file that the list of checksums does not name"
    )
    files.add_argument(
        "--max-size", type=_typed(values.byte_count), metavar="BYTES",
        help="refuse larger files, e.g. 500M, 2GiB",
    )  # fmt: skip
    files.add_argument(
        "--store", metavar="FILE",
        help="keep unfinished downloads in FILE, an SQLite database; without a URL, resume the downloads in FILE",
    )  # fmt: skip


def _add_limits(limits: argparse._ArgumentGroup) -> None:
    limits.add_argument(
        "-c",
        "--concurrency",
        type=_typed(values.at_least(1)),
        metavar="N",
        help="downloads at the same time (default: 1)",
    )
    limits.add_argument(
        "--delay",
        type=_typed(values.seconds),
        metavar="SECONDS",
        help="wait this long between two downloads (default: 0)",
    )
    limits.add_argument(
        "--jitter", type=_typed(values.jitter), metavar="LOW-HIGH",
        help="multiply each delay by a random factor between LOW and HIGH, e.g. 0.5-1.5",
    )  # fmt: skip
    limits.add_argument(
        "--retries", type=_typed(values.at_least(0)), metavar="N",
        help="retry a failed download until N retries in a row get no further (default: 3); 0: never",
    )  # fmt: skip
    limits.add_argument(
        "--timeout", type=_typed(values.seconds_above_zero), metavar="SECONDS",
        help="give up an attempt if no data arrives for this long (default: 30)",
    )  # fmt: skip
    limits.add_argument(
        "--limit-rate", type=_typed(values.rate), metavar="BYTES",
        help="bytes per second, e.g. 500k, 2M; all hosts with the same settings share it",
    )  # fmt: skip
    limits.add_argument(
        "--min-speed", type=_typed(values.speed), metavar="BYTES[/SECONDS]",
        help="give up an attempt that receives fewer bytes per second, averaged over SECONDS (default: 30), e.g. 5k/60",
    )  # fmt: skip
    limits.add_argument(
        "--max-time", type=_typed(values.seconds_above_zero), metavar="SECONDS",
        help="give up an attempt that takes longer than this",
    )  # fmt: skip
    limits.add_argument(
        "--hosts", type=_typed(values.at_least(1)), default=MOST_HOSTS, metavar="N",
        help=f"download from at most N hosts at the same time (default: {MOST_HOSTS})",
    )  # fmt: skip
    limits.add_argument(
        "--config", metavar="FILE", help='a TOML file with settings by host, e.g. ["*.example.org"] with delay = 3'
    )


def _add_access(access: argparse._ArgumentGroup) -> None:
    access.add_argument(
        "--header", action="append", default=[], type=_typed(values.header), metavar="'NAME: VALUE'",
        help="send this header; not to another host after a redirect; may be repeated",
    )  # fmt: skip
    access.add_argument(
        "--proxy", metavar="URL", help="an HTTP proxy (default: from https_proxy, http_proxy, no_proxy)"
    )
    access.add_argument("--cookies", metavar="FILE", help="send the cookies in FILE, in the Netscape format")
    access.add_argument("--netrc", action="store_true", help="use the users and passwords in ~/.netrc")
    access.add_argument(
        "--ca-certs",
        metavar="FILE",
        help="also trust the certificate authorities in FILE, in addition to the system's (not for yt-dlp)",
    )
    access.add_argument("--allow-downgrade", action="store_true", help="follow redirects from https to http")


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="watch the engine work and recover from faults; needs no network",
        description=_DEMO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument(
        "--seconds", type=_typed(values.seconds_above_zero), default=14.0, metavar="SECONDS",
        help="run for about this long (default: 14; at least about 3)",
    )  # fmt: skip
    demo.add_argument("--picture", metavar="FILE", help="save a picture of the live table as FILE, in SVG")
    _add_verbosity(demo)


def _add_verify(commands: argparse._SubParsersAction[Parser]) -> None:
    verify = commands.add_parser(
        "verify",
        help="check the trace of an engine against its promises",
        description=_VERIFY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument(
        "trace", metavar="FILE", help="a trace that 'haulier get --trace' or DownloadEngine(trace=…) wrote"
    )


def _add_bench(commands: argparse._SubParsersAction[Parser]) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure or simulate limits, delays and retries",
        description=bench_options.DESCRIPTION,
        epilog=bench_options.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench_options.add(bench, _typed)


def _add_completion(commands: argparse._SubParsersAction[Parser]) -> None:
    completion = commands.add_parser(
        "completion",
        help="print a shell script that completes haulier's commands and options",
        description=_COMPLETION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to write the script for")


def _add_verbosity(command: argparse.ArgumentParser) -> None:
    verbosity = command.add_mutually_exclusive_group()
    verbosity.add_argument("-q", "--quiet", action="store_true", help="print only failures and warnings")
    verbosity.add_argument(
        "-v", "--verbose", action="count", default=0, help="print the engine's log on stderr; -vv: with debug messages"
    )


def _version() -> str:
    try:
        return version("haulier")
    except PackageNotFoundError:
        return "(not installed)"


def _typed(meaning: Callable[[str], Any]) -> Callable[[str], Any]:
    """Wrap ``meaning``: it raises ``ArgumentTypeError`` in place of ``ValueError``.

    argparse prints the text of ``ArgumentTypeError`` only.
    """

    def typed(text: str) -> Any:
        try:
            return meaning(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed
