"""What is particular to PostgreSQL: a server that goes and comes, sessions, schemas, passwords."""

from __future__ import annotations

import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from haulier import StoreLocked, StoreUnavailable
from haulier._engine.storage import Batch, GateRow, Storage, open_storage, sql

GUARD_S = 20.0


@pytest.fixture
def admin(postgres: Any) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection of the tests' own."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def name(postgres: Any) -> str:
    return str(postgres.name())


@pytest.fixture
def opened(postgres: Any, name: str) -> Iterator[Callable[..., Any]]:
    """``opened()``: an open storage of the name, closed at the end."""
    storages: list[Storage] = []

    def open_it(where: str | None = None, name: str = name, **options: Any) -> Any:
        storages.append(open_storage(where or postgres.url(), name, **options))
        return storages[-1]

    yield open_it
    for storage in storages:
        storage.close()


def ids(storage: Storage) -> list[str]:
    return [row.id for row in storage.load().rows]


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
            ids(storage)
        with pytest.raises(StoreUnavailable):
            opened(name="another")
    finally:
        postgres.start()
    storage.write(Batch(added=[make.row("tidal", "b", 2)]))
    assert ids(storage) == ["a", "b"]
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
    assert ids(storage) == ["a", "b"]


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


def test_two_names_side_by_side(opened: Callable[..., Storage], name: str, make: Any) -> None:
    one, other = opened(), opened(name=f"{name}-b")
    one.write(Batch(added=[make.row("tidal", "a", 1)], gates=[GateRow("tidal", 1.0, None, True)]))
    other.write(Batch(added=[make.row("tidal", "a", 1), make.row("tidal", "b", 2)]))
    assert (ids(one), ids(other)) == (["a"], ["a", "b"])
    assert (len(one.load().gates), len(other.load().gates)) == (1, 0)


def test_the_same_name_twice_says_who_has_it(opened: Callable[..., Storage], name: str) -> None:
    opened()
    with pytest.raises(StoreLocked, match=rf"the engine '{name}' .* haulier {name}, process \d+ on"):
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
    assert ids(storage) == ["a"]


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
    assert ids(opened()) == ["a"]


class Wire:
    """A way to the server that can be cut so that only the client notices, as a network may."""

    def __init__(self, folder: Path, server: Path) -> None:
        self._server = str(server)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / server.name))
        self._listener.listen()
        self._sockets: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._sockets.append((client, server))
                for way in ((client, server), (server, client)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=way))
                    self._threads[-1].start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while some := one.recv(65536):
                other.sendall(some)
        if (other, one) in self._sockets:  # the server has ended it, and the client learns of that
            with suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """To the client the connection is lost; the server goes on waiting."""
        for client, _ in self._sockets:
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(GUARD_S)
        for pair in self._sockets:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(GUARD_S)
            assert not thread.is_alive()
        for end in [self._listener, *(end for pair in self._sockets for end in pair)]:
            end.close()


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
        assert ids(storage) == ["a", "b"]
        assert admin.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (first,)).fetchall() == [(0,)]
        storage.close()
    finally:
        wire.close()


# ---- the schema ------------------------------------------------------------------------------------------------------


