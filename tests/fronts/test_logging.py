"""What haulier logs: starts, ends and waits as INFO, failures with their traceback as ERROR, and nothing unasked."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from haulier import DownloadEngine

ROOT = Path(__file__).parents[2]


def impl(download_id: str, target_id: Any, display_name: str) -> str:
    if target_id == "fail":
        raise OSError("the disk is full")
    return "/x"


@pytest.mark.expect_errors(r"Failed: .* at tidal")
def test_starts_ends_waits_and_failures(engine: DownloadEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "haulier")
    engine.worker.set_delay("tidal", 0.5)
    ids = [engine.worker.dispatch("tidal", target, "n", "f", impl) for target in ("works", "fail")]
    list(engine.as_completed(ids, 10))
    engine.close()
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "haulier.source"]
    assert ("INFO", f"start of {ids[0]} at tidal (attempt 1)") in lines
    assert ("INFO", f"Succeeded: {ids[0]} at tidal") in lines
    assert ("ERROR", f"Failed: {ids[1]} at tidal") in lines
    waits = [re.fullmatch(r"tidal waits (0\.\d\d\d) s for the end of its delay", text) for _, text in lines]
    assert any(waits)
    assert "OSError: the disk is full" in caplog.text
    assert "Traceback" in caplog.text


def test_quiet_by_default() -> None:
    program = (
        "import haulier\n"
        "with haulier.DownloadEngine() as e:\n"
        "    print(e.wait(e.worker.dispatch('a', 1, 'n', 'f', lambda *_: 1 / 0), 10)['error'])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("division by zero\n", "")


def test_the_example_of_the_readme_runs_as_it_stands() -> None:
    program = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert [line.split(" /")[0] for line in done.stdout.splitlines()] == ["Completed, Succeeded"] * 3


class Broken(logging.Handler):
    """What a program that ships its log elsewhere may have: ``emit`` raises once that place is gone."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ConnectionError("the log's place is gone")


@pytest.mark.expect_errors
def test_a_log_handler_that_raises_costs_nothing(
    engine: DownloadEngine, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    loggers, broken = [logging.getLogger("haulier"), logging.getLogger("pykka")], Broken()
    loggers[0].setLevel(logging.INFO)
    request.addfinalizer(lambda: loggers[0].setLevel(logging.NOTSET))
    for logger in loggers:
        logger.addHandler(broken)
        logger.propagate = False
        request.addfinalizer(partial(logger.removeHandler, broken))
        request.addfinalizer(partial(setattr, logger, "propagate", True))

    def fetch(download_id: str, target_id: Any, display_name: str) -> str:
        if target_id == "crash":
            raise SystemExit
        return impl(download_id, target_id, display_name)

    targets = ("works", "fail", "crash", "works")
    ids = [engine.worker.dispatch("tidal", target, "n", "f", fetch) for target in targets]
    over = [engine.wait(download_id, 10) for download_id in ids]
    assert [record.get("error") for record in over] == [None, "the disk is full", "worker crash: SystemExit", None]
    assert engine.stats()["tidal"]["restarts"] == 1
    engine._system.store.tell(object())  # a dead letter
    engine._system.supervisor.tell(object())
    assert engine.wait(engine.worker.dispatch("tidal", "works", "n", "f", fetch), 10)["phase"] == "succeeded"
    assert engine._system.supervisor.restarts.total == engine._system.store.restarts.total == 0
    assert "ConnectionError: the log's place is gone" in capsys.readouterr().err


def test_a_line_says_where_it_was_logged(engine: DownloadEngine, caplog: pytest.LogCaptureFixture) -> None:
    engine.add_record("tidal", "theirs", {})
    engine.add_record("tidal", "theirs", {})
    assert [(record.filename, record.funcName) for record in caplog.records] == [("records_api.py", "add_record")]
