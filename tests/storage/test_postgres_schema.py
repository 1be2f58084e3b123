"""PostgreSQL: the schema and its versions, the settings of a session, and passwords that no error shows."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from tests.storage.stored import stored_ids

from haulier import StoreUnavailable
from haulier._engine.storage import Attempt, Batch, GateRow, Storage, open_storage, sql

# ---- the schema ------------------------------------------------------------------------------------------------------


def test_an_older_version_is_brought_to_this_one(
    opened: Callable[..., Storage], database_name: str, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
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
    assert admin.execute(f'SELECT version FROM "haulier_{database_name}".engine').fetchall() == [(1,)]
    monkeypatch.setattr(sql, "STEPS", (first, moved))
    for _ in range(2):
        storage = opened()
        assert [(row.seq, row.source, row.id) for row in storage.load().rows] == [(7, "tidal", "d7")]
        storage.close()
        assert admin.execute(f'SELECT version FROM "haulier_{database_name}".engine').fetchall() == [(2,)]


def test_a_newer_version_is_refused_and_left_as_it_is(
    opened: Callable[..., Storage], database_name: str, admin: psycopg.Connection[Any], make: Any
) -> None:
    storage = opened()
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    storage.close()
    admin.execute(f'UPDATE "haulier_{database_name}".engine SET version = 99')
    before = admin.execute(f'SELECT * FROM "haulier_{database_name}".engine').fetchall()
    with pytest.raises(StoreUnavailable, match=r"newer haulier: its version is 99, and this haulier knows 1"):
        opened()
    assert admin.execute(f'SELECT * FROM "haulier_{database_name}".engine').fetchall() == before


def test_a_schema_of_another_program_is_refused(
    opened: Callable[..., Storage], database_name: str, admin: psycopg.Connection[Any]
) -> None:
    admin.execute(f'CREATE SCHEMA "haulier_{database_name}"')
    admin.execute(f'CREATE TABLE "haulier_{database_name}".bookmarks (url text)')
    with pytest.raises(StoreUnavailable, match="belongs to another program"):
        opened()
    tables = admin.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s", (f"haulier_{database_name}",)
    ).fetchall()
    assert tables == [("bookmarks",)]


def test_a_schema_that_was_made_for_it_is_used_by_a_role_that_may_make_none(
    opened: Callable[..., Storage], database_name: str, admin: psycopg.Connection[Any], postgres: Any, make: Any
) -> None:
    admin.execute("CREATE ROLE locked LOGIN PASSWORD 'p@ss/w?rd'")
    try:
        url = postgres.url(user="locked:p%40ss%2Fw%3Frd")
        with pytest.raises(StoreUnavailable, match="permission denied"):
            opened(url)
        admin.execute(f'CREATE SCHEMA "haulier_{database_name}" AUTHORIZATION locked')
        storage = opened(url)
        storage.write(Batch(added=[make.row("tidal", "a", 1)]))
        assert stored_ids(storage) == ["a"]
        storage.close()
        admin.execute("ALTER ROLE locked SET default_transaction_read_only = on")
        with pytest.raises(StoreUnavailable, match="read-only"):
            opened(url)
    finally:
        admin.execute("DROP OWNED BY locked")
        admin.execute("DROP ROLE locked")


def test_an_encoding_that_does_not_have_every_name_is_refused(
    opened: Callable[..., Storage], database_name: str, admin: psycopg.Connection[Any], postgres: Any
) -> None:
    admin.execute(f"CREATE DATABASE latin_{database_name} ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreUnavailable, match="the encoding of the database is LATIN1"):
        opened(postgres.url(f"latin_{database_name}"))


def test_a_database_without_an_encoding_has_every_name(
    opened: Callable[..., Storage], database_name: str, admin: psycopg.Connection[Any], postgres: Any, make: Any
) -> None:
    admin.execute(f"CREATE DATABASE ascii_{database_name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    storage = opened(postgres.url(f"ascii_{database_name}"))
    storage.write(Batch(added=[make.ended("Ü🎵", "é\0", 1, 1.0)], attempts=[make.attempt("Ü🎵", "é\0", 1, "日本")]))
    assert [row[:2] for row in storage.load().rows] == [("Ü🎵", "é\0")]
    assert storage.history(source="Ü🎵")[0].id == "é\0"
    assert storage.attempts("Ü🎵", "é\0")[0].error == "日本"


# ---- settings --------------------------------------------------------------------------------------------------------


def setting(storage: Any, name: str) -> str:
    [(value,)] = storage._connection.execute(f"SHOW {name}".encode()).fetchall()
    return str(value)


def test_the_disk_is_waited_for_whatever_the_role_says(
    opened: Callable[..., Any], database_name: str, admin: psycopg.Connection[Any]
) -> None:
    admin.execute("ALTER ROLE haulier SET synchronous_commit = off")
    try:
        assert setting(opened(), "synchronous_commit") == "on"
    finally:
        admin.execute("ALTER ROLE haulier RESET synchronous_commit")
    assert setting(opened(name=f"{database_name}b", synchronous="normal"), "synchronous_commit") == "off"
    assert setting(opened(name=f"{database_name}c"), "synchronous_commit") == "on"


ODD: dict[str, str] = {
    "extra_float_digits": "-15",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "search_path": "pg_catalog",
    "client_encoding": "LATIN1",
    "client_min_messages": "debug1",
}
"""Settings that a role or a database may have, and that must not change anything."""


@pytest.fixture(params=["role", "database", "url"])
def odd_url(request: pytest.FixtureRequest, postgres: Any, admin: psycopg.Connection[Any]) -> Iterator[str]:
    """The URL of a server whose sessions begin with odd settings."""
    whose = {"role": "ROLE haulier", "database": "DATABASE postgres", "url": ""}[request.param]
    if not whose:
        options = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in ODD.items())
        yield f"{postgres.url()}&options={quote(options)}"
        return
    for name, value in ODD.items():
        listed = value if name == "DateStyle" else f"'{value}'"
        admin.execute(f"ALTER {whose} SET {name} = {listed}")
    try:
        yield postgres.url()
    finally:
        admin.execute(f"ALTER {whose} RESET ALL")


def test_settings_of_a_session_change_nothing(
    opened: Callable[..., Any], odd_url: str, admin: psycopg.Connection[Any], make: Any
) -> None:
    storage = opened(odd_url)
    moments = [1_795_792_638.8331442 + n * 2.4e-7 for n in range(30)]
    rows = [make.ended("größe", f"d{n}", n, on) for n, on in enumerate(moments)]
    gate = GateRow("größe", 1_795_792_638.123456, 0.1 + 0.2, True)
    tried = Attempt("größe", "d1", 1, moments[0], moments[1], "fail", "naïve \\n 'quoted'", "OSError")
    storage.write(Batch(added=rows, attempts=[tried], gates=[gate]))
    for _ in range(2):
        assert list(storage.load().rows) == rows
        assert storage.load().gates == [gate]
        assert storage.attempts("größe", "d1") == [tried]
        seen: list[Any] = []
        while len(seen) < 99 and (page := storage.history(before=seen[-1].cursor if seen else None, limit=7)):
            seen += page
        assert seen == rows[::-1]
        # Once more, with the connection that follows a failure.
        admin.execute("SELECT pg_terminate_backend(%s)", (storage._connection.info.backend_pid,))
    assert storage.prune(20, None) == 0
    storage.write(Batch(unlisted=[(row.source, row.id) for row in rows]))
    assert storage.prune(20, moments[12]) == 12
    assert storage.history(limit=99) == rows[:11:-1]


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


def test_a_storage_does_not_show_its_password(postgres: Any, database_name: str) -> None:
    storage = open_storage(postgres.url(user="haulier:hunter2"), database_name)
    try:
        assert "hunter2" not in repr(storage)
    finally:
        storage.close()
    assert "hunter2" not in told(storage.load, StoreUnavailable)
