"""Of one URL there is one file: two downloads at once, and file systems without marks, links or fsync."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from haulier.errors import DownloadCancelled, PermanentError
from haulier.fetchers import delivery, origin
from haulier.fetchers.destination import Overwrite, find_twin
from haulier.fetchers.http import FileBusy, HttpFetcher, Request
from haulier.fetchers.origin import key_of

if TYPE_CHECKING:
    from tests.fetchers.conftest import Background, Exchange, Fetch, Site

    from haulier.transfer import Transfer

GUARD_S = 10.0
BODY = bytes(range(256)) * 100
HALF = len(BODY) // 2


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def no_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without extended attributes."""
    monkeypatch.setattr(origin, "_get", None)
    monkeypatch.setattr(origin, "_set", None)


class Halves:
    """A route that sends half of the body, and the rest once it may. Answers ranges."""

    def __init__(self, etag: str = "") -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self._headers = f"ETag: {etag}\r\n" if etag else ""

    def __call__(self, exchange: Exchange) -> None:
        first = int(exchange.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        span = f"Content-Range: bytes {first}-{len(BODY) - 1}/{len(BODY)}\r\n" if first else ""
        status = "206 Partial Content" if first else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(BODY) - first}\r\n{self._headers}{span}\r\n"
        exchange.raw(head.encode() + BODY[first : max(first, HALF)])
        self.begun.set()
        assert self.may_end.wait(GUARD_S)
        exchange.raw(BODY[max(first, HALF) :])


# ---- two at once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", ["never", "changed", "always"])
def test_two_downloads_of_one_url_at_once_leave_one_file(
    overwrite: Overwrite,
    site: Site,
    dest: Path,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
    in_background: type[Background],
) -> None:
    halves = Halves()
    url = site.on("/a.bin", halves)
    fetch = fetch_by(make_fetcher(overwrite=overwrite))
    first = in_background(lambda: fetch(url))
    assert halves.begun.wait(GUARD_S)
    while not (dest / "a.bin.part.json").exists():
        pass
    second = in_background(lambda: fetch(url))
    halves.may_end.set()
    assert first.wait() == second.wait() == dest / "a.bin"
    assert names_in(dest) == ["a.bin"]
    assert (dest / "a.bin").read_bytes() == BODY


@pytest.mark.usefixtures("no_marks")
def test_nor_do_they_leave_two_where_marks_cannot_be_written(
    site: Site, fetch: Fetch, dest: Path, in_background: type[Background]
) -> None:
    halves = Halves()
    url = site.on("/a.bin", halves)
    both = [in_background(lambda: fetch(url)) for _ in range(2)]
    assert halves.begun.wait(GUARD_S)
    halves.may_end.set()
    assert [each.wait() for each in both] == [dest / "a.bin"] * 2
    assert names_in(dest) == ["a.bin"]


def test_who_waits_resumes_what_a_killed_process_leaves(
    site: Site, fetch: Fetch, dest: Path, in_background: type[Background]
) -> None:
    halves = Halves('"v1"')
    url = site.on("/a.bin", halves)
    code = "import sys; from haulier.fetchers.http import fetch; fetch(sys.argv[1], sys.argv[2])"
    with subprocess.Popen([sys.executable, "-c", code, url, dest], env=os.environ) as process:
        assert halves.begun.wait(GUARD_S)
        while not (dest / "a.bin.part.json").exists() or (dest / "a.bin.part").stat().st_size == 0:
            halves.may_end.wait(0.01)
        waits = in_background(lambda: fetch(url))
        process.send_signal(signal.SIGKILL)
    halves.may_end.set()
    assert waits.wait().read_bytes() == BODY
    assert names_in(dest) == ["a.bin"]


@pytest.fixture
def held(site: Site, dest: Path) -> str:
    """The URL of a file whose part is described, but not locked."""
    url = site.serve("/a.bin", BODY, ETag='"v1"')
    dest.mkdir()
    (dest / "a.bin.part").write_bytes(BODY[:HALF])
    told = {"version": 1, "key": key_of(url), "etag": '"v1"', "last_modified": None, "size": len(BODY)}
    (dest / "a.bin.part.json").write_text(json.dumps(told))
    return url


