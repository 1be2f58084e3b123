"""PostgreSQL: a server that is stopped and started, and the lock on the database."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from tests.storage.stored import stored_ids
from tests.storage.wire import Wire

from haulier import StoreLocked, StoreUnavailable
from haulier._engine.storage import Batch, GateRow, Storage, open_storage
from haulier._engine.storage.line import Line

GUARD_S = 20.0


def backend(storage: Any) -> int:
    return int(storage._connection.info.backend_pid)


# ---- the server goes and comes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_stopped_and_started_again(
    postgres: Any, opened: Callable[..., Storage], make: Any, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    postgres.stop(mode)
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="in the PostgreSQL database"):
                storage.write(Batch(added=[make.row("tidal", "b", 2)]))
        with pytest.raises(StoreUnavailable):
            stored_ids(storage)
        with pytest.raises(StoreUnavailable):
            opened(name="another")
    finally:
        postgres.start()
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert stored_ids(storage) == ["a", "b"]
    with pytest.raises(StoreLocked):
        opened()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_between_two_writes_is_not_noticed(
    postgres: Any, opened: Callable[..., Storage], make: Any, mode: str
) -> None:
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    postgres.stop(mode)
    postgres.start()
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert stored_ids(storage) == ["a", "b"]


def test_a_storage_that_gave_up_on_its_server_is_of_no_more_use(opened: Callable[..., Any], make: Any) -> None:
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    storage.interrupt()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="did not answer when the engine was closed: gave up on it"):
            storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    storage.close()
    assert stored_ids(opened()) == ["a"]


@pytest.mark.parametrize("while_it_connects", [False, True])
def test_giving_up_on_a_server_that_is_just_reached(
    postgres: Any, while_it_connects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that comes too late is closed."""
    line, came = Line(), Event()

    def connect() -> Any:
        connection = psycopg.connect(postgres.url(), autocommit=True)
        if while_it_connects:
            line.cut()
        came.set()
        return connection

    if while_it_connects:
        with pytest.raises(psycopg.OperationalError, match="gave up on a server"):
            line.dial(connect)
    else:
        connection = line.dial(connect)
        line.cut()
        line.hold(connection)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()
        line.let_go()
    assert came.wait(GUARD_S)
    with pytest.raises(psycopg.OperationalError, match="gave up on a server"):
        line.dial(connect)
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    with pytest.raises(psycopg.OperationalError, match="cannot connect: can't start new thread"):
        Line().dial(connect)


def _no_thread(_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_close_without_a_server(postgres: Any, opened: Callable[..., Storage]) -> None:
    storage = opened()
    postgres.stop("immediate")
    try:
        storage.close()
    finally:
        postgres.start()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        open_storage(f"postgresql://haulier@/postgres?host={tmp_path}")


def test_a_database_that_is_not_there(postgres: Any) -> None:
    with pytest.raises(StoreUnavailable, match='database "no_such" does not exist'):
        open_storage(postgres.url("no_such"))


# ---- the lock --------------------------------------------------------------------------------------------------------


def test_two_names_side_by_side(opened: Callable[..., Storage], database_name: str, make: Any) -> None:
    one, other = opened(), opened(name=f"{database_name}-b")
    one.write(Batch(added=[make.row("tidal", "a", 1)], gates=[GateRow("tidal", 1.0, None, True)]))
    other.write(Batch(added=[make.row("tidal", "a", 1), make.row("tidal", "b", 2)]))
    assert (stored_ids(one), stored_ids(other)) == (["a"], ["a", "b"])
    assert (len(one.load().gates), len(other.load().gates)) == (1, 0)


def test_the_same_name_twice_says_who_has_it(opened: Callable[..., Storage], database_name: str) -> None:
    opened()
    with pytest.raises(StoreLocked, match=rf"the engine '{database_name}' .* haulier {database_name}, process \d+ on"):
        opened()


def test_a_session_that_is_ended_is_opened_again_with_its_lock(
    opened: Callable[..., Any], admin: psycopg.Connection[Any], make: Any
) -> None:
    storage = opened()
    first = backend(storage)
    admin.execute("SELECT pg_terminate_backend(%s)", (first,))
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    assert backend(storage) != first
    with pytest.raises(StoreLocked):
        opened()
    assert stored_ids(storage) == ["a"]


def test_one_that_lost_its_lock_to_another_engine_writes_no_more(
    opened: Callable[..., Any], admin: psycopg.Connection[Any], make: Any
) -> None:
    storage = opened()
    admin.execute("SELECT pg_terminate_backend(%s)", (backend(storage),))
    other = opened()
    with pytest.raises(StoreLocked, match="is in use by another engine"):
        storage.write(Batch(added=[make.row("tidal", "late", 1)]))
    other.write(Batch(added=[make.row("tidal", "a", 1)]))
    other.close()
    for _ in range(2):  # what it knows is older than what is there
        with pytest.raises(StoreLocked, match="out of date"):
            storage.write(Batch(added=[make.row("tidal", "late", 1)]))
    assert stored_ids(opened()) == ["a"]


def test_a_network_that_fails_does_not_lock_an_engine_out_of_its_own_storage(
    postgres: Any, opened: Callable[..., Any], admin: psycopg.Connection[Any], make: Any, tmp_path_factory: Any
) -> None:
    [(port,)] = admin.execute("SELECT current_setting('port')").fetchall()
    folder = tmp_path_factory.mktemp("w")
    wire = Wire(folder, postgres.folder / f".s.PGSQL.{port}")
    try:
        storage = opened(postgres.url(host=folder))
        storage.write(Batch(added=[make.row("tidal", "a", 1)]))
        first = backend(storage)
        wire.cut()
        assert admin.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (first,)).fetchall() == [(1,)]
        storage.write(Batch(added=[make.row("tidal", "b", 2)]))
        assert backend(storage) != first
        assert stored_ids(storage) == ["a", "b"]
        assert admin.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (first,)).fetchall() == [(0,)]
        storage.close()
    finally:
        wire.close()
