"""An interrupted run removes what it made, and the command says in one line how the run ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import fresh
from benchmarks.fresh import RunError, command, end, measure_fresh

RUN = """
import sys, tempfile, threading
with tempfile.TemporaryDirectory(dir=sys.argv[1]):
    print("made", flush=True)
    threading.Event().wait(100)
"""

DEAF = """
import signal, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("made", flush=True)
threading.Event().wait(100)
"""


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "made\n"
    return child


def test_an_interrupted_run_removes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "HEARS_WITHIN_S", 0.01)
    child = _start(RUN, str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    end(child)
    assert child.returncode is not None
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_does_not_hear_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "HEARS_WITHIN_S", 0.01)
    monkeypatch.setattr(fresh, "TIDIES_WITHIN_S", 0.01)
    child = _start(DEAF)
    end(child)
    assert child.returncode == -9


def test_a_run_that_takes_too_long_is_an_error_and_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "RUN_TIMEOUT_S", 0.01)
    monkeypatch.setattr(fresh, "HEARS_WITHIN_S", 0.01)
    monkeypatch.setattr(fresh, "TIDIES_WITHIN_S", 0.01)
    ended: list[subprocess.Popen[str]] = []

    def end_it(child: subprocess.Popen[str]) -> None:
        ended.append(child)
        end(child)

    monkeypatch.setattr(fresh, "end", end_it)
    file = tmp_path / "hangs.py"
    file.write_text("import threading\nthreading.Event().wait(100)\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"not done after 0\.01 s"):
        measure_fresh(file, [])
    [child] = ended
    assert child.returncode is not None


def test_a_command_says_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> int:
        raise RunError("w1: pool died")

    def is_interrupted() -> int:
        raise KeyboardInterrupt

    assert [command(body) for body in (lambda: 0, fails, is_interrupted)] == [0, 1, 130]
    assert capsys.readouterr().err == "w1: pool died\ninterrupted\n"
