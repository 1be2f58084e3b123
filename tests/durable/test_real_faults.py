"""A database that goes away under a running engine and comes back: PostgreSQL stopped, a disk that is full, a file that
is made read-only, damaged or emptied."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, TypeAlias

import pytest
from tests.waiting import Gatekeeper

from haulier import DownloadEngine, StoreLocked, StoreUnavailable, Wanted
from haulier.verify import verify

Harm: TypeAlias = Callable[[Path], Callable[[], object]]
"""Does something to a file, and returns what undoes it."""

GUARD_S = 30.0

pytestmark = [pytest.mark.timeout(120), pytest.mark.expect_errors("the store cannot write; trying again", "died")]


def fetch(*_: Any) -> str:
    """An impl that can be found again."""
    return "/x"


def refused(engine: DownloadEngine, tries: bool = False) -> None:
    """Dispatch raises, and by and by says so at once; ``tries``: it is tried each time, as if that were due."""
    store: Any = engine._system.store
    for _ in range(3):
        if tries:
            store._retry_at = 0.0
        with pytest.raises(StoreUnavailable):
            engine.worker.dispatch("s", 1, "n", "f", fetch)


def accepted(engine: DownloadEngine) -> str:
    """Dispatch once the store is well again."""
    until, tick = monotonic() + GUARD_S, Event()
    while True:
        try:
            return engine.worker.dispatch("s", 1, "n", "f", fetch)
        except StoreUnavailable:
            assert monotonic() < until, "it never writes again"
            tick.wait(0.05)


def test_postgres_is_stopped_and_started_again(
    make_engine: Any, postgres: Any, gatekeeper: Gatekeeper, tmp_path: Path
) -> None:
    name, trace = postgres.name(), tmp_path / "trace"
    engine = make_engine(store=postgres.url(), name=name, trace=trace)
    with pytest.raises(StoreLocked):
        DownloadEngine(store=postgres.url(), name=name)
    engine.register_source("runs", impl=gatekeeper)
    running = engine.worker.dispatch("runs", 1, "n", "f")
    before = engine.worker.dispatch_many("s", [Wanted(n, "n", "f") for n in range(50)], fetch)
    assert {record["phase"] for record in engine.as_completed(before, GUARD_S)} == {"succeeded"}
    gatekeeper.wait_inside()
    postgres.stop("immediate")
    try:
        refused(engine)
        gatekeeper.open()
        assert engine.wait(running, GUARD_S)["phase"] == "succeeded"
    finally:
        postgres.start()
    after = accepted(engine)
    assert engine.wait(after, GUARD_S)["phase"] == "succeeded"
    engine.close(timeout=GUARD_S)
    again = make_engine(store=postgres.url(), name=name, trace=trace)
    records = {record["id"]: record["phase"] for record in again.get_all_downloads()}
    assert records == dict.fromkeys([running, *before, after], "succeeded")
    again.close()
    with trace.open() as lines:
        assert verify(lines).open == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", str(place)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_said_and_room_is_used_again(small_disk: Path, make_engine: Any, gatekeeper: Gatekeeper) -> None:
    ballast, path = small_disk / "ballast", small_disk / "haulier.db"
    ballast.write_bytes(bytes(2_800_000))
    engine = make_engine(store=path)
    engine.register_source("runs", impl=gatekeeper)
    running = engine.worker.dispatch("runs", 1, "n", "f")
    gatekeeper.wait_inside()
    engine.register_source("s")
    engine.pause("s")
    taken: list[str] = []
    with pytest.raises(StoreUnavailable, match="disk"):  # noqa: PT012 - one of these
        while True:
            taken += engine.worker.dispatch_many("s", [Wanted(n, "n" * 500, "f") for n in range(20)], fetch)
    gatekeeper.open()
    assert engine.wait(running, GUARD_S)["phase"] == "succeeded"
    ballast.unlink()
    last = accepted(engine)
    engine.resume("s")
    assert {record["phase"] for record in engine.as_completed([*taken, last], GUARD_S)} == {"succeeded"}
    engine.close(timeout=GUARD_S)
    again = make_engine(store=path)
    assert {record["id"] for record in again.get_all_downloads()} == {running, *taken, last}
    assert {record["phase"] for record in again.get_all_downloads()} == {"succeeded"}
    again.close()


# ---- a file that somebody meddles with -------------------------------------------------------------------------------


def make_read_only(path: Path) -> Callable[[], object]:
    """For root, too, whom rights do not bind."""
    files = [str(path), f"{path}-wal"]
    if shutil.which("chattr") is None:
        pytest.skip("no chattr here")
    done = subprocess.run(["chattr", "+i", *files], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"chattr +i is not allowed here: {done.stderr.strip()}")
    return lambda: subprocess.run(["chattr", "-i", *files], check=True)


def damage(path: Path) -> Callable[[], object]:
    good = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(0).randbytes(len(good) - 4096))
    return lambda: path.write_bytes(good)


def empty(path: Path) -> Callable[[], object]:
    good = path.read_bytes()
    os.truncate(path, 0)
    return lambda: path.write_bytes(good)


@pytest.mark.parametrize("harm", [make_read_only, damage, empty])
def test_a_file_is_harmed_and_mended(harm: Harm, make_engine: Any, gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    path, trace = tmp_path / "haulier.db", tmp_path / "trace"
    engine = make_engine(store=path, trace=trace)
    engine.register_source("runs", impl=gatekeeper)
    running = engine.worker.dispatch("runs", 1, "n", "f")
    gatekeeper.wait_inside()
    engine.register_source("s")
    engine.pause("s")
    waiting = engine.worker.dispatch_many("s", [Wanted(n, "n" * 500, "f") for n in range(300)], fetch)
    connection = engine._system.store.storage._connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that all is in the file
    connection.execute("PRAGMA shrink_memory")  # and not in memory: a page that is there is not read again
    mend = harm(path)
    try:
        harmed = path.read_bytes()
        refused(engine, tries=True)
        gatekeeper.open()
        assert engine.wait(running, GUARD_S)["phase"] == "succeeded"
        with pytest.raises(StoreUnavailable, match="cancelled in this engine"):
            engine.cancel_download(waiting[0])
        until, tick = monotonic() + GUARD_S, Event()
        while "store" not in engine._system.mailboxes["s"].source.gate.holds:  # the supervisor has been told
            assert monotonic() < until, "nobody holds the source back"
            tick.wait(0.001)
        engine.resume("s")
        refused(engine, tries=True)
        assert [engine.explain(each)["reason"] for each in waiting[1:3]] == ["store", "store"]
        assert path.read_bytes()[4096:] == harmed[4096:], "somebody may want to save what is left of it"
    finally:
        mend()
    engine._system.store._retry_at = 0.0
    last = accepted(engine)
    assert {record["phase"] for record in engine.as_completed([*waiting[1:], last], GUARD_S)} == {"succeeded"}
    engine.close(timeout=GUARD_S)
    again = make_engine(store=path, trace=trace)
    records = {record["id"]: record["phase"] for record in again.get_all_downloads()}
    assert records == dict.fromkeys([running, *waiting, last], "succeeded") | {waiting[0]: "cancelled"}
    again.close()
    with trace.open() as lines:
        assert verify(lines).open == 0


@pytest.mark.expect_errors("the store cannot write; trying again", "the last changes are lost")
def test_a_file_that_nobody_mends_is_left_as_it_is_and_refused(make_engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "haulier.db"
    engine = make_engine(store=path)
    engine.register_source("s")
    engine.pause("s")
    waiting = engine.worker.dispatch_many("s", [Wanted(n, "n" * 500, "f") for n in range(300)], fetch)
    connection = engine._system.store.storage._connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA shrink_memory")
    damage(path)
    harmed = path.read_bytes()
    refused(engine, tries=True)
    with pytest.raises(StoreUnavailable, match="cancelled in this engine"):
        engine.cancel_download(waiting[0])
    engine.close(timeout=GUARD_S)
    assert path.read_bytes()[4096:] == harmed[4096:]
    with pytest.raises(StoreUnavailable, match="damaged"):
        DownloadEngine(store=path)
    assert path.read_bytes()[4096:] == harmed[4096:]
