"""What a dispatch leaves behind, and when it waits for its source. Counted, never timed."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from tests.waiting import GUARD_S

from haulier import DownloadEngine
from haulier._engine import worker
from haulier._engine.shells.intake import Intake


class Plugin:
    def fetch(self, download_id: str, target_id: Any, display_name: str) -> str:
        return "method"


def made(number: int) -> Any:
    return lambda download_id, target_id, display_name: f"closure {number}"


def test_a_queued_download_is_nothing_to_the_cycle_collector_whichever_impl_it_has(engine: DownloadEngine) -> None:
    engine.register_source("s")
    engine.pause("s")
    plugin, impls = Plugin(), [made(number) for number in range(worker.COMMON - 1)]
    for _ in range(50):
        for impl in (*impls, plugin.fetch):
            engine.worker.dispatch("s", 1, "n", "f", impl)
    gc.collect()
    tickets = engine._system.mailboxes["s"].source.queue.pending.values()
    assert len(tickets) == 50 * worker.COMMON
    assert not any(map(gc.is_tracked, tickets))


def test_each_download_is_run_by_its_own_impl(engine: DownloadEngine) -> None:
    impls = [made(number) for number in range(3 * worker.COMMON)]
    ids = [engine.worker.dispatch("s", 1, "n", "f", impl) for _ in range(2) for impl in impls]
    paths = {record["id"]: record["file_path"] for record in engine.as_completed(ids, GUARD_S)}
    assert [paths[each] for each in ids] == [f"closure {number}" for _ in range(2) for number in range(len(impls))]
    assert len(engine._system.mailboxes["s"].common) == worker.COMMON, "of closures, no more than these are kept"


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that dispatches waited for."""
    waited_for: list[str] = []
    put_and_wait = Intake.put_and_wait

    def noted(intake: Intake, ticket: Any) -> None:
        waited_for.append(intake._mailbox.source.name)
        put_and_wait(intake, ticket)

    monkeypatch.setattr(Intake, "put_and_wait", noted)
    return waited_for


@pytest.mark.parametrize(("between_s", "count"), [(0.0, 20), (60.0, 1)])
def test_a_dispatch_waits_for_an_idle_source_but_not_one_after_the_other(
    engine: DownloadEngine, handed_over: list[str], monkeypatch: pytest.MonkeyPatch, between_s: float, count: int
) -> None:
    """In turn over many sources each finds its source idle: two switches of threads for each download."""
    monkeypatch.setattr(worker, "BETWEEN_S", between_s)
    names = [f"source-{number}" for number in range(20)]
    ids = [engine.worker.dispatch(name, 1, "n", "f", made(1)) for name in names]
    assert handed_over == names[:count]
    assert len(list(engine.as_completed(ids, GUARD_S))) == 20
