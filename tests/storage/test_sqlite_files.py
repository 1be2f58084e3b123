"""What is found where a database should be: used, or refused and left as it is."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.storage.stored import stored_ids

from haulier import StoreLocked, StoreUnavailable
from haulier._engine.storage import Batch, open_storage, sql, sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "haulier.db"


def written(path: Path, make: Any, count: int = 300) -> list[str]:
    """A closed database with so many rows; their ids."""
    storage = open_storage(path)
    added = [make.ended("tidal", f"d{n}", n, float(n))._replace(record=f'"{"x" * 700}"') for n in range(count)]
    storage.write(Batch(added=added))
    storage.close()
    return [row.id for row in added]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refused(path: Path, message: str) -> None:
    """The file is refused, and not one byte is written."""
    before = contents(path.parent)
    with pytest.raises(StoreUnavailable, match=message) as raised:
        open_storage(path)
    assert str(path) in str(raised.value)
    assert contents(path.parent) == before


def test_a_closed_database_is_one_file(path: Path, make: Any) -> None:
    written(path, make)
    assert [file.name for file in path.parent.iterdir()] == ["haulier.db"]


def test_an_empty_file_becomes_a_database_and_stays_the_same_file(path: Path, make: Any) -> None:
    path.touch(mode=0o640)
    before = path.stat()
    written(path, make)
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize("text", [b"x", b"shopping: milk, bread\n" * 200, b"SQLite format 3", b"\0" * 8192])
def test_another_file_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    refused(path, "not an SQLite database, or is damaged")


def test_a_header_with_nothing_behind_it_is_refused(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    refused(path, "damaged")


@pytest.mark.parametrize("version", [0, 1, 5])
def test_the_database_of_another_program_is_refused(path: Path, version: int) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.execute(f"PRAGMA user_version = {version}")
    other.commit()
    other.close()
    refused(path, "another program")


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_over_the_middle_are_refused(path: Path, make: Any, seed: int) -> None:
    written(path, make)
    rng = random.Random(seed)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 - 10_000)
        file.write(rng.randbytes(20_000))
    refused(path, "damaged")


def test_half_a_file_is_refused(path: Path, make: Any) -> None:
    written(path, make)
    os.truncate(path, path.stat().st_size // 2)
    refused(path, "damaged")


def test_damage_in_a_file_too_large_to_be_checked_shows_when_it_is_read(
    path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(path, make)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(random.Random(0).randbytes(20_000))
    monkeypatch.setattr(sqlite, "CHECKED_BYTES", 0)
    storage = open_storage(path)
    for read in (lambda: stored_ids(storage), lambda: storage.history(limit=1000)):
        with pytest.raises(StoreUnavailable, match=r"haulier\.db: the file is damaged"):
            read()
    storage.close()


def test_a_text_that_is_damaged_is_not_shown(path: Path, make: Any) -> None:
    written(path, make, 1)
    other = sqlite3.connect(path)
    other.execute("UPDATE downloads SET record = CAST(x'7365637265742dff' AS TEXT)")
    other.commit()
    other.close()
    storage = open_storage(path)
    for read in (storage.history, lambda: stored_ids(storage)):
        with pytest.raises(StoreUnavailable, match=r"haulier\.db: the file is damaged") as raised:
            read()
        assert "secret" not in "".join(traceback.format_exception(raised.value))
    storage.close()


# ---- versions --------------------------------------------------------------------------------------------------------


class Newer:
    """``with Newer(statement…):`` haulier is one version on, by a step of these statements."""

    def __init__(self, *statements: str) -> None:
        self._statements = statements
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        self._patch.setattr(sql, "STEPS", (*sql.STEPS, self._statements))

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    [(number,)] = connection.execute("PRAGMA user_version").fetchall()
    connection.close()
    return int(number)


def test_an_older_version_is_brought_to_this_one(path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first version ever was a table of another shape."""
    first = ("CREATE TABLE queue (place {seq} PRIMARY KEY, who {name} NOT NULL)", "INSERT INTO queue VALUES (7, 'd7')")
    with monkeypatch.context() as patch:
        patch.setattr(sql, "STEPS", (first,))
        sqlite.SqliteStorage(str(path)).close()
    assert version(path) == 1
    moved = (
        *sql.STEPS[0],
        "INSERT INTO downloads (seq, source, id, listed, record) SELECT place, 'tidal', who, TRUE, '{{}}' FROM queue",
        "DROP TABLE queue",
    )
    monkeypatch.setattr(sql, "STEPS", (first, moved))
    for _ in range(2):
        storage = open_storage(path)
        assert [(row.seq, row.source, row.id) for row in storage.load().rows] == [(7, "tidal", "d7")]
        storage.close()
        assert version(path) == 2


def test_a_step_that_fails_leaves_the_version_before(path: Path, make: Any) -> None:
    all_ids = written(path, make)
    with (
        Newer("ALTER TABLE downloads ADD COLUMN note TEXT", "DROP TABLE gates", "DROP TABLE no_such_table"),
        pytest.raises(StoreUnavailable, match="no such table"),
    ):
        open_storage(path)
    storage = open_storage(path)
    assert stored_ids(storage) == all_ids
    assert storage.load().gates == []
    storage.close()


def test_a_newer_version_is_refused_and_left_as_it_is(path: Path, make: Any) -> None:
    with Newer("ALTER TABLE downloads ADD COLUMN note TEXT"):
        written(path, make)
    refused(path, r"newer haulier: its version is 2, and this haulier knows 1")
    with Newer("ALTER TABLE downloads ADD COLUMN note TEXT"):
        open_storage(path).close()


