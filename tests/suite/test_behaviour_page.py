"""docs/behaviour.md has every heading that a test, a comment or a page names as ``behaviour.md#heading``."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "behaviour.md"
NAMED = re.compile(r"behaviour\.md#([a-z-]+)")


def _headings() -> set[str]:
    titles = re.findall(r"^##+ (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {title.lower().replace(" ", "-") for title in titles}


def test_every_heading_that_is_named_exists() -> None:
    files = [
        file for folder in ("tests", "src", "docs") for kind in ("*.py", "*.md") for file in (ROOT / folder).rglob(kind)
    ]
    here = Path(__file__).resolve()
    named = {
        heading: str(file.relative_to(ROOT))
        for file in files
        if file.resolve() != here
        for heading in NAMED.findall(file.read_text(encoding="utf-8"))
    }
    assert {heading: file for heading, file in named.items() if heading not in _headings()} == {}
    assert {"cancel", "failure", "limits", "supervision", "bad-input", "records"} <= set(named)
