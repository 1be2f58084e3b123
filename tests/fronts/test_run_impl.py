"""``haulier.testing.run_impl`` calls an impl as the engine does, so that both tell a plugin's author the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.waiting import GUARD_S

from haulier import DownloadCancelled, DownloadEngine, Transfer, current_transfer
from haulier.testing import make_transfer, run_impl


def with_three(download_id: str, target_id: Any, display_name: str) -> str:
    return f"{target_id} as {display_name}"


def with_transfer(download_id: str, target_id: Any, display_name: str, *, transfer: Transfer) -> str:
    assert transfer.download_id == download_id
    return f"{transfer.target_id} as {transfer.filename}"


def with_transfer_alone(transfer: Transfer) -> Path:
    return Path(f"{transfer.target_id} as {transfer.filename}")


def with_current_transfer(download_id: str, target_id: Any, display_name: str) -> str:
    return f"{target_id} as {current_transfer().filename}"


def without_path(download_id: str, target_id: Any, display_name: str) -> str:
    return ""


def asynchronous(transfer: Transfer) -> Any:
    async def fetch() -> str:
        return "never awaited"

    return fetch()


@pytest.mark.expect_errors("^Failed: ")
@pytest.mark.parametrize("impl", [with_three, with_transfer, with_transfer_alone, with_current_transfer, without_path])
def test_the_path_is_the_one_that_the_record_of_an_engine_shows(engine: DownloadEngine, impl: Any) -> None:
    transfer = make_transfer(7, display_name="seven.zip", filename="seven.zip")
    path = run_impl(impl, transfer)
    download_id = engine.worker.dispatch("s", 7, "seven.zip", "seven.zip", impl)
    assert engine.wait(download_id, GUARD_S).get("file_path") == path


def test_the_progress_can_be_read_afterwards_and_changes_no_more() -> None:
    def half(transfer: Transfer) -> str:
        transfer.progress(50, 100)
        return "half"

    transfer = make_transfer(7)
    assert run_impl(half, transfer) == "half"
    transfer.progress(100, 100)
    assert transfer.cell["progress"] == 50.0


def test_an_exception_passes_through() -> None:
    def stopping(transfer: Transfer) -> str:
        transfer.raise_if_cancelled()
        return "not cancelled"

    transfer = make_transfer(7, display_name="seven")
    transfer.cancelled = True
    with pytest.raises(DownloadCancelled, match="seven"):
        run_impl(stopping, transfer)


def test_a_coroutine_is_refused() -> None:
    with pytest.raises(TypeError, match="must block"):
        run_impl(asynchronous, make_transfer(7))


def test_no_transfer_is_current_afterwards() -> None:
    run_impl(with_three, make_transfer(7))
    with pytest.raises(LookupError):
        current_transfer()


def test_the_transfer_says_what_it_was_made_of() -> None:
    transfer = make_transfer("target", source="mirror", attempt=3)
    assert (transfer.source, transfer.target_id, transfer.attempt) == ("mirror", "target", 3)
