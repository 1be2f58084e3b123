"""One round: an engine, everybody who wants something of it, its end, and what is left."""

from __future__ import annotations

import faulthandler
import gc
import logging
import sys
import threading
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pykka
from tests.chaos.audit import audit_counts, audit_files, audit_records, audit_trace
from tests.chaos.books import Books, Promise
from tests.chaos.callers import Caller
from tests.chaos.calls import Calls
from tests.chaos.endings import end, settle
from tests.chaos.harm import Killed, Killer, clock_patched, sabotaged, unaudited
from tests.chaos.impls import Impls
from tests.chaos.loops import Loop
from tests.chaos.plan import Deed, Errand, Plan
from tests.chaos.strangers import Strangers
from tests.chaos.world import CLOSER, GUARD_S, World, doze

from haulier import DownloadEngine, Retention
from haulier._engine.core.entry import view

__all__ = ["play"]


def play(plan: Plan, folder: Path, *, anywhere: bool = False) -> Books:
    """Play a round, with its files and its trace in ``folder``; the books of it. ``anywhere``: see ``harm.Killer``."""
    world = World(plan, folder)
    with (
        _overheard(world.books, plan.verbose, anywhere),
        clock_patched(world.clock),
        nullcontext() if anywhere else unaudited(),
    ):
        _play(world, folder / "trace" if plan.traced else None, anywhere)
    return world.books


def _play(world: World, trace: Path | None, anywhere: bool) -> None:
    plan, books = world.plan, world.books
    before = set(threading.enumerate())
    retention = Retention(plan.max_terminal, plan.max_age)
    world.engine = DownloadEngine(retention=retention, idle_timeout=plan.idle_timeout, trace=trace)
    ledger = world.engine._system.ledger  # nobody else can be asked once the engine is dropped
    calls = Calls(world, Impls(world).forms)
    _meet(calls)
    # Not before: to meet, as many had to run at once as each source may.
    world.engine.max_running = books.max_running = plan.max_running
    with sabotaged(books, plan.sabotage):
        _let_loose(calls, anywhere)
        if plan.settles:
            settle(calls)
        end(calls, plan.ending)
        world.let_go.set()
        gc.collect()  # the threads of an asyncio face end with it
        _join_all_but(books, before)
    if world.engine is None:
        records = [view(held) for bucket in ledger.table.buckets.values() for held in bucket.values()]
    else:
        records = world.engine.get_all_downloads()
    audit_records(records, books, plan)
    audit_counts(ledger.counts, books)
    audit_files(books, plan)
    if trace is not None:
        audit_trace(trace, books, anywhere)
    for actor in pykka.ActorRegistry.get_all():
        books.blame("left", f"{actor} is left in pykka's registry")


def _meet(calls: Calls) -> None:
    """Register every source, and have as many run at once as may, before anybody interferes."""
    calls.engine.register_source(CLOSER, impl=calls.forms.plain)
    for setup in calls.world.plan.sources:
        calls.engine.register_source(setup.name, aliases=(f"{setup.name} too",))
        peaceful = replace(setup, timeout=None, stall_timeout=None, max_queued=None)
        calls.engine.register_source(setup.name, peaceful.policy(), calls.forms.plain)
        errand = Errand(-2, (Deed("meet", 0.0, 0.0),), 0)
        ids = [calls.dispatch(setup.name, replace(errand, form=form)) for form in range(setup.concurrency)]
        calls.wait([each for each in ids if each is not None], GUARD_S)
        calls.engine.register_source(setup.name, setup.policy())


def _let_loose(calls: Calls, anywhere: bool) -> None:
    plan, books = calls.world.plan, calls.books
    killer = Killer(books, plan.kills, anywhere)
    callers = {"strangers": Strangers(books, plan.strangers).run, "loop": Loop(calls, plan.loops).run}
    for number, actions in enumerate(plan.callers):
        name = f"caller {number}"
        callers[name] = Caller(calls, name, actions, plan.closes_at if number == 0 else None).run
    threads = [threading.Thread(target=run, name=f"chaos {name}", daemon=True) for name, run in callers.items()]
    kills = threading.Thread(target=killer.run, name="chaos killer", daemon=True)
    for thread in (kills, *threads):
        thread.start()
    _join(books, threads, "hang")
    killer.over.set()
    _join(books, [kills], "hang")


def _join(books: Books, threads: Collection[threading.Thread], promise: Promise) -> None:
    """Wait for threads; where one does not end, say where everybody is."""
    deadline = monotonic() + GUARD_S
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
        if thread.is_alive():
            faulthandler.dump_traceback(sys.__stderr__ or 2)
            books.blame(promise, f"{thread.name} does not end")
            return


def _join_all_but(books: Books, before: Collection[threading.Thread]) -> None:
    """Wait for whatever came since; a thread that ends may have started another one."""
    deadline = monotonic() + GUARD_S
    while came := set(threading.enumerate()).difference(before):
        started = [thread for thread in came if thread.ident is not None]
        _join(books, started, "left")
        if any(thread.is_alive() for thread in started) or monotonic() > deadline:
            return
        doze(0.001)


# ---- what is logged --------------------------------------------------------------------------------------------------


UNHEARD_OF = ("could not handle message", "without a report", "a step was interrupted", "cannot start a successor")
"""What the engine can get over, and still has no cause to say where threads are killed only while they wait."""


class _Ears(logging.Handler):
    """Hears what haulier and pykka log, and what of it must never be said."""

    def __init__(self, books: Books, forgiving: bool) -> None:
        super().__init__()
        self._books, self._forgiving = books, forgiving

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        text = record.getMessage()
        self._books.count("lines logged")
        if self._forgiving:
            return
        by_store = record.name == "haulier.store" and record.levelno >= logging.WARNING
        if by_store or record.levelno >= logging.CRITICAL or any(each in text for each in UNHEARD_OF):
            self._books.blame("raised", f"logged: {self.format(record)}")


@contextmanager
def _overheard(books: Books, verbose: bool, forgiving: bool) -> Iterator[None]:
    """What is logged, and what nobody catches, comes to the books alone."""
    ears = _Ears(books, forgiving)
    loggers = [logging.getLogger("haulier"), logging.getLogger("pykka")]
    kept = [(logger.propagate, logger.level) for logger in loggers]
    hooks = threading.excepthook, sys.unraisablehook

    def uncaught(args: Any) -> None:
        if forgiving and args.exc_type is Killed:
            return
        text = "".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback))
        books.blame("raised", f"nobody caught\n{text}")

    threading.excepthook = sys.unraisablehook = uncaught
    for logger in loggers:
        logger.addHandler(ears)
        logger.propagate = False
    loggers[0].setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        for logger, (propagate, level) in zip(loggers, kept, strict=True):
            logger.removeHandler(ears)
            logger.propagate = propagate
            logger.setLevel(level)
