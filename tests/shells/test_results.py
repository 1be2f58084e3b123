"""What an impl may return, and what a cancelled asyncio task is: ``behaviour.md#failure``."""

from __future__ import annotations

import asyncio
import inspect
import sys
from concurrent import futures
from pathlib import Path

import pytest

from haulier._engine.shells.results import as_failure, is_cancelled_task, path_of


class Bytes:
    def __fspath__(self) -> bytes:
        return b"a.bin"


class Name(str):
    """A str that is not what it says."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("result", ["a.bin", Path("a.bin"), Name("a.bin")])
def test_what_names_a_path(result: object) -> None:
    path, error = path_of(result)
    assert (path, type(path), error) == ("a.bin", str, None)


@pytest.mark.parametrize("result", [None, "", Name("")])
def test_what_says_nothing(result: object) -> None:
    assert path_of(result) == (None, None)


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (b"a", "bytes"),
        (True, "bool"),
        (0, "int"),
        (("a", {}), "tuple"),
        ([], "list"),
        (Bytes(), "Bytes"),
        (iter("a"), "str_"),
    ],
)
def test_what_is_not_a_path_is_named(result: object, kind: str) -> None:
    path, error = path_of(result)
    assert path is None
    assert isinstance(error, TypeError)
    assert str(error).startswith(f"the impl returned a value of type {kind}")
    assert str(error).endswith(": it must return a path as str or os.PathLike")


def test_a_coroutine_is_closed_and_named() -> None:
    async def fetch() -> str:
        return "a.bin"

    coroutine = fetch()
    path, error = path_of(coroutine)
    assert (path, str(error)) == (None, "the impl returned a coroutine: it must block until the file is there")
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_a_cancelled_task_is_an_ordinary_failure() -> None:
    cause = asyncio.CancelledError("the connection is gone")
    failure = as_failure(cause)
    assert isinstance(failure, futures.CancelledError)
    assert (str(failure), failure.__cause__) == ("the connection is gone", cause)
    assert is_cancelled_task(cause)
    for crash in (SystemExit(3), KeyboardInterrupt(), GeneratorExit(), futures.CancelledError()):
        assert not is_cancelled_task(crash)


def test_without_asyncio_nothing_is_a_cancelled_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "asyncio.exceptions")
    assert not is_cancelled_task(SystemExit())
