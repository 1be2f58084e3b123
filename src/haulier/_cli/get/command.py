"""``haulier get``: read the arguments, start an engine, download, and print a summary."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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
from haulier._cli.display.text import plain
from haulier._cli.display.views import view_for
from haulier._cli.get.ending import not_checked, not_done, summary
from haulier._cli.get.follow import Explainer, Follower, Turns
from haulier._cli.get.places import Place, place_of
from haulier._cli.get.plan import dry_run, raise_file_limit
from haulier._cli.get.planned import PlannedDownload, read_downloads
from haulier._cli.get.settings import ConfigError, SourceSettings, read_config, settings_of
from haulier._cli.get.stored import Kept, impl_of, kept_in, leave_kept, to_store
from haulier._cli.outlet import Outlet, Warnings, stderr_line
from haulier._cli.signals import Stop
from haulier._engine.engine import DownloadEngine
from haulier._engine.ticket import Impl
from haulier._engine.worker import Wanted as Dispatched
from haulier.errors import HaulierError
from haulier.fetchers.access import proxy_for
from haulier.fetchers.checksums import Checksum, read_sums
from haulier.fetchers.http import HostLimits, HttpFetcher, Sums
from haulier.fetchers.texts import read_text
from haulier.fetchers.urls import Target
from haulier.policies import Retention

__all__ = ["run"]

_T = TypeVar("_T")

MOST_KEPT: Final = 100_000
"""How many ended downloads a store keeps as history."""


def run(args: argparse.Namespace) -> int:
    """Download, and return the exit status."""
    Warnings("haulier.fetchers.filenames", quiet=bool(args.verbose))
    lost_trace = Warnings("haulier.trace", quiet=bool(args.verbose))
    place = place_of(args.dest)
    sums = _sums(args)
    planned = read_downloads(
        args.urls, args.input, place, sums or Sums({}), args.via, may_be_none=args.store is not None
    )
    planned = _with_checksum(planned, args.checksum)
    _check_store(args.store, may_be_new=bool(planned))
    if args.proxy is None:
        _checked(lambda: [proxy_for(target, None) for target in _hosts(planned)])
    config = _checked(lambda: read_config(args.config))
    settings = {source: settings_of(source, args, config) for source in {each.source for each in planned}}
    outlet = Outlet(sys.stdout)
    if os.path.lexists(place.folder) and not os.path.isdir(place.folder):
        raise UsageError(f"cannot use {place.folder!r} as --dest: it is not a folder")
    if args.dry_run:
        return dry_run(planned, place, settings, outlet, as_json=args.json)
    with ExitStack() as exits:
        stop = exits.enter_context(Stop())
        kept: list[Kept] = []
        engine = None
        if args.store is not None:
            engine = exits.enter_context(_checked(lambda: _engine(args, MOST_KEPT)))
            kept = kept_in(engine)
            settings |= {each.source: settings_of(each.source, args, config) for each in kept}
        kinds = {(each.source, each.is_medium) for each in planned} | {(each.source, each.is_medium) for each in kept}
        limits = HostLimits(lambda host: settings_of(host, args, config).policy)
        impls = _impls(args, place, sums, kinds, settings, limits, exits)
        _check_folder(place.folder)
        raise_file_limit()
        if engine is None:
            engine = exits.enter_context(_checked(lambda: _engine(args, len(planned))))
        status = _download(args, engine, planned, kept, settings, impls, place, outlet, stop)
        return status or int(lost_trace.count > 0)


def _hosts(planned: Iterable[PlannedDownload]) -> Iterable[Target]:
    """One target for each scheme and host: which proxy leads to it depends on nothing else."""
    targets = (Target.parse(each.request.url) for each in planned)
    return {(each.scheme, each.host, each.port): each for each in targets}.values()


def _engine(args: argparse.Namespace, count: int) -> DownloadEngine:
    retention = Retention(max_terminal=max(10_000, count), max_history=MOST_KEPT)
    try:
        return DownloadEngine(retention=retention, trace=args.trace, store=args.store)
    except OSError as error:
        if args.trace is None:
            raise
        why = (error.strerror or "unknown error").lower()
        if not os.path.isdir(os.path.dirname(args.trace) or "."):
            why = "its folder does not exist"
        raise UsageError(f"cannot write {args.trace!r} for --trace: {why}") from None


def _download(
    args: argparse.Namespace,
    engine: DownloadEngine,
    planned: list[PlannedDownload],
    kept: list[Kept],
    settings: Mapping[str, SourceSettings],
    impls: Mapping[tuple[str, bool], Impl],
    place: Place,
    outlet: Outlet,
    stop: Stop,
) -> int:
    stored = None if args.store is None else to_store(planned, kept)
    sources = [each.source for each in kept]
    sources += [each.source for each in planned] if stored is None else [s for s, new in stored.items() for _ in new]
    tally, started_at = Tally(len(sources)), monotonic()
    lines = JsonLines(outlet)
    quiet = view_for(outlet, quiet=args.quiet or args.json, verbose=args.verbose)
    view = lines if args.json else quiet
    subscription = engine.subscribe(lines.on_event, capacity=sys.maxsize) if args.json else nullcontext()
    turns = Turns(engine, Counter(sources), args.hosts)
    with subscription, Follower(engine, tally, view, stop, turns.ended, place.folder) as follower:
        for source, each in settings.items():  # the stored downloads of a source resume when it is registered
            impl = None if stored is None else impl_of(source, impls)
            policy = replace(each.policy, resume_interrupted=True)
            engine.register_source(source, policy=policy, impl=impl)
        if stored is None:
            _dispatch(engine, planned, impls, follower, stop)
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
            already_there=tally.already_there,
            failed=len(tally.failed),
            unfinished=len(tally.unfinished),
            bytes=tally.bytes_done,
            seconds=round(took_s, 3),
        )
    elif not args.quiet:
        outlet.line(summary(tally, place.folder, took_s))
    again = "run the same command again" if stored is None else f"run haulier get --store {quote(args.store)}"
    for line in (*not_checked(tally, args.checksums), *not_done(tally, again)):
        stderr_line(plain(line))
    if tally.unfinished:
        return stop.exit_status or 1
    return 1 if tally.failed or outlet.has_lost_text else 0


def _impls(
    args: argparse.Namespace,
    place: Place,
    sums: Sums | None,
    kinds: Iterable[tuple[str, bool]],
    settings: Mapping[str, SourceSettings],
    limits: HostLimits,
    exits: ExitStack,
) -> dict[tuple[str, bool], Impl]:
    """The fetcher for each pair in ``kinds``: a source, and whether yt-dlp fetches.

    Sources with the same settings share a fetcher, and so its ``limit_rate``.
    """
    shared: dict[Any, Any] = {}
    impls: dict[tuple[str, bool], Impl] = {}
    for source, is_medium in kinds:
        options = settings[source].fetching
        key = is_medium, *options.items()
        if key not in shared:
            make = partial(_fetcher, args, place, sums, options, limits, is_medium=is_medium)
            shared[key] = exits.enter_context(_checked(make))
        impls[source, is_medium] = shared[key]
    return impls


def _fetcher(
    args: argparse.Namespace,
    place: Place,
    sums: Sums | None,
    options: Mapping[str, Any],
    limits: HostLimits,
    *,
    is_medium: bool,
) -> Any:
    common = {
        "checksums": sums,
        "overwrite": args.overwrite,
        "headers": dict(args.header),
        "proxy": args.proxy,
        "cookies": args.cookies,
        "netrc": args.netrc,
    }
    if is_medium:
        from haulier.fetchers.ytdlp import YtDlpFetcher  # needs haulier[ytdlp]

        return YtDlpFetcher(place.folder, **common, **options)
    return HttpFetcher(
        place.folder,
        ca_certs=args.ca_certs,
        allow_downgrade=args.allow_downgrade,
        host_limits=limits,
        **common,
        **options,
    )


def _checked(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except OSError as error:
        name = f" {str(error.filename)!r}" if error.filename else ""
        raise UsageError(f"cannot open{name}: {(error.strerror or 'unknown error').lower()}") from None
    except (ValueError, TypeError, ConfigError, HaulierError, ImportError) as error:
        raise UsageError(str(error)) from None


def _sums(args: argparse.Namespace) -> Sums | None:
    if args.checksums is None:
        if args.checksums_required:
            raise UsageError("--checksums-required needs --checksums FILE")
        return None
    try:
        text = read_text(args.checksums)
    except OSError as error:
        raise UsageError(f"cannot read {args.checksums}: {(error.strerror or 'unknown error').lower()}") from None
    except ValueError as error:
        raise UsageError(f"cannot read {args.checksums}: {error}") from None
    try:
        return Sums(read_sums(text), required=args.checksums_required)
    except ValueError as error:
        raise UsageError(f"{args.checksums}: {error}") from None


def _with_checksum(planned: list[PlannedDownload], checksum: str | None) -> list[PlannedDownload]:
    if checksum is None:
        return planned
    if len(planned) != 1:
        raise UsageError(
            "--checksum needs exactly one URL; for several, write checksum=… in a list, or use --checksums"
        )
    text = str(_checked(lambda: Checksum.parse(checksum)))
    return [planned[0]._replace(request=replace(planned[0].request, checksum=text))]


def _check_store(store: str | None, *, may_be_new: bool) -> None:
    """Raise ``UsageError`` if the file cannot be a store. ``may_be_new``: whether there is anything to put into it."""
    if store is None or "://" in store:
        return
    if os.path.isdir(store):
        raise UsageError(f"cannot use {store!r} as --store: it is a folder; give the name of a file")
    if not may_be_new and not os.path.lexists(store):
        raise UsageError(f"cannot resume from {store!r}: there is no such file; give URLs to create it")


def _check_folder(dest: str) -> None:
    try:
        Path(dest).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "a folder cannot have that name"
        raise UsageError(f"cannot use {dest!r} as --dest: {why.lower()}") from None
    if not os.access(dest, os.W_OK | os.X_OK):
        raise UsageError(f"cannot use {dest!r} as --dest: it is not writable")


def _dispatch(
    engine: DownloadEngine,
    planned: list[PlannedDownload],
    impls: Mapping[tuple[str, bool], Impl],
    follower: Follower,
    stop: Stop,
) -> None:
    tally = follower.tally
    for source, request, shown, name, is_medium in planned:
        if stop.signum is not None:
            tally.add_unfinished(source, shown)
            continue
        try:
            fields = {"shown": shown, "name": name}
            impl = impls[source, is_medium]
            engine.worker.dispatch(source, request, name, "", impl, extra_record_fields=fields)
        except HaulierError as error:
            tally.add_refused(source, shown, str(error))
            follower.ended(source)
        follower.glance()


def _dispatch_stored(
    engine: DownloadEngine, stored: Mapping[str, list[Dispatched]], follower: Follower, stop: Stop
) -> None:
    """Queue the new downloads in the store, in one transaction for each source."""
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
                follower.tally.add_unfinished(source, shown)
            else:
                follower.tally.add_refused(source, shown, why)
                follower.ended(source)
        follower.glance()
