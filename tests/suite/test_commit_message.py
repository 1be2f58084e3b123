"""tools/check_commit_message.py refuses bad subjects and lets good ones pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "check_commit_message.py"


def _check(message: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text(message, encoding="utf-8")
    return subprocess.run([sys.executable, str(SCRIPT), str(file)], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    "message", ["Resume only if the 206 repeats the ETag\n", "x" * 72, "Say why\n\nA body.\n# note"]
)
def test_good_messages_pass(message: str, tmp_path: Path) -> None:
    done = _check(message, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("x" * 73, "73 characters"),
        ("Resume downloads.", "ends in a period"),
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("Subject\nbody at once", "second line"),
    ],
)
def test_bad_messages_are_refused_with_what_is_wrong(message: str, fault: str, tmp_path: Path) -> None:
    done = _check(message, tmp_path)
    assert done.returncode == 1
    assert fault in done.stderr
