"""``haulier get``: URLs in, files out."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote
from time import monotonic
from typing import Any, Final, TypeVar

from haulier._cli.arguments import UsageError
from haulier._cli.display.jsonlines import JsonLines
from haulier._cli.display.tally import Tally
from haulier._cli.display.text import bytes_text, counted, plain, span_text
from haulier._cli.display.views import view_for
from haulier._cli.get.follow import Explainer, Follower, Turns
from haulier._cli.get.places import Place, place_of
from haulier._cli.get.plan import dry_run, raise_file_limit
from haulier._cli.get.settings import ConfigError, Manners, manners_of, read_config
from haulier._cli.get.stored import Kept, impl_of, kept_in, leave_kept, to_store
from haulier._cli.get.wanted import Wanted, read_wanted
from haulier._cli.outlet import Outlet, stderr_line
from haulier._cli.signals import Stop
from haulier._engine.engine import DownloadEngine
from haulier._engine.ticket import Impl
from haulier._engine.worker import Wanted as Dispatched
from haulier.errors import HaulierError
from haulier.fetchers.checksums import Checksum, read_sums
from haulier.fetchers.http import HttpFetcher
from haulier.policies import Retention

__all__ = ["run"]

_T = TypeVar("_T")

MOST_KEPT: Final = 100_000
"""How many that are over a store keeps, as history."""

MOST_UNFINISHED: Final = 20
"""How many are named after Ctrl-C: the first of thousands say it all."""


def run(args: argparse.Namespace) -> int:
    """Download, and return the exit status."""
    place = place_of(args.dest)
    wanted = read_wanted(args.urls, args.input, place, _sums(args, place), args.via, may_be_none=args.store is not None)
    wanted = _with_checksum(wanted, args.checksum)
    config = _checked(lambda: read_config(args.config))
    manners = {source: manners_of(source, args, config) for source in {each.source for each in wanted}}
    outlet = Outlet(sys.stdout)
    if os.path.lexists(place.folder) and not os.path.isdir(place.folder):
        raise UsageError(f"cannot use {place.folder!r} as --dest: it is no folder")
    if args.dry_run:
        return dry_run(wanted, place, manners, outlet, as_json=args.json)
    with ExitStack() as exits:
        stop = exits.enter_context(Stop())
        kept: list[Kept] = []
        engine = None
        if args.store is not None:
            engine = exits.enter_context(_checked(lambda: _engine(args, MOST_KEPT)))
            kept = kept_in(engine)
            manners |= {each.source: manners_of(each.source, args, config) for each in kept}
        kinds = {(each.source, each.is_medium) for each in wanted} | {(each.source, each.is_medium) for each in kept}
        impls = _impls(args, place, kinds, manners, exits)
        _check_folder(place.folder)
        raise_file_limit()
        if engine is None:
            engine = exits.enter_context(_checked(lambda: _engine(args, len(wanted))))
        return _download(args, engine, wanted, kept, manners, impls, place, outlet, stop)


def _engine(args: argparse.Namespace, count: int) -> DownloadEngine:
    retention = Retention(max_terminal=max(10_000, count), max_history=MOST_KEPT)
    return DownloadEngine(retention=retention, trace=args.trace, store=args.store)


def _download(
    args: argparse.Namespace,
    engine: DownloadEngine,
    wanted: list[Wanted],
    kept: list[Kept],
    manners: Mapping[str, Manners],
    impls: Mapping[tuple[str, bool], Impl],
    place: Place,
    outlet: Outlet,
    stop: Stop,
) -> int:
    stored = None if args.store is None else to_store(wanted, kept)
    sources = [each.source for each in kept]
    sources += [each.source for each in wanted] if stored is None else [s for s, new in stored.items() for _ in new]
    tally, started_at = Tally(len(sources)), monotonic()
    lines = JsonLines(outlet)
    quiet = view_for(outlet, quiet=args.quiet or args.json, verbose=args.verbose)
    view = lines if args.json else quiet
    heard = engine.subscribe(lines.hear, capacity=sys.maxsize) if args.json else nullcontext()
    turns = Turns(engine, Counter(sources), args.hosts)
    with heard, Follower(engine, tally, view, stop, turns.ended) as follower:
        for source, each in manners.items():  # from here on what was kept goes on
            impl = None if stored is None else impl_of(source, impls)
            policy = replace(each.policy, resume_interrupted=True)
            engine.register_source(source, policy=policy, impl=impl)
        if stored is None:
            _dispatch(engine, wanted, impls, follower, stop)
        else:
            _dispatch_stored(engine, stored, follower, stop)
        follower.wait(Explainer(view).look if args.explain else None)
    if stored is not None:
        leave_kept(engine, tally)
    took_s = monotonic() - started_at
    if args.json:
        lines.summary(
            total=tally.total,
            done=tally.done,
            already_there=tally.already,
            failed=len(tally.failed),
            unfinished=len(tally.unfinished),
            bytes=tally.bytes_landed,
            seconds=round(took_s, 3),
        )
    elif not args.quiet:
        outlet.line(_summary(tally, place.folder, took_s))
    again = "the same command again" if stored is None else f"haulier get --store {quote(args.store)}"
    for line in _not_here(tally, again):
        stderr_line(plain(line))
    if tally.unfinished:
        return stop.exit_status or 1
    return 1 if tally.failed else 0


def _impls(
    args: argparse.Namespace,
    place: Place,
    kinds: Iterable[tuple[str, bool]],
    manners: Mapping[str, Manners],
    exits: ExitStack,
) -> dict[tuple[str, bool], Impl]:
    """A fetcher for each source, and whether yt-dlp is in it. Those with the same settings share one, and its pace."""
    shared: dict[Any, Any] = {}
    impls: dict[tuple[str, bool], Impl] = {}
    for source, is_medium in kinds:
        settings = manners[source].fetching
        key = is_medium, *settings.items()
        if key not in shared:
            make = partial(_fetcher, args, place, settings, is_medium=is_medium)
            shared[key] = exits.enter_context(_checked(make))
        impls[source, is_medium] = shared[key]
    return impls


def _fetcher(args: argparse.Namespace, place: Place, settings: Mapping[str, Any], *, is_medium: bool) -> Any:
    common = {
        "overwrite": args.overwrite,
        "headers": dict(args.header),
        "proxy": args.proxy,
        "cookies": args.cookies,
        "netrc": args.netrc,
    }
    if is_medium:
        from haulier.fetchers.ytdlp import YtDlpFetcher  # an extra of its own

        return YtDlpFetcher(place.folder, **common, **settings)
    return HttpFetcher(place.folder, ca_certs=args.ca_certs, allow_downgrade=args.allow_downgrade, **common, **settings)


def _checked(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except OSError as error:
        name = f" {str(error.filename)!r}" if error.filename else ""
        raise UsageError(f"cannot read{name}: {(error.strerror or 'it failed').lower()}") from None
    except (ValueError, TypeError, ConfigError, HaulierError, ImportError) as error:
        raise UsageError(str(error)) from None


def _sums(args: argparse.Namespace, place: Place) -> dict[str, Checksum]:
    if args.checksums is None:
        return {}
    try:
        return read_sums(Path(args.checksums).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {args.checksums}: {(error.strerror or 'it failed').lower()}") from None
    except ValueError as error:
        raise UsageError(f"{args.checksums}: {error}") from None


def _with_checksum(wanted: list[Wanted], checksum: str | None) -> list[Wanted]:
    if checksum is None:
        return wanted
    if len(wanted) != 1:
        raise UsageError("--checksum is for a single URL; write checksum=… behind each in a list, or use --checksums")
    text = str(_checked(lambda: Checksum.parse(checksum)))
    return [wanted[0]._replace(request=replace(wanted[0].request, checksum=text))]


def _check_folder(dest: str) -> None:
    try:
        Path(dest).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no folder has such a name"
        raise UsageError(f"cannot use {dest!r} as --dest: {why.lower()}") from None
    if not os.access(dest, os.W_OK | os.X_OK):
        raise UsageError(f"cannot use {dest!r} as --dest: it may not be written to")


def _dispatch(
    engine: DownloadEngine,
    wanted: list[Wanted],
    impls: Mapping[tuple[str, bool], Impl],
    follower: Follower,
    stop: Stop,
) -> None:
    tally = follower.tally
    for source, request, shown, name, is_medium in wanted:
        if stop.signum is not None:
            tally.leave(source, shown)
            continue
        try:
            fields = {"shown": shown, "name": name}
            impl = impls[source, is_medium]
            engine.worker.dispatch(source, request, name, "", impl, extra_record_fields=fields)
        except HaulierError as error:
            tally.refuse(source, shown, str(error))
            follower.ended(source)
        follower.glance()


def _dispatch_stored(
    engine: DownloadEngine, stored: Mapping[str, list[Dispatched]], follower: Follower, stop: Stop
) -> None:
    """One transaction for each source."""
    for source, new in stored.items():
        why = "not stored"
        if stop.signum is None:
            try:
                engine.worker.dispatch_many(source, new)
                continue
            except HaulierError as error:
                why = str(error)
        for each in new:
            shown = (each.extra_record_fields or {})["shown"]
            if stop.signum is not None:
                follower.tally.leave(source, shown)
            else:
                follower.tally.refuse(source, shown, why)
                follower.ended(source)
        follower.glance()


def _summary(tally: Tally, dest: str, took_s: float) -> str:
    parts = [f"{tally.done:,} done"]
    if tally.already:
        parts[0] += f" ({tally.already:,} already there)"
    if tally.failed:
        parts.append(f"{len(tally.failed):,} failed")
    if tally.unfinished:
        parts.append(f"{len(tally.unfinished):,} not finished")
    amount = f"{bytes_text(tally.bytes_landed)} in {span_text(took_s)}"
    return f"{counted(tally.total, 'download')}: {', '.join(parts)}; {amount}, into {dest}"


def _not_here(tally: Tally, again: str) -> Iterator[str]:
    """What failed, all of it with the reason, and what was not finished."""
    if tally.failed:
        yield f"{len(tally.failed):,} failed:"
    for ended in tally.failed:
        tries = f" ({ended.attempts} attempts)" if ended.attempts > 1 else ""
        yield f"  {ended.shown}: {ended.reason}{tries}"
    if tally.unfinished:
        yield f"stopped, {len(tally.unfinished):,} not finished ({again} goes on with them):"
    begun_first = sorted(tally.unfinished, key=lambda ended: ended.attempts == 0)
    for ended in begun_first[:MOST_UNFINISHED]:
        yield f"  {ended.shown}" + (f" (at {ended.progress:.0f} %)" if ended.attempts else "")
    if len(begun_first) > MOST_UNFINISHED:
        yield f"  … and {len(begun_first) - MOST_UNFINISHED:,} more"