def test_an_older_version_is_brought_to_this_one(
    opened: Callable[..., Storage], name: str, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first version ever was a table of another shape."""
    first = ("CREATE TABLE queue (place {seq} PRIMARY KEY, who {name} NOT NULL)", "INSERT INTO queue VALUES (7, 'd7')")
    with monkeypatch.context() as patch:
        patch.setattr(sql, "STEPS", (first,))
        opened().close()
    moved = (
        *sql.STEPS[0],
        "INSERT INTO downloads (seq, source, id, listed, record) SELECT place, 'tidal', who, TRUE, '{{}}' FROM queue",
        "DROP TABLE queue",
    )
    with monkeypatch.context() as patch:
        patch.setattr(sql, "STEPS", (first, (*moved, "DROP TABLE no_such_table")))
        with pytest.raises(StoreUnavailable, match="no_such_table"):
            opened()
    assert admin.execute(f'SELECT version FROM "haulier_{name}".engine').fetchall() == [(1,)]
    monkeypatch.setattr(sql, "STEPS", (first, moved))
    for _ in range(2):
        storage = opened()
        assert [(row.seq, row.source, row.id) for row in storage.load().rows] == [(7, "tidal", "d7")]
        storage.close()
        assert admin.execute(f'SELECT version FROM "haulier_{name}".engine').fetchall() == [(2,)]


def test_a_newer_version_is_refused_and_left_as_it_is(
    opened: Callable[..., Storage], name: str, admin: psycopg.Connection[Any], make: Any
) -> None:
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    storage.close()
    admin.execute(f'UPDATE "haulier_{name}".engine SET version = 99')
    before = admin.execute(f'SELECT * FROM "haulier_{name}".engine').fetchall()
    with pytest.raises(StoreUnavailable, match=r"newer haulier: its version is 99, and this haulier knows 1"):
        opened()
    assert admin.execute(f'SELECT * FROM "haulier_{name}".engine').fetchall() == before


def test_a_schema_of_another_program_is_refused(
    opened: Callable[..., Storage], name: str, admin: psycopg.Connection[Any]
) -> None:
    admin.execute(f'CREATE SCHEMA "haulier_{name}"')
    admin.execute(f'CREATE TABLE "haulier_{name}".bookmarks (url text)')
    with pytest.raises(StoreUnavailable, match="another program's"):
        opened()
    tables = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (f"haulier_{name}",)).fetchall()
    assert tables == [("bookmarks",)]


def test_a_schema_that_was_made_for_it_is_used_by_a_role_that_may_make_none(
    opened: Callable[..., Storage], name: str, admin: psycopg.Connection[Any], postgres: Any, make: Any
) -> None:
    admin.execute("CREATE ROLE locked LOGIN PASSWORD 'p@ss/w?rd'")
    try:
        url = postgres.url(user="locked:p%40ss%2Fw%3Frd")
        with pytest.raises(StoreUnavailable, match="permission denied"):
            opened(url)
        admin.execute(f'CREATE SCHEMA "haulier_{name}" AUTHORIZATION locked')
        storage = opened(url)
        storage.write(Batch(added=[make.row("tidal", "a", 1)]))
        assert ids(storage) == ["a"]
        storage.close()
        admin.execute("ALTER ROLE locked SET default_transaction_read_only = on")
        with pytest.raises(StoreUnavailable, match="read-only"):
            opened(url)
    finally:
        admin.execute("DROP OWNED BY locked")
        admin.execute("DROP ROLE locked")


def test_an_encoding_that_does_not_have_every_name_is_refused(
    opened: Callable[..., Storage], name: str, admin: psycopg.Connection[Any], postgres: Any
) -> None:
    admin.execute(f"CREATE DATABASE latin_{name} ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreUnavailable, match="the encoding of the database is LATIN1"):
        opened(postgres.url(f"latin_{name}"))


def test_a_database_without_an_encoding_has_every_name(
    opened: Callable[..., Storage], name: str, admin: psycopg.Connection[Any], postgres: Any, make: Any
) -> None:
    admin.execute(f"CREATE DATABASE ascii_{name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    storage = opened(postgres.url(f"ascii_{name}"))
    storage.write(Batch(added=[make.ended("Ü🎵", "é\0", 1, 1.0)], attempts=[make.attempt("Ü🎵", "é\0", 1, "日本")]))
    assert [row[:2] for row in storage.load().rows] == [("Ü🎵", "é\0")]
    assert storage.history(source="Ü🎵")[0].id == "é\0"
    assert storage.attempts("Ü🎵", "é\0")[0].error == "日本"


# ---- settings --------------------------------------------------------------------------------------------------------


def setting(storage: Any, name: str) -> str:
    [(value,)] = storage._connection.execute(f"SHOW {name}".encode()).fetchall()
    return str(value)


def test_the_disk_is_waited_for_whatever_the_role_says(
    opened: Callable[..., Any], name: str, admin: psycopg.Connection[Any]
) -> None:
    admin.execute("ALTER ROLE haulier SET synchronous_commit = off")
    try:
        assert setting(opened(), "synchronous_commit") == "on"
    finally:
        admin.execute("ALTER ROLE haulier RESET synchronous_commit")
    assert setting(opened(name=f"{name}b", synchronous="normal"), "synchronous_commit") == "off"
    assert setting(opened(name=f"{name}c"), "synchronous_commit") == "on"


def test_what_the_url_says_goes_before_what_haulier_says(opened: Callable[..., Any], postgres: Any) -> None:
    storage = opened(postgres.url() + "&application_name=mine&connect_timeout=7")
    assert setting(storage, "application_name") == "mine"
    assert storage._options["connect_timeout"] == "7"
    assert (setting(storage, "idle_session_timeout"), setting(storage, "statement_timeout")) == ("0", "0")


# ---- passwords -------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(admin: psycopg.Connection[Any]) -> Iterator[None]:
    """A role with a password."""
    admin.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
    yield
    admin.execute("DROP ROLE locked")


def told(call: Callable[[], object], kind: type[Exception]) -> str:
    """All that a log would show of the exception."""
    with pytest.raises(kind) as raised:
        call()
    return "".join(traceback.format_exception(raised.value))


@pytest.mark.usefixtures("locked")
def test_a_wrong_password_is_not_shown(postgres: Any) -> None:
    url = postgres.url(user="locked:hunter2")
    text = told(lambda: open_storage(url), StoreUnavailable)
    assert "password authentication failed" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://haulier:hunter2@ss@localhost/db",
        "postgresql://haulier:hunter2/ss@localhost/db",
        "postgresql://haulier:hunter2?x@ss@localhost/db",
        "postgresql://haulier:5432/hunter2@localhost/db",
        "postgresql://haulier:hunter2%zz@localhost/db",
        "postgres://haulier:pw@localhost:hunter2/db",
        "postgresql://haulier:pw@localhost/db?hunter2=5",
        "postgresql://[hunter2",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    text = told(lambda: open_storage(url), ValueError)
    assert "postgresql://USER:PASSWORD@HOST" in text
    assert "hunter2" not in text


def test_a_storage_does_not_show_its_password(postgres: Any, name: str) -> None:
    storage = open_storage(postgres.url(user="haulier:hunter2"), name)
    try:
        assert "hunter2" not in repr(storage)
    finally:
        storage.close()
    assert "hunter2" not in told(storage.load, StoreUnavailable)
