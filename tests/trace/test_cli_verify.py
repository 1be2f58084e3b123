"""``haulier verify`` as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from haulier import DownloadEngine


def haulier(*args: object) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "haulier", "verify", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_trace_that_is_well(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with DownloadEngine(trace=path) as engine:
        engine.wait(engine.worker.dispatch("s", 1, "n", "", lambda *_: "x"), timeout=30)
    assert haulier(path) == (0, "1 download, 1 attempt, 1 source, 1 engine: every promise was kept\n", "")


def test_a_trace_that_is_not(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with DownloadEngine(trace=path) as engine:
        engine.wait(engine.worker.dispatch("s", 1, "n", "", lambda *_: "x"), timeout=30)
    lines = path.read_text().splitlines(keepends=True)
    number, start = next((number, line) for number, line in enumerate(lines, 1) if '"start"' in line)
    path.write_text("".join([*lines[:number], start, *lines[number:]]))
    status, out, err = haulier(path)
    assert (status, out) == (1, "")
    assert "runs twice at once" in err
    assert f"line {number}: {start}" in err
    assert f"line {number + 1}: {start}" in err


def test_what_is_no_trace(tmp_path: Path) -> None:
    status, _, err = haulier(tmp_path / "none")
    assert (status, err) == (2, f"haulier verify: cannot read {tmp_path / 'none'}: no such file or directory\n")
    (tmp_path / "text").write_text("hello\n")
    status, _, err = haulier(tmp_path / "text")
    assert status == 2
    assert "this is not a trace: 'hello'" in err
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    status, _, err = haulier(tmp_path / "bytes")
    assert status == 2
    assert "Traceback" not in err


def test_a_trace_with_a_byte_order_mark_or_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text('{"run": "a", "event": "opened", "at": 0.0}\n', encoding="utf-8-sig")
    assert haulier(path)[0] == 0
    path.write_text('{"run": "a", "event": "opened", "at": 0.0}\n', encoding="utf-16")
    message = f"haulier verify: {path}: it is text in UTF-16; save it in UTF-8\n"
    assert haulier(path) == (2, "", message)
