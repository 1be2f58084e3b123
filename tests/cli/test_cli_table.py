"""The live table: on a terminal, and drawn from a board."""

from __future__ import annotations

import io
import re
from itertools import product
from typing import TYPE_CHECKING, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from haulier._cli.display.board import Bar, Board, SourceLine, state_of
from haulier._cli.display.table import draw
from haulier.status import SourceStatus

if TYPE_CHECKING:
    from tests.cli.conftest import OpenTerminal, Site


def test_a_terminal_shows_the_table_and_then_the_summary(terminal: OpenTerminal, site: Site) -> None:
    term = terminal("get", site.hold("/a.bin"), site.url("/none.bin"), site.url("/b", host="localhost"))
    term.read_until(lambda: "50%" in term.text and "4.0/8.0 kB" in term.text)
    assert re.search(r"queued done failed", term.text)
    assert f"● 127.0.0.1:{site.port}" in term.text
    assert "━" in term.text
    assert f"failed  {site.url('/b', host='localhost')}: 404 Not Found" in term.text
    assert "\x1b[36m" in term.raw
    site.gate.set()
    assert term.read_to_end() == 1
    assert "3 downloads: 1 done, 2 failed; 8.0 kB in " in term.text
    assert "start   " not in term.text


def test_it_follows_the_size_of_the_terminal_and_no_color(terminal: OpenTerminal, site: Site) -> None:
    term = terminal("get", site.hold("/a.bin"), columns=100, NO_COLOR="1")
    term.read_until(lambda: "50%" in term.text)
    term.resize(40)
    term.read_until(lambda: "\x1b[2J" in term.raw and "50%" in term.raw.rpartition("\x1b[2J")[2])
    after = term.text.rpartition("source ")[2]
    assert max(map(len, after.splitlines())) <= 40
    assert not re.search(r"\x1b\[(\d+;)*3[0-7]", term.raw)
    site.gate.set()
    assert term.read_to_end() == 0


def test_a_dumb_terminal_gets_lines(terminal: OpenTerminal, site: Site) -> None:
    term = terminal("get", site.serve("/a.bin"), TERM="dumb")
    assert term.read_to_end() == 0
    assert "done    " in term.text
    assert "\x1b[?25l" not in term.raw


# ---- drawn -----------------------------------------------------------------------------------------------------------


def board(sources: int, bars: int) -> Board:
    kinds = ["ended", "running", "delay", "suspended", "restart", "down", "paused", "back-off"]
    return Board(
        sources=tuple(
            SourceLine(f"host-{i}.example.org:8080", kinds[i % len(kinds)], "delay, 3.2 s", 1000, 20, i % 2)
            for i in range(sources)
        ),
        bars=tuple(
            Bar("id", f"[b]漢字 and a long name {i}.flac", "host", 50 + i, i % 3 * 1000, 10.0**i, i * 40.0 or None)
            for i in range(bars)
        ),
        total=10_000, done=300, failed=2, transferred=10**9, speed=10.0**6, elapsed_s=3700.0,
    )  # fmt: skip


def drawn(board: Board, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(draw(board, width, height))
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_it_has_room_everywhere(width: int) -> None:
    for height, (sources, bars) in product((5, 10, 24, 60), ((1, 0), (1, 1), (3, 4), (500, 100))):
        lines = drawn(board(sources, bars), width, height)
        assert len(lines) <= height
        assert "ended" in lines[-1]
        assert all(cell_len(line) <= width for line in lines)


def test_what_has_no_room_is_counted() -> None:
    text = "\n".join(drawn(board(500, 100), 80, 24))
    shown_hosts, shown_bars = text.count("host-"), text.count(".flac") or text.count("[b]")
    assert f"… and {500 - shown_hosts} more sources: " in text
    assert f"… {100 - shown_bars} more running" in text
    assert "302 of 10,000 ended" in text
    first = next(line for line in text.splitlines() if "host-" in line)
    assert first.startswith("● host-1.")  # running sources come before ended ones


def test_nothing_steers_the_terminal_and_long_times_are_whole() -> None:
    bar = Bar("id", "a\x1b[2J\u202eb\n漢字.bin", "host", 1, 10, 1.0, 3 * 3600 + 130)
    line = SourceLine("ho\x9bst", "running", "running", 0, 0, 0)
    text = drawn(Board((line,), (bar,), 1, 0, 0, 1, 1.0, 1.0), 80, 24)
    assert not [each for each in text if "\x1b[2J" in each or "\u202e" in each or "\x9b" in each]
    assert any("3:02:10" in each and "漢字.bin" in each for each in text)


def test_names_are_no_markup() -> None:
    assert "[b]漢字" in "\n".join(drawn(board(1, 1), 80, 24))


IDLE: SourceStatus = {
    "queued": 1, "in_flight": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "restarts": 0, "zombies": 0, "slots": 0,
    "concurrency": 1, "delay": 0.0, "down": False, "paused": False, "suspended_until": None, "next_start": 100.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "waiting", "kind", "text"),
    [
        ({}, 0, "running", "starts"),
        ({"in_flight": 1}, 0, "running", "running"),
        ({"in_flight": 2, "concurrency": 3}, 0, "running", "2 running"),
        ({"next_start": 103.25}, 0, "delay", "delay, 3.2 s"),
        ({"suspended_until": 160.0, "next_start": 160.0}, 0, "suspended", "suspended, 60.0 s"),
        ({"next_start": None}, 0, "restart", "crashed, restarts soon"),
        ({}, 1, "back-off", "next try in 7.0 s"),
        ({"queued": 2}, 1, "running", "starts"),
        ({"paused": True, "next_start": None}, 0, "paused", "waits for its turn"),
        ({"down": True, "next_start": None}, 0, "down", "down: crashed too often"),
        ({"queued": 0, "succeeded": 1}, 0, "ended", "all ended"),
        ({"queued": 0}, 0, "ended", "nothing to do"),
        ({"queued": 0, "suspended_until": 160.0}, 0, "ended", "nothing to do"),
    ],
)
def test_the_state_of_a_source(status: dict[str, object], waiting: int, kind: str, text: str) -> None:
    whole = cast("SourceStatus", {**IDLE, **status})
    assert state_of(whole, waiting, 107.0, 100.0) == (kind, text)
