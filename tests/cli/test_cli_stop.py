"""``haulier get`` stops on SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import OpenTerminal, Site, Start


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)  # fmt: skip
def test_a_signal_ends_it_politely(
    signum: int, status: int, start: Start, site: Site, tmp_path: Path, wait_begun: Callable[[str], None]
) -> None:
    partial, queued = site.hold("/a.bin?token=geheim"), site.serve("/b.bin")
    process = start("get", site.serve("/first.bin"), partial, queued, "--dest", "into")
    wait_begun("into/a.bin")
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["first.bin"]
    assert out.splitlines()[-1].startswith("3 downloads: 1 done, 2 not finished; ")
    assert re.sub(r" \(at \d+ %\)", "", err).splitlines() == [  # the progress depends on the machine
        "stopped, 2 not finished; to resume, run the same command again:",
        f"  {site.url('/a.bin')}?token=***",
        f"  {queued}",
    ]
    assert len(site.starts) == 2


def test_ctrl_c_on_a_terminal_leaves_it_in_order(terminal: OpenTerminal, site: Site, tmp_path: Path) -> None:
    term = terminal("get", site.hold("/a.bin"))
    term.read_until(lambda: "50%" in term.text)
    term.process.send_signal(signal.SIGINT)
    assert term.read_to_end() == 130
    assert "not finished" in term.text
    assert f"{site.url('/a.bin')} (at 50 %)" in term.text
    assert term.raw.rindex("\x1b[?25h") > term.raw.rindex("\x1b[?25l")  # the cursor is back
    assert not list(tmp_path.glob("*.part"))


def test_ctrl_c_while_it_reads_its_urls(start: Start) -> None:
    process = start("get", "-")
    assert process.stdin is not None
    process.stdin.write("# far more than a pipe takes in while nobody reads it\n" * 10_000)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_a_second_ctrl_c_ends_it_at_once(start: Start) -> None:
    """The proxy accepts the connection and never answers, so a graceful stop would wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        proxy = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        process = start("get", "https://127.0.0.1:1/a.bin", "--proxy", proxy)
        connection, _ = deaf.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            while "stops" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == ""


def test_a_second_ctrl_c_on_a_terminal_shows_the_cursor_again(terminal: OpenTerminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        proxy = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        term = terminal("get", "https://127.0.0.1:1/a.bin", "--proxy", proxy)
        connection, _ = deaf.accept()
        with connection:
            term.read_until(lambda: "1 running" in term.text)
            term.process.send_signal(signal.SIGINT)
            term.read_until(lambda: "interrupt again" in term.text)
            term.process.send_signal(signal.SIGINT)
            assert term.read_to_end() == 130
    assert term.raw.rindex("\x1b[?25h") > term.raw.rindex("\x1b[?25l")


def test_ctrl_c_before_anything_has_begun_is_no_traceback(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list")
    process = start("get", "-i", "list")
    with (tmp_path / "list").open("w"):  # haulier has opened it too, and waits for lines
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == ""
