"""Every relative link in a Markdown page leads to a file of the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for where in ("*.md", "docs/**/*.md", "benchmarks/*.md", "benchmarks/results/*.md")
    for page in ROOT.glob(where)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [link.partition("#")[0] for link in LINK.findall(text) if "://" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_there_are_pages_with_links() -> None:
    assert len(PAGES) > 10
    assert any("](docs/" in page.read_text(encoding="utf-8") for page in PAGES)
