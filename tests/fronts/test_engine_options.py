"""What an engine is made with: the policy of sources that are not registered; and what it says at a Ctrl-C."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tenacity
from tests.dispatching import dispatch
from tests.waiting import GUARD_S, Gatekeeper

import haulier
from haulier import DownloadEngine, RetryPolicy, SourcePolicy

TWICE = RetryPolicy(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none())


def test_the_policy_is_that_of_sources_that_nobody_registered(gatekeeper: Gatekeeper) -> None:
    with DownloadEngine(policy=SourcePolicy(concurrency=2)) as engine:
        engine.register_source("one", SourcePolicy())
        for source in ("two", "one"):
            for _ in range(3):
                dispatch(engine, gatekeeper, source=source)
        gatekeeper.wait_inside(3)
        assert {name: each["in_flight"] for name, each in engine.stats().items()} == {"one": 1, "two": 2}
        gatekeeper.open()


def test_registering_only_an_impl_keeps_it() -> None:
    tries: list[Any] = []

    def fetch(download_id: str, target_id: Any, display_name: str) -> str:
        tries.append(target_id)
        if len(tries) == 1:
            raise haulier.HaulierError("once more")
        return "file.bin"

    with DownloadEngine(policy=SourcePolicy(retry=TWICE)) as engine:
        engine.register_source("s", impl=fetch)
        assert engine.wait(dispatch(engine, source="s"), GUARD_S)["attempt"] == 2


def test_a_ctrl_c_says_what_the_program_waits_for_once(capsys: pytest.CaptureFixture[str]) -> None:
    inside = threading.Event()

    def fetch(download_id: str, target_id: Any, display_name: str) -> str:
        inside.set()
        while True:
            haulier.current_transfer().raise_if_cancelled()
            threading.Event().wait(0.001)

    def program() -> None:
        with DownloadEngine() as engine:
            dispatch(engine, fetch)
            assert inside.wait(GUARD_S)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        program()
    said = "haulier: waiting up to 10 s for running downloads to stop (1 at tidal)\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_said_where_there_is_nothing_to_wait_for(
    capsys: pytest.CaptureFixture[str], error: type[BaseException]
) -> None:
    with pytest.raises(error), DownloadEngine():
        raise error
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.expect_errors("Failed")
def test_more_downloads_than_retention_keeps_are_each_reported_once(tmp_path: Path, is_durable: bool) -> None:
    def fetch(download_id: str, target_id: int, display_name: str) -> str:
        if target_id % 100 == 99:
            raise haulier.PermanentError("every hundredth")
        return f"{target_id}.bin"

    store = tmp_path / "haulier.db" if is_durable else None
    with DownloadEngine(retention=haulier.Retention(max_terminal=10), store=store) as engine:
        engine.register_source("s", impl=fetch)
        ids = [dispatch(engine, target=number, source="s") for number in range(300)]
        engine.wait(ids[-1], GUARD_S)
        records = {each["id"]: each for each in engine.as_completed(ids, GUARD_S)}
        assert next(engine.as_completed(ids[:1], GUARD_S))["id"] == ids[0], "a second time, too"
    assert len(engine.get_all_downloads()) == 10
    assert [records[each].get("file_path") for each in ids[:3]] == ["0.bin", "1.bin", "2.bin"]
    assert Counter(each["phase"] for each in records.values()) == {"succeeded": 297, "failed": 3}
    assert records[ids[99]]["error"] == "every hundredth"


def test_who_waits_for_a_record_of_a_callers_own_hears_of_its_removal(engine: DownloadEngine) -> None:
    """A phase that its caller wrote does not make it a download that another engine continues."""
    engine.add_record("s", "x", {"phase": "running", "state": "mine"})
    arriving = engine.as_completed(["x"], GUARD_S)
    engine.remove_record("s", "x")
    assert next(arriving)["state"] == "mine"
