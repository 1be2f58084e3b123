"""Run the demo: start the hosts and the engine, show the downloads, print the report."""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Final

import tenacity
from rich.console import Console
from rich.text import Text

from haulier._cli.arguments import UsageError
from haulier._cli.demo.hosts import HOSTS, Host
from haulier._cli.demo.picture import Photographer
from haulier._cli.demo.report import Finding, findings
from haulier._cli.demo.server import Site
from haulier._cli.display.tally import Tally
from haulier._cli.display.text import span_text
from haulier._cli.display.views import view_for
from haulier._cli.get.follow import Follower
from haulier._cli.outlet import Outlet, stderr_line
from haulier._cli.signals import Stop
from haulier._engine.engine import DownloadEngine
from haulier._engine.ticket import Impl
from haulier.errors import SourceCrashed
from haulier.fetchers.http import HttpFetcher
from haulier.policies import RestartPolicy, RetryPolicy, SourcePolicy
from haulier.transfer import Transfer

__all__ = ["run"]

WIDEST: Final = 100
"""The greatest width of the report, in columns."""
INDENT: Final = 16
"""The column at which the text of a finding begins."""

PATIENCE_S: Final = 60.0
"""The demo is ended after five times its length and this many seconds more: then it must hang."""


class BuggyPlugin:
    """A plugin that works, but crashes at some files: once with ``sys.exit()``, then with ``SourceCrashed``."""

    def __init__(self, fetcher: HttpFetcher, crashes: list[str]) -> None:
        self._fetcher = fetcher
        self._crashes = crashes

    def __call__(self, download_id: str, target_id: object, display_name: str, transfer: Transfer) -> str:
        """Fetch the file, or crash."""
        if display_name in self._crashes:
            if display_name == self._crashes[0]:
                raise SystemExit("the plugin called sys.exit()")
            raise SourceCrashed("the plugin's client is broken")
        return self._fetcher(download_id, target_id, display_name, transfer)


def run(args: argparse.Namespace) -> int:
    """Run the demo and return the exit status.

    Raises ``UsageError`` if the picture cannot be written.
    """
    picture = None if args.picture is None else Path(args.picture)
    if picture is not None and not picture.parent.is_dir():
        raise UsageError(f"cannot write {args.picture!r}: its folder does not exist")
    outlet = Outlet(sys.stdout)
    say = (lambda _: None) if args.quiet else outlet.line
    say(f"Five hosts on this machine, {sum(host.files for host in HOSTS)} files, about {span_text(args.seconds)}.\n")
    with Stop() as stop, tempfile.TemporaryDirectory(prefix="haulier-demo-") as folder:
        photographer = Photographer()
        kept, found = _play(args, Path(folder), outlet, stop, photographer)
    if stop.exit_status is not None:
        stderr_line("stopped; the files of the demo are deleted")
        return stop.exit_status
    if picture is not None:
        _save(photographer, picture)
    _print_report(found, outlet, quiet=args.quiet)
    return 0 if kept and not outlet.has_lost_text else 1


def _play(
    args: argparse.Namespace, dest: Path, outlet: Outlet, stop: Stop, photographer: Photographer
) -> tuple[bool, list[Finding]]:
    engine = DownloadEngine()
    tally = Tally(sum(host.files for host in HOSTS))
    view = view_for(outlet, quiet=args.quiet, verbose=args.verbose)
    with Site(args.seconds) as site, HttpFetcher(dest) as fetcher, Follower(engine, tally, view, stop) as follower:
        for host in HOSTS:
            engine.register_source(host.name, policy=_policy(host, args.seconds), impl=_impl(host, fetcher))
        for host in HOSTS:
            for name in host.file_names:
                fields = {"shown": f"{host.name}/{name}", "name": name}
                engine.worker.dispatch(host.name, site.url(host, name), name, "", extra_record_fields=fields)
        follower.wait(photographer.look if args.picture else None, at_most_s=5 * args.seconds + PATIENCE_S)
        stats = engine.stats()
    found = [] if stop.signum else list(findings(site, tally, stats, engine.get_all_downloads(), dest))
    return all(finding.kept for finding in found), found


def _policy(host: Host, length_s: float) -> SourcePolicy:
    return SourcePolicy(
        concurrency=host.concurrency,
        delay=host.delay_share * length_s,
        retry=RetryPolicy(
            stop=tenacity.stop_after_attempt(4),
            wait=tenacity.wait_fixed(0.05 * length_s) + tenacity.wait_random(0, 0.01 * length_s),
        ),
        restart=RestartPolicy(wait=tenacity.wait_fixed(0.05 * length_s)),
    )


def _impl(host: Host, fetcher: HttpFetcher) -> Impl:
    if host.crashes:
        return BuggyPlugin(fetcher, [host.file_name(number) for number in host.crashes])
    return fetcher


def _save(photographer: Photographer, picture: Path) -> None:
    try:
        photographer.save(picture, "haulier demo")
    except OSError as error:
        raise UsageError(f"cannot write {str(picture)!r}: {(error.strerror or 'unknown error').lower()}") from None


def _print_report(found: list[Finding], outlet: Outlet, *, quiet: bool) -> None:
    broken = [finding for finding in found if not finding.kept]
    if quiet:
        for finding in broken:
            stderr_line(f"{finding.about}: {finding.text}")
        return
    console = Console(file=outlet)  # type: ignore[arg-type]  # has all methods that rich uses
    width = min(console.width if outlet.isatty() else WIDEST, WIDEST)
    outlet.line("\nWhat happened:\n")
    for finding in found:
        mark, style = ("✓", "green") if finding.kept else ("✗", "red")
        lines = textwrap.wrap(finding.text, max(20, width - INDENT))
        text = f"\n{'':{INDENT}}".join(lines)
        console.print(Text.assemble((mark, style), (f" {finding.about:<{INDENT - 2}}", "bold"), text), soft_wrap=True)
    outlet.line(
        "\nEvery promise was kept." if not broken else f"\nBroken promises: {', '.join(f.about for f in broken)}."
    )
