"""Everything that ``ideas.py`` removes exists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import ideas, report

ROOT = Path(__file__).resolve().parents[2]


def test_every_idea_finds_what_it_undoes() -> None:
    undo = "from benchmarks.ideas import IDEAS\nfor idea in IDEAS: idea.undo(); print(idea.name)"
    done = subprocess.run([sys.executable, "-c", undo], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.splitlines() == [idea.name for idea in ideas.IDEAS], done.stderr


def test_what_is_not_there_is_not_replaced() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        ideas._replace(report, "no_such_name", None)
