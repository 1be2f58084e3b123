"""Whatever an impl is made of, it is called as it wants to be."""

from __future__ import annotations

import functools
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
        pytest.param(functools.partial(with_more, "more"), "more 7", id="partial"),
        pytest.param(functools.partial(by_name, transfer=None), "four 7 n None", id="partial with one of its own"),
        pytest.param(Mock(return_value="mocked"), "mocked", id="mock"),
        pytest.param("{1} {2}".format, "7 n", id="builtin"),
    ],
)
def test_an_impl_is_called_as_it_wants_to_be(engine: DownloadEngine, impl: Impl, path: str) -> None:
    record = engine.wait(engine.worker.dispatch("tidal", 7, "n", "f", impl), 20)
    assert (record["state"], record.get("file_path")) == ("Completed, Succeeded", path)
