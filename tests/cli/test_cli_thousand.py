"""Download a thousand files from hosts that misbehave, and kill the process three times on the way."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from tests.cli.unruly import MISDEEDS, body_of, unruly_hosts

from haulier.verify import verify

if TYPE_CHECKING:
    from tests.cli.conftest import Start

FILES = 1_000
DELAY_S = 0.01
_TICK = threading.Event()


def finished(folder: Path) -> int:
    """How many finished files are in ``folder``."""
    return sum(not name.name.endswith((".part", ".json")) for name in folder.iterdir()) if folder.exists() else 0


@pytest.mark.timeout(240)
def test_a_thousand_files_are_right_whatever_the_hosts_and_the_killer_do(start: Start, tmp_path: Path) -> None:
    dest, urls = tmp_path / "files", tmp_path / "urls.txt"
    with unruly_hosts(5) as hosts:
        names = [f"file-{number:04}.bin" for number in range(FILES)]
        urls.write_text("\n".join(hosts[number % len(hosts)].url(name) for number, name in enumerate(names)))
        command = ("get", "-i", str(urls), "--dest", str(dest), "--delay", str(DELAY_S), "--retries", "12", "--quiet")
        traced = ("--trace", str(tmp_path / "trace"))
        for goal in (FILES // 4, FILES // 2, FILES * 3 // 4):
            process = start(*command, *traced)
            until = monotonic() + 100
            while finished(dest) < goal:
                assert process.poll() is None, process.communicate()
                assert monotonic() < until, f"{finished(dest)} of {goal}"
                _TICK.wait(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait(20)
            for host in hosts:
                host.forget()
        process = start(*command, *traced)
        out, err = process.communicate(timeout=150)
        assert (process.returncode, out, err) == (0, "", "")
    with (tmp_path / "trace").open() as lines:
        assert verify(lines).runs == 4
    assert sorted(path.name for path in dest.iterdir()) == names
    wrong = [name for name in names if (dest / name).read_bytes() != body_of(name)]
    assert wrong == []
    for host in hosts:
        assert host.peak == 1, f"{host.address}: {host.peak} at once"
        assert host.shortest_rest_s >= DELAY_S, f"{host.address}: {host.shortest_rest_s} s"
        assert sum(host.misdone.values()) > host.answers / 10
    assert sum((host.misdone for host in hosts), start=hosts[0].misdone.__class__()).keys() == MISDEEDS.keys()
    assert sum(host.resumed for host in hosts) > 0, "no download was resumed"
