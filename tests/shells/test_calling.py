"""Whatever an impl is made of, it is called as it wants to be."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from haulier import DownloadEngine, Transfer

Impl = Callable[..., Any]


def three(download_id: str, target_id: Any, name: str) -> str:
    return f"three {target_id} {name}"


def four(download_id: str, target_id: Any, name: str, transfer: Transfer) -> str:
    return f"four {target_id} {name} {transfer.target_id}"


def by_name(download_id: str, target_id: Any, name: str, *, transfer: Transfer | None = None) -> str:
    return f"four {target_id} {name} {None if transfer is None else transfer.target_id}"


def alone(transfer: Transfer) -> str:
    return f"alone {transfer.target_id}"


def by_place(download_id: str, target_id: Any, name: str, transfer: str = "its own", /) -> str:
    return f"three {target_id} {name} {transfer}"


def with_more(more: str, download_id: str, target_id: Any, name: str, transfer: Transfer) -> str:
    return f"{more} {transfer.target_id}"


def wrapped(impl: Impl) -> Impl:
    @functools.wraps(impl)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return impl(*args, **kwargs)

    return wrapper


def signed(impl: Impl) -> Impl:
    """As decorator libraries do it: the signature of the wrapped function, and no ``__wrapped__``."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return impl(*args, **kwargs)

    wrapper.__signature__ = inspect.signature(impl)  # type: ignore[attr-defined]
    return wrapper


class Own:
    target_id = 9


def with_its_own(impl: Impl) -> Impl:
    @functools.wraps(impl)
    def wrapper(download_id: str, target_id: Any, name: str) -> Any:
        return impl(download_id, target_id, name, Own())

    return wrapper


def with_its_own_by_name(impl: Impl) -> Impl:
    @functools.wraps(impl)
    def wrapper(*args: Any) -> Any:
        return impl(*args, transfer=Own())

    return wrapper


class Client:
    def method(self, download_id: str, target_id: Any, name: str, transfer: Transfer) -> str:
        return f"four {target_id} {name} {transfer.target_id}"

    def alone(self, transfer: Transfer) -> str:
        return f"alone {transfer.target_id}"

    def __call__(self, download_id: str, target_id: Any, name: str, transfer: Transfer) -> str:
        return f"four {target_id} {name} {transfer.target_id}"


@pytest.mark.parametrize(
    ("impl", "path"),
    [
        pytest.param(three, "three 7 n", id="function"),
        pytest.param(four, "four 7 n 7", id="function with a transfer"),
        pytest.param(by_name, "four 7 n 7", id="keyword-only, with a default"),
        pytest.param(alone, "alone 7", id="transfer alone"),
        pytest.param(by_place, "three 7 n its own", id="positional-only is not ours"),
        pytest.param(Client().method, "four 7 n 7", id="method"),
        pytest.param(Client().alone, "alone 7", id="method, transfer alone"),
        pytest.param(Client(), "four 7 n 7", id="object"),
        pytest.param(wrapped(four), "four 7 n 7", id="wrapped"),
        pytest.param(wrapped(three), "three 7 n", id="wrapped, without"),
        pytest.param(wrapped(alone), "alone 7", id="wrapped, alone"),
        pytest.param(with_its_own(four), "four 7 n 9", id="wrapped, with a transfer of its own"),
        pytest.param(with_its_own_by_name(by_name), "four 7 n 9", id="wrapped, with one of its own by name"),
        pytest.param(wrapped(with_its_own(four)), "four 7 n 9", id="wrapped twice"),
        pytest.param(functools.cache(four), "four 7 n 7", id="cached, with a transfer"),
        pytest.param(functools.cache(three), "three 7 n", id="cached"),
        pytest.param(signed(four), "four 7 n 7", id="with a signature of its own"),
        pytest.param(signed(alone), "alone 7", id="with a signature of its own, alone"),
        pytest.param(functools.partial(with_more, "more"), "more 7", id="partial"),
        pytest.param(functools.partial(by_name, transfer=None), "four 7 n None", id="partial with one of its own"),
        pytest.param(Mock(return_value="mocked"), "mocked", id="mock"),
        pytest.param("{1} {2}".format, "7 n", id="builtin"),
    ],
)
def test_an_impl_is_called_as_it_wants_to_be(engine: DownloadEngine, impl: Impl, path: str) -> None:
    record = engine.wait(engine.worker.dispatch("tidal", 7, "n", "f", impl), 20)
    assert (record["state"], record.get("file_path")) == ("Completed, Succeeded", path)


def none() -> str:
    return "none"


def two(download_id: str, target_id: Any) -> str:
    return "two"


def five(download_id: str, target_id: Any, name: str, more: str, still_more: str) -> str:
    return "five"


def keyword(download_id: str, target_id: Any, name: str, *, client: Any) -> str:
    return "keyword"


def more_than_a_transfer(download_id: str, transfer: Transfer) -> str:
    return "more"


class NoCall:
    def fetch(self) -> str:
        return "none"


BAD = [
    pytest.param(none, id="no parameter"),
    pytest.param(two, id="two"),
    pytest.param(five, id="five"),
    pytest.param(keyword, id="a keyword that nobody gives"),
    pytest.param(more_than_a_transfer, id="a transfer and too little"),
    pytest.param(NoCall().fetch, id="method without parameters"),
    pytest.param(functools.partial(three, "a", "b"), id="partial that leaves one"),
    pytest.param(with_its_own, id="a decorator instead of what it makes"),
    pytest.param(lambda: "none", id="lambda"),
]


@pytest.mark.parametrize("impl", BAD)
def test_an_impl_that_cannot_be_called_is_refused_at_once(engine: DownloadEngine, impl: Impl) -> None:
    for _ in range(2):  # a refused one is not remembered as a good one
        with pytest.raises(TypeError, match=r"^impl_callable must take"):
            engine.worker.dispatch("tidal", 7, "n", "f", impl)
    with pytest.raises(TypeError, match=r"^impl must take"):
        engine.register_source("tidal", impl=impl)
    assert engine.get_all_downloads() == []


def optional(download_id: str, target_id: Any, name: str = "", more: str = "more", *, client: Any = None) -> str:
    return f"{target_id} {name} {more}"


def anything(*args: Any) -> str:
    return f"{args[1]} {args[2]}"


class Plugin:
    def __init__(self, download_id: str, target_id: Any, name: str) -> None:
        self.path = f"{target_id} {name}"

    def __fspath__(self) -> str:
        return self.path


@pytest.mark.parametrize(("impl", "path"), [(optional, "7 n more"), (anything, "7 n"), (Plugin, "7 n")])
def test_an_impl_that_can_be_called_is_taken(engine: DownloadEngine, impl: Impl, path: str) -> None:
    record = engine.wait(engine.worker.dispatch("tidal", 7, "n", "f", impl), 20)
    assert (record["state"], record.get("file_path")) == ("Completed, Succeeded", path)