def test_a_part_that_stays_locked_is_waited_for_and_not_touched(
    held: str, site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PATIENCE_S", 0.0)
    with (dest / "a.bin.part").open("r+b") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(FileBusy, match=r"^another download of the same URL writes 'a\.bin\.part'$") as caught:
            fetch(held)
    assert caught.value.retry_in_s == 1
    assert (dest / "a.bin.part").read_bytes() == BODY[:HALF]
    assert site.asked == [], "who waits asks for nothing"
    assert fetch(site.serve("/other/a.bin", b"other")).name == "a (1).bin"


def test_a_cancel_ends_the_wait(
    held: str, fetch: Fetch, dest: Path, transfer: Transfer, in_background: type[Background]
) -> None:
    with (dest / "a.bin.part").open("r+b") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        waits = in_background(lambda: fetch(held, transfer=transfer))
        transfer.cancelled = True
        with pytest.raises(DownloadCancelled):
            waits.wait()


def test_who_finds_the_file_of_a_faster_one_checks_its_checksum(site: Site, fetch: Fetch, dest: Path) -> None:
    """The faster one lands between the answer and the landing of the slower one."""
    url = site.url("/a.bin")

    def route(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmi")
        (dest / "a.bin").write_bytes(b"theirs")
        fd = os.open(dest / "a.bin", os.O_RDONLY)
        origin.write_mark(fd, origin.Mark(key_of(url), None, url))
        os.close(fd)
        exchange.raw(b"ne")

    dest.mkdir()
    site.on("/a.bin", route)
    with pytest.raises(PermanentError, match="is there already, with another checksum"):
        fetch(Request(url=url, checksum=f"sha256:{sha256(b'mine').hexdigest()}"))
    assert names_in(dest) == ["a.bin"]


# ---- what a file system lacks ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_marks")
def test_without_marks_a_second_run_leaves_one_file_per_content(site: Site, fetch: Fetch, dest: Path) -> None:
    url = site.serve("/feed.xml", b"one")
    assert [fetch(url) for _ in range(3)] == [dest / "feed.xml"] * 3
    site.serve("/feed.xml", b"two")
    assert [fetch(url).name for _ in range(3)] == ["feed (1).xml"] * 3
    site.serve("/feed.xml", b"one")
    assert fetch(url).name == "feed.xml"
    assert names_in(dest) == ["feed (1).xml", "feed.xml"]


@pytest.mark.usefixtures("no_marks")
@pytest.mark.parametrize("length", [0, 1_048_576, 1_048_577])
def test_one_other_byte_is_another_file(length: int, site: Site, fetch: Fetch) -> None:
    body = bytes(length)
    url = site.serve("/a", body + b"x")
    fetch(url)
    site.serve("/a", body + b"y")
    assert fetch(url).name == "a (1)"
    site.serve("/a", body + b"x")
    assert fetch(url).name == "a"


def test_a_marked_file_of_another_url_is_no_twin(site: Site, fetch: Fetch) -> None:
    assert fetch(site.serve("/x/a", b"same")).name == "a"
    assert fetch(site.serve("/y/a", b"same")).name == "a (1)"


def test_a_link_is_no_twin(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "a").symlink_to("target")
    part = tmp_path / "a (1).part"
    part.write_bytes(b"x")
    assert find_twin(part, tmp_path / "a", "key", "never") is None


@pytest.mark.usefixtures("no_marks")
def test_a_twin_behind_a_name_that_is_still_growing_is_found(tmp_path: Path) -> None:
    part, twin = tmp_path / "a.part", tmp_path / "a (1)"
    part.write_bytes(b"x")
    twin.write_bytes(b"x")
    assert find_twin(part, tmp_path / "a", "key", "never") == twin
    assert find_twin(part, tmp_path / "a", "key", "always") is None


def failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    "number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV]
)
def test_files_land_without_hard_links(
    number: int, site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(number))
    url = site.serve("/a", b"x")
    assert [fetch(url) for _ in range(2)] == [dest / "a"] * 2
    assert names_in(dest) == ["a"]


def test_files_land_where_python_has_no_links(
    site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "link")
    assert fetch(site.serve("/a", b"x")).read_bytes() == b"x"
    assert names_in(dest) == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_files_land_without_fsync(
    number: int, site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(os, "fsync", failing(number))
        assert fetch(site.serve("/a", b"x")).read_bytes() == b"x"
    assert names_in(dest) == ["a"]


def test_an_fsync_that_fails_for_another_reason_is_a_failure(
    site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.serve("/a", b"x")
    with monkeypatch.context() as failed:
        failed.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(Exception, match="cannot write 'a'"):
            fetch(url)
    assert names_in(dest) == []
