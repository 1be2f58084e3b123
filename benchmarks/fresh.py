"""Do a run in a process of its own. An interrupted run removes everything that it made."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import Sample

__all__ = ["RunError", "command", "measure_fresh"]

RUN_TIMEOUT_S: Final = 300.0

HEARS_WITHIN_S: Final = 1.0
"""How long to wait before an interrupt is sent to a run, in seconds: Ctrl-C in a terminal reaches the run by itself."""

TIDIES_WITHIN_S: Final = 10.0
"""How long an interrupted run may take to remove what it made (folders, a server), in seconds."""


class RunError(Exception):
    """The process of a contender failed, or took too long."""


def command(body: Callable[[], int]) -> int:
    """Return the exit code of a command: that of ``body``, 1 if a run failed, 130 after Ctrl-C. These print a line."""
    try:
        return body()
    except RunError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def measure_fresh(file: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Sample:
    """Run ``python file …``, and return the sample that it prints as JSON. Raises ``RunError`` if that fails."""
    child = subprocess.Popen(
        [sys.executable, str(file), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        said, complained = child.communicate(timeout=RUN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise RunError(f"not done after {RUN_TIMEOUT_S:g} s") from None
    finally:
        if child.returncode is None:
            end(child)
    if child.returncode != 0:
        raise RunError(f"exit code {child.returncode}\n{complained.rstrip()}")
    sample: Sample = json.loads(said)
    return sample


def end(child: subprocess.Popen[str]) -> None:
    """Interrupt a run as Ctrl-C does, so that it cleans up. Kill it if it does not end."""
    try:
        if not _ends(child, HEARS_WITHIN_S):
            child.send_signal(signal.SIGINT)
            _ends(child, TIDIES_WITHIN_S)
    finally:
        child.kill()  # does nothing to one that has ended
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def _ends(child: subprocess.Popen[str], within_s: float) -> bool:
    try:
        child.communicate(timeout=within_s)  # reads the output as well: a full pipe would block the child
    except subprocess.TimeoutExpired:
        return False
    return True
