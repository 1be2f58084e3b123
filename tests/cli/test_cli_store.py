"""``haulier get --store FILE`` resumes unfinished downloads without their URLs."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from haulier import DownloadEngine

if TYPE_CHECKING:
    from tests.cli.conftest import Haulier, Site, Start, WaitUntil


def ended_by(process: subprocess.Popen[str], signum: int) -> str:
    """Send ``signum`` to ``process``; return what it printed on stderr."""
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    return err


def succeeded(store: Path) -> int:
    """How many downloads have succeeded, as far as that is on disk."""
    with closing(sqlite3.connect(store)) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM downloads WHERE phase = 'succeeded'").fetchall()
    return int(count)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_it_goes_on_where_it_was_interrupted(
    signum: int,
    start: Start,
    run: Haulier,
    site: Site,
    tmp_path: Path,
    wait_begun: Callable[[str], None],
    wait_until: WaitUntil,
) -> None:
    first, partial, last = site.serve("/first.bin"), site.hold("/a.bin?token=geheim"), site.serve("/b.bin")
    process = start("get", "--store", "my list.db", first, partial, last, "--dest", "into")
    wait_begun("into/a.bin")
    # Killed before this is on disk, the first download may run again.
    wait_until(lambda: succeeded(tmp_path / "my list.db") == 1, "the end of the first download on disk")
    err = ended_by(process, signum)
    if signum == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[0] == "stopped, 2 not finished; to resume, run haulier get --store 'my list.db':"
        assert sorted(line.split(" (")[0] for line in err.splitlines()[1:]) == [
            f"  {site.url('/a.bin')}?token=***",
            f"  {last}",
        ]
    assert [path.name for path in (tmp_path / "into").glob("*.bin")] == ["first.bin"]
    site.gate.set()
    again = run("get", "--store", "my list.db", "--dest", "into", "--json")
    assert (again.returncode, again.stderr) == (0, "")
    done = [line for line in map(json.loads, again.stdout.splitlines()) if line["event"] == "done"]
    assert [line["url"] for line in done] == [f"{site.url('/a.bin')}?token=***", last]
    assert sorted(path.name for path in (tmp_path / "into").iterdir()) == ["a.bin", "b.bin", "first.bin"]
    assert len(site.starts) == 4  # one of them twice
    nothing = run("get", "--store", "my list.db", "--dest", "into")
    assert nothing.stdout.startswith("0 downloads: 0 done"), nothing.stderr
    assert nothing.returncode == 0


@pytest.mark.parametrize("store", [(), ("--store", "q.db")])
def test_the_progress_of_a_stopped_download_is_shown(
    store: tuple[str, ...], start: Start, site: Site, tmp_path: Path, wait_until: WaitUntil
) -> None:
    partial, waits = site.hold("/a.bin", b"1" * 1_000_000), site.serve("/b.bin")
    process = start("get", *store, partial, waits)
    part = tmp_path / "a.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size >= 400_000, "a part with most of what was sent")
    lines = ended_by(process, signal.SIGINT).splitlines()
    assert process.returncode == 130
    assert re.fullmatch(rf"  {partial} \(at (4|5)\d %\)", lines[1])
    assert lines[2] == f"  {waits}"


def test_the_progress_is_that_of_this_command(
    start: Start, site: Site, tmp_path: Path, wait_begun: Callable[[str], None]
) -> None:
    """The file that waits was begun by an earlier command; this one has not asked for it."""
    second = site.hold("/b.bin")
    process = start("get", "--store", "q.db", site.hold("/a.bin"), second)
    wait_begun("a.bin")
    (line,) = [each for each in ended_by(process, signal.SIGTERM).splitlines() if second in each]
    assert line == f"  {second}"


@pytest.mark.parametrize("more", [(), ("-i", "empty")])
def test_a_store_that_does_not_exist_has_nothing_to_resume(more: tuple[str, ...], run: Haulier, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# none\n")
    done = run("get", "--store", "typo.db", *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "haulier get: cannot resume from 'typo.db': there is no such file; give URLs to create it\n"
    assert not list(tmp_path.glob("typo*"))


def test_a_folder_is_no_store(run: Haulier, site: Site, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for urls in ((), (site.serve("/a"),)):
        done = run("get", "--store", "folder", *urls)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "haulier get: cannot use 'folder' as --store: it is a folder; give the name of a file\n"
    assert site.starts == []


def test_what_waits_already_is_not_added_twice(
    start: Start, run: Haulier, site: Site, tmp_path: Path, wait_begun: Callable[[str], None]
) -> None:
    partial, waits, new = site.hold("/a.bin"), site.serve("/b.bin"), site.serve("/c.bin")
    process = start("get", "--store", "q.db", partial, waits)
    wait_begun("a.bin")
    ended_by(process, signal.SIGKILL)
    site.gate.set()
    done = run("get", "--store", "q.db", new, waits, partial)
    assert done.stdout.splitlines()[-1].startswith("3 downloads: 3 done"), done.stderr
    assert len(site.starts) == 4  # the one that was interrupted twice


def test_a_store_that_is_in_use_or_no_store_is_a_usage_error(
    start: Start, run: Haulier, site: Site, tmp_path: Path, wait_begun: Callable[[str], None]
) -> None:
    process = start("get", "--store", "q.db", site.hold("/a.bin"))
    wait_begun("a.bin")
    second = run("get", "--store", "q.db")
    assert second.returncode == 2
    assert f"in use by another engine, process {process.pid}" in second.stderr
    (tmp_path / "text").write_text("no database")
    wrong = run("get", "--store", "text")
    assert (wrong.returncode, "not an SQLite database" in wrong.stderr) == (2, True)
    assert (tmp_path / "text").read_text() == "no database"
    with DownloadEngine(store=tmp_path / "daemon.db") as engine:
        engine.add_record("peer", "mine", {"state": "InProgress"})
    others = run("get", "--store", "daemon.db", site.serve("/b.bin"))
    assert (others.returncode, "contains downloads of another program" in others.stderr) == (2, True)


def test_no_record_has_the_secrets_of_a_url(run: Haulier, site: Site, tmp_path: Path) -> None:
    url = site.serve("/a.bin?token=geheim").replace("://", "://joe:hunter2@")
    assert run("get", "--store", "q.db", url).returncode == 0
    with closing(sqlite3.connect(tmp_path / "q.db")) as connection:
        [(record,)] = connection.execute("SELECT record FROM downloads").fetchall()
    assert "geheim" not in record
    assert "hunter2" not in record
