"""``haulier get``: URLs in, files out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Final

import tenacity

from haulier.cli.arguments import UsageError
from haulier.cli.follow import Follower
from haulier.cli.outlet import Outlet, stderr_line
from haulier.cli.signals import Stop
from haulier.cli.tally import Tally
from haulier.cli.views import view_for
from haulier.cli.wanted import Wanted, read_wanted
from haulier.cli.words import bytes_text, counted, span_text
from haulier.engine import DownloadEngine
from haulier.errors import HaulierError
from haulier.fetchers.http import HttpFetcher
from haulier.policies import Retention, RetryPolicy, SourcePolicy

__all__ = ["run"]

MOST_UNFINISHED: Final = 20
"""How many are named after Ctrl-C: the first of thousands say it all."""


def run(args: argparse.Namespace) -> int:
    """Download, and return the exit status."""
    wanted = read_wanted(args.urls, args.input)
    _check_folder(args.dest)
    outlet = Outlet(sys.stdout)
    tally = Tally(len(wanted))
    started_at = monotonic()
    view = view_for(outlet, quiet=args.quiet, verbose=args.verbose)
    engine = DownloadEngine(retention=Retention(max_terminal=max(10_000, len(wanted))))
    with Stop() as stop:
        with HttpFetcher(args.dest, timeout=args.timeout) as fetcher, Follower(engine, tally, view, stop) as follower:
            _register(engine, {each.source for each in wanted}, fetcher, args)
            _dispatch(engine, wanted, follower, stop)
            follower.wait()
        if not args.quiet:
            outlet.line(_summary(tally, args.dest, monotonic() - started_at))
        for line in _not_here(tally):
            stderr_line(line)
        if tally.unfinished:
            return stop.exit_status or 1
        return 1 if tally.failed else 0


def _check_folder(dest: str) -> None:
    try:
        Path(dest).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot use {dest!r} as --dest: {(error.strerror or 'it failed').lower()}") from None
    if not os.access(dest, os.W_OK | os.X_OK):
        raise UsageError(f"cannot use {dest!r} as --dest: it may not be written to")


def _register(engine: DownloadEngine, sources: set[str], fetcher: HttpFetcher, args: argparse.Namespace) -> None:
    policy = SourcePolicy(
        concurrency=args.concurrency,
        delay=args.delay,
        retry=RetryPolicy(
            stop=tenacity.stop_after_attempt(args.retries + 1),
            wait=tenacity.wait_exponential_jitter(max=60),
        ),
    )
    for source in sources:
        engine.register_source(source, policy=policy, impl=fetcher)


def _dispatch(engine: DownloadEngine, wanted: list[Wanted], follower: Follower, stop: Stop) -> None:
    tally = follower.tally
    for source, url, shown, name in wanted:
        if stop.signum is not None:
            tally.leave(source, shown)
            continue
        try:
            fields = {"shown": shown, "name": name}
            engine.worker.dispatch(source, url, name, "", extra_record_fields=fields)
        except HaulierError as error:
            tally.refuse(source, shown, str(error))
        follower.glance()


def _summary(tally: Tally, dest: str, took_s: float) -> str:
    parts = [f"{tally.done:,} done"]
    if tally.failed:
        parts.append(f"{len(tally.failed):,} failed")
    if tally.unfinished:
        parts.append(f"{len(tally.unfinished):,} not finished")
    amount = f"{bytes_text(tally.bytes_landed)} in {span_text(took_s)}"
    return f"{counted(tally.total, 'download')}: {', '.join(parts)}; {amount}, into {dest}"


def _not_here(tally: Tally) -> Iterator[str]:
    """What failed, all of it with the reason, and what was not finished."""
    if tally.failed:
        yield f"{len(tally.failed):,} failed:"
    for ended in tally.failed:
        tries = f" ({ended.attempts} attempts)" if ended.attempts > 1 else ""
        yield f"  {ended.shown}: {ended.reason}{tries}"
    if tally.unfinished:
        yield f"stopped, {len(tally.unfinished):,} not finished:"
    begun_first = sorted(tally.unfinished, key=lambda ended: ended.attempts == 0)
    for ended in begun_first[:MOST_UNFINISHED]:
        yield f"  {ended.shown}" + (f" (at {ended.progress:.0f} %)" if ended.attempts else "")
    if len(begun_first) > MOST_UNFINISHED:
        yield f"  … and {len(begun_first) - MOST_UNFINISHED:,} more"
