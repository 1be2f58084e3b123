"""``haulier demo`` as a process."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from tests.cli.conftest import Haulier, Start


def test_it_keeps_every_promise_says_so_and_saves_a_picture(run: Haulier, tmp_path: Path) -> None:
    done = run("demo", "--seconds", "2", "--picture", "table.svg")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.rstrip().endswith("Every promise was kept.")
    report = done.stdout.partition("What happened:")[2]
    assert report.count("✓") == 8
    assert "✗" not in report
    report = " ".join(report.split())
    for line in (
        "in the middle of a file twice",
        "crashed twice",
        "429",
        "32 downloads, 30 done, 2 failed",
        "30 of 30",
    ):
        assert line in report
    svg = (tmp_path / "table.svg").read_text("utf-8")
    shown = "".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ")
    assert "fast.example" in shown
    assert "album-" in shown
    assert "url(" not in svg.replace("url(#", "")  # nothing to fetch
    assert list((tmp_path / "scratch").iterdir()) == []


def test_it_cannot_save_a_picture_nowhere(run: Haulier) -> None:
    done = run("demo", "--picture", "no/such/folder/table.svg")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot write 'no/such/folder/table.svg'" in done.stderr


def test_ctrl_c_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    process = start("demo")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("start"):
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "stopped; the files of the demo are deleted\n"
    assert list((tmp_path / "scratch").iterdir()) == []
