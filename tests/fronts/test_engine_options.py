"""What an engine is made with: the policy of sources that are not registered; and what it says at a Ctrl-C."""

from __future__ import annotations

import threading
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
