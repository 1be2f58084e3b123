"""Refuse a commit whose subject is empty, over 72 characters, or ends in a period. Git's commit-msg hook calls it."""

from __future__ import annotations

import sys
from pathlib import Path

MOST = 72


def fault_of(message: str) -> str | None:
    """What is wrong with the subject of ``message``, and what to do; None if nothing is."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0].rstrip() if lines else ""
    if not subject:
        return "the subject is empty; say what the commit changes"
    if len(subject) > MOST:
        return f"the subject has {len(subject)} characters; at most {MOST} are allowed: {subject!r}"
    if subject.endswith("."):
        return f"the subject ends in a period; remove it: {subject!r}"
    if len(lines) > 1 and lines[1].strip():
        return "the second line is not empty; leave one empty line below the subject"
    return None


def main(path: str) -> int:
    """The exit status for the commit message in the file at ``path``: 0 if it is good, else 1."""
    fault = fault_of(Path(path).read_text(encoding="utf-8"))
    if fault is not None:
        print(f"commit message: {fault}", file=sys.stderr)
    return 0 if fault is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