def test_a_newer_version_is_seen_where_only_the_log_has_it(path: Path, make: Any, tmp_path: Path) -> None:
    """Its process was killed before the log was copied."""
    written(path, make)
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("haulier.db", "haulier.db-wal"):
        shutil.copy(tmp_path / name, killed / name)
    newer.close()
    before = contents(killed)
    assert before["haulier.db-wal"]
    with pytest.raises(StoreUnavailable, match="version is 99"):
        open_storage(killed / "haulier.db")
    after = contents(killed)
    assert {name: after[name] for name in before} == before


def test_what_another_tool_left_half_done_is_undone(path: Path, make: Any, tmp_path: Path) -> None:
    """It had turned the log off, and died in a transaction: there is a journal to roll back."""
    all_ids = written(path, make)
    tool = sqlite3.connect(path, isolation_level=None)
    tool.execute("PRAGMA journal_mode = DELETE")
    tool.execute("PRAGMA cache_size = 5")  # so that it writes before the end
    tool.execute("BEGIN")
    tool.execute("UPDATE downloads SET record = record || record || record || record || record || record")
    tool.execute("DELETE FROM downloads WHERE seq % 3 = 0")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("haulier.db", "haulier.db-journal"):
        shutil.copy(tmp_path / name, killed / name)
    tool.execute("ROLLBACK")
    tool.close()
    half = sqlite3.connect(f"file:{killed}/haulier.db?immutable=1", uri=True)  # without the journal
    assert half.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]
    half.close()
    storage = open_storage(killed / "haulier.db")
    assert stored_ids(storage) == all_ids
    storage.close()


# ---- places ----------------------------------------------------------------------------------------------------------


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no folder"):
        open_storage(tmp_path / "no" / "haulier.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "haulier.db"], ids=["the file", "its folder"])
def test_links_that_form_a_loop_are_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    with pytest.raises(StoreUnavailable, match=r"one.* leads to no file, because its symbolic links form a loop"):
        open_storage(tmp_path / "one" / below)
    assert {each.name for each in tmp_path.iterdir()} == {"one", "other"}


def test_a_link_to_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "haulier.db").symlink_to("haulier.db")
    with pytest.raises(StoreUnavailable, match=rf"^{tmp_path}/haulier.db leads to no file"):
        open_storage("haulier.db")
    assert [each.name for each in tmp_path.iterdir()] == ["haulier.db"]


def test_a_link_to_nothing_becomes_a_database_where_it_leads(tmp_path: Path, make: Any) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "haulier.db")
    written(tmp_path / "link.db", make, 1)
    assert (tmp_path / "link.db").is_symlink()
    assert (tmp_path / "haulier.db").stat().st_size > 0


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be used: File name too long"):
        open_storage(tmp_path / ("x" * 300))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "haulier.db").mkdir()
    with pytest.raises(StoreUnavailable, match="is not a regular file"):
        open_storage(tmp_path / "haulier.db")
    assert [path.name for path in tmp_path.iterdir()] == ["haulier.db"]


def test_two_paths_to_one_file_are_one_place(tmp_path: Path, path: Path, make: Any) -> None:
    written(path, make, 1)
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    storage = open_storage(path)
    for other in (tmp_path / "link.db", tmp_path / "folder" / "haulier.db"):
        with pytest.raises(StoreLocked):
            open_storage(other)
    storage.close()
    storage = open_storage(tmp_path / "link.db")
    assert stored_ids(storage) == ["d0"]
    storage.close()


def test_a_file_with_two_names_is_refused(tmp_path: Path, path: Path, make: Any) -> None:
    """Its log and its lock would go by the name: whoever used the other one broke it."""
    written(path, make, 1)
    storage = open_storage(path)
    (tmp_path / "other.db").hardlink_to(path)
    with pytest.raises(StoreUnavailable, match="hard link"):
        open_storage(tmp_path / "other.db")
    assert stored_ids(storage) == ["d0"]
    storage.close()
    with pytest.raises(StoreUnavailable, match="hard link"):
        open_storage(path)
    (tmp_path / "other.db").unlink()
    open_storage(path).close()


def test_a_lock_that_nobody_holds_is_no_lock(path: Path) -> None:
    """What a killed process leaves."""
    Path(f"{path}-lock").write_text("1\n")
    open_storage(path).close()
    assert [file.name for file in path.parent.iterdir()] == ["haulier.db"]


def test_one_that_was_refused_can_be_opened_once_it_is_mended(path: Path) -> None:
    path.write_bytes(b"x")
    for _ in range(2):
        refused(path, "not an SQLite database")
    path.unlink()
    open_storage(path).close()


@pytest.fixture
def make_read_only() -> Iterator[Callable[[Path], None]]:
    """``make_read_only(path)``: by its mode, and where we are root, who goes by none, by making it immutable."""
    undo: list[Callable[[], object]] = []

    def read_only(path: Path) -> None:
        if os.geteuid() != 0:
            mode = path.stat().st_mode
            path.chmod(mode & ~0o222)
            undo.append(lambda: path.chmod(mode))
            return
        if shutil.which("chattr") is None:
            pytest.skip("no chattr here")
        done = subprocess.run(["chattr", "+i", str(path)], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"chattr +i is not allowed here: {done.stderr.strip()}")
        undo.append(lambda: subprocess.run(["chattr", "-i", str(path)], check=True))

    yield read_only
    for step in undo:
        step()


def test_a_read_only_file_is_refused(path: Path, make: Any, make_read_only: Callable[[Path], None]) -> None:
    written(path, make)
    make_read_only(path)
    refused(path, "read-only")


def test_a_file_in_a_read_only_folder_is_refused(path: Path, make: Any, make_read_only: Callable[[Path], None]) -> None:
    written(path, make)
    make_read_only(path.parent)
    refused(path, "cannot be locked: .*haulier.db-lock")
