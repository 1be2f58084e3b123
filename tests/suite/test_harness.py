"""A benchmark refuses what it cannot measure, and a smaller experiment does not overwrite the filed results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks import harness
from benchmarks.figures import QUICK, RESULTS
from benchmarks.get import GET
from benchmarks.harness import Workload
from benchmarks.million import MILLION
from benchmarks.restart import RESTART
from benchmarks.w1 import W1
from benchmarks.w3 import W3
from benchmarks.w7 import W7


@pytest.mark.parametrize(
    ("workload", "row"),
    [
        (W1, "nobody"),
        (W1, "pool:many"),  # has no such mode
        (W3, "floor"),  # has no delay
        (W7, "huey-sqlite:many"),  # has no bulk call
        (RESTART, "pool"),  # survives no crash
        (GET, "pool"),  # is not a command
    ],
)
def test_a_row_that_cannot_be_measured_is_refused_at_the_call(
    workload: Workload, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        harness.main(workload, ["--contenders", row])
    assert refused.value.code == 2
    assert f"no contender {row!r}: there are {workload.contenders[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ([], RESULTS),
        (["--runs", "1"], RESULTS),
        (["--queued", "7"], QUICK),
        (["--contenders", "pool,durable"], QUICK),
    ],
)
def test_only_the_whole_of_a_workload_is_filed_among_the_results(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write(workload: Workload, results: dict[str, Any], into: Path) -> str:
        written.append(into)
        return ""

    monkeypatch.setattr(harness, "run", lambda *_, **__: {"runs": {"pool": []}})
    monkeypatch.setattr(harness, "write", write)
    assert harness.main(MILLION, arguments) == 0
    assert written == [folder]
