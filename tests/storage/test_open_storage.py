"""What ``open_storage`` takes, and what it refuses before anything is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from haulier._engine.storage import Batch, Storage, open_storage


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (":memory:", "leave the store out"),
        ("", "empty"),
        ("a\0b", "NUL"),
        ("sqlite:///haulier.db", "postgresql:// URL, not sqlite://…"),
        ("mysql://user:secret@host/db", "postgresql:// URL, not mysql://…"),
        (" postgresql://user:secret@host/db", "postgresql:// URL, not postgresql://…"),
        ("postgresql:/user:secret@host/db", "begins with postgresql://"),
        (Path("postgresql://user:secret@host/db"), "begins with postgresql://"),
        ("host=host user=user password=secret", "begins with postgresql://"),
    ],
)
def test_a_place_that_makes_no_sense(where: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        open_storage(where)
    assert "secret" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [None, 5, True])
def test_a_place_that_is_none(where: Any) -> None:
    with pytest.raises(TypeError):
        open_storage(where)


@pytest.mark.parametrize("name", ["", "a" * 49, "a b", 'a"b', "ü", "a\n", "a/b"])
def test_a_name_that_makes_no_sense(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 to 48 letters"):
        open_storage("haulier.db", name)
    assert list(tmp_path.iterdir()) == []


def test_arguments_of_a_wrong_kind() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="must be a str"):
        open_storage("haulier.db", wrong)
    with pytest.raises(ValueError, match="'full' or 'normal'"):
        open_storage("haulier.db", synchronous=wrong)


@pytest.mark.parametrize(
    "where", ["a b.db", "%41?mode=memory#x.db", "file:x.db", "Ü🎵.db", "x.db/", "c:x.db", "\udc80.db"]
)
def test_any_path_of_a_file(where: str, tmp_path: Path) -> None:
    storages: list[Storage] = []
    try:
        for place in (where, Path(where)):
            storages.append(open_storage(place))
            storages[-1].write(Batch())
            storages[-1].close()
    finally:
        for storage in storages:
            storage.close()
    assert [path.name for path in tmp_path.iterdir()] == [where.rstrip("/")]


def test_bytes_are_a_path(tmp_path: Path) -> None:
    where: Any = b"haulier.db"
    open_storage(where).close()
    assert [path.name for path in tmp_path.iterdir()] == ["haulier.db"]


def test_a_relative_path_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    storage = open_storage("haulier.db")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    storage.write(Batch(added=[make.row("tidal", "a", 1)]))
    storage.close()
    storage = open_storage("../haulier.db")
    assert len(list(storage.load().rows)) == 1
    storage.close()


def test_without_psycopg_it_says_what_to_install() -> None:
    program = """
import sys
sys.modules["psycopg"] = None
import haulier._engine.storage
haulier._engine.storage.open_storage("haulier.db").close()
try:
    haulier._engine.storage.open_storage("postgres://user:secret@host/db")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert "pip install 'haulier[postgres]'" in done.stdout, done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_the_engine_alone_loads_no_database() -> None:
    program = "import sys, haulier, haulier._engine.storage; print({'sqlite3', 'psycopg'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.stdout == "set()\n", done.stderr
