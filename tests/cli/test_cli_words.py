"""Numbers formatted for people: bytes, seconds, counts."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from haulier._cli.display.text import bytes_text, clock_text, counted, fitted, plain, span_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (1234567, "1.2 MB"),
     (10**9, "1.0 GB"), (10**18, "1000.0 PB")],
)  # fmt: skip
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0.0 s"), (0.44, "0.4 s"), (89.9, "89.9 s"), (90, "1:30")])
def test_span(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


@pytest.mark.parametrize("text", ["a", "می\u200cشود.txt", "👨\u200d👩\u200d👧.txt", "👍🏽 ❤\ufe0f"])
def test_a_line_shows_joiners_and_modifiers_and_a_cell_does_not(text: str) -> None:
    assert plain(text) == text
    cell = fitted(text, 20)
    assert cell_len(cell) == 20
    assert not set(cell) & set("\u200c\u200d\ufe0f🏽")


def test_a_line_has_no_control_characters() -> None:
    assert plain("a\x1b[2J\u202eb\u2028c\ud800") == "a\ufffd[2Jb c\ufffd"


def test_counted() -> None:
    assert (counted(1, "host"), counted(1200, "host")) == ("1 host", "1,200 hosts")
