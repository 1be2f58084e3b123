"""Slots that are torn in the middle of a step, at each bytecode of it: an audit goes by what is."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Final

import pytest

from haulier import DownloadEngine, RestartPolicy, RetryPolicy, SourcePolicy, State
from haulier.actors import supervisor
from haulier.actors.source import SourceActor
from haulier.records import TERMINAL_PHASES

GUARD_S = 10.0
ROOMS: Final = {
    str(Path("actors", "mailbox.py")), str(Path("actors", "source.py")), str(Path("core", "runs.py")),
    str(Path("core", "source.py")), str(Path("core", "line.py")), str(Path("core", "gate.py")),
}  # fmt: skip
"""Where a slot is torn."""

pytestmark = [
    pytest.mark.expect_errors,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),  # torn in its very last step
]


class Torn(BaseException):
    """Raised in the middle of a step."""


class Tear:
    """Raises ``Torn`` once, before bytecode number ``step`` of what slots carry out in ``ROOMS``."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.where: str | None = None
        self.over = False
        self._rooms: dict[Any, bool] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if code not in self._rooms:
            self._rooms[code] = str(Path(*Path(code.co_filename).parts[-2:])) in ROOMS
        if self.where is not None or self.over or not self._rooms[code]:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and not self.over:
            self.left -= 1
            if self.left < 0:
                self.where = f"{code.co_qualname}, line {frame.f_lineno}"
                raise Torn
        return self


def play(step: int, policy: SourcePolicy, monkeypatch: pytest.MonkeyPatch) -> Tear:
    """Some downloads at a source, one of whose slots is torn at ``step``."""
    tear, real = Tear(step), SourceActor._actor_loop

    def loop(self: SourceActor) -> None:
        sys.settrace(tear)
        real(self)

    def fetch(download_id: str, target_id: Any, name: str) -> str:
        if target_id == "fails" and download_id not in failed:
            failed.append(download_id)
            raise OSError("reset")
        return "/x"

    failed: list[str] = []
    with monkeypatch.context() as patched, DownloadEngine(idle_timeout=0.02) as engine:
        patched.setattr(SourceActor, "_actor_loop", loop)
        engine.register_source("tidal", policy, fetch)
        ids = [engine.worker.dispatch("tidal", target, "n", "f") for target in ("lands", "fails", "lands", "lands")]
        try:
            states = [each["state"] for each in engine.as_completed(ids, GUARD_S)]
        except TimeoutError:
            pytest.fail(f"step {step}, {tear.where}: {engine.get_all_downloads()}, {engine.stats()}")
        tear.over = True
        after = engine.worker.dispatch("tidal", "lands", "n", "f")
        source, mailbox = engine._system.mailboxes["tidal"].source, engine._system.mailboxes["tidal"]
        try:
            assert engine.wait(after, GUARD_S)["state"] == State.SUCCEEDED
        except TimeoutError:
            pytest.fail(f"step {step}, {tear.where}: {engine.stats()}")
        assert states.count(State.SUCCEEDED) >= 2, f"step {step}, {tear.where}"
        until = monotonic() + GUARD_S
        while source.live != len(mailbox.slots):
            assert monotonic() < until, f"step {step}, {tear.where}: {engine.stats()}, {mailbox.slots}"
            threading.Event().wait(0.001)
        left = (source.in_flight, source.gate.claims, source.zombies, source.pending, source.tried)
        assert left == ({}, 0, 0, {}, {}), f"step {step}, {tear.where}"
        assert {each["phase"] for each in engine.get_all_downloads()} <= TERMINAL_PHASES
    return tear


POLICIES: Final[dict[str, dict[str, Any]]] = {
    "one": {},
    "two, spaced and guarded": {"concurrency": 2, "delay": 0.001, "timeout": 60},
}

STRIDE: Final = int(os.environ.get("HAULIER_STRIDE", "29"))
"""Every so many bytecodes a slot is torn; all of them take two minutes."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", POLICIES)
def test_a_slot_that_is_torn_anywhere_costs_at_most_the_two_downloads_that_it_turns_from_and_to(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "AUDIT_S", 0.02)
    policy = SourcePolicy(
        restart=RestartPolicy(1000, wait=lambda _: 0.0),
        retry=RetryPolicy(stop=lambda state: state.attempt_number > 1, wait=lambda _: 0.001),
        **POLICIES[kind],
    )
    places = 0
    while play(places * STRIDE, policy, monkeypatch).where is not None:
        places += 1
    print(f"{kind}: torn at {places} of {places * STRIDE} bytecodes")
    assert places * STRIDE > 1000
