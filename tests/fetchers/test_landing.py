"""How a file comes to its place: names that are taken, links that are traps, disks that are full."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from haulier.errors import PermanentError
from haulier.fetchers.destination import Overwrite
from haulier.fetchers.http import FetchError, HttpFetcher
from haulier.fetchers.landing import Landing

if TYPE_CHECKING:
    from tests.fetchers.conftest import Background, Exchange, Fetch, Site

GUARD_S = 10.0


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def landing_of(dest: Path, name: str, overwrite: Overwrite = "never", key: str = "") -> Iterator[Landing]:
    with Landing(dest, name, key or f"the key of {name}", overwrite=overwrite) as landing:
        landing.note(None, None, None, resumable=False)
        yield landing


def land(dest: Path, name: str, content: bytes = b"new", overwrite: Overwrite = "never") -> Path:
    with landing_of(dest, name, overwrite) as landing:
        landing.write(content)
        return landing.land()


# ---- names that are taken --------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_not_overwritten(site: Site, fetch: Fetch, dest: Path) -> None:
    site.serve("/a.tar.gz", b"same")
    assert [fetch(site.url(f"/a.tar.gz?{n}")).name for n in range(3)] == ["a.tar.gz", "a (1).tar.gz", "a (2).tar.gz"]
    assert set(tree(dest).values()) == {b"same"}


def test_unless_that_is_wanted(
    site: Site, dest: Path, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    fetch = fetch_by(make_fetcher(overwrite=True))
    fetch(site.serve("/a", b"old"))
    assert fetch(site.serve("/a", b"new")) == dest / "a"
    assert tree(dest) == {"a": b"new"}


def test_a_broken_download_overwrites_nothing(
    site: Site, dest: Path, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    fetch = fetch_by(make_fetcher(overwrite=True))
    fetch(site.serve("/a", b"old"))

    def broken(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnew")
        exchange.hang_up()

    with pytest.raises(FetchError):
        fetch(site.on("/a", broken))
    assert tree(dest) == {"a": b"old"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_of_one_name_at_once_do_not_mix(
    overwrite: bool,
    site: Site,
    dest: Path,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
    in_background: type[Background],
) -> None:
    both_began = threading.Barrier(2)

    def route(letter: bytes) -> Callable[[Exchange], None]:
        def serve(exchange: Exchange) -> None:
            exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + letter * 100_000)
            both_began.wait(GUARD_S)
            exchange.raw(letter * 100_000)

        return serve

    fetch = fetch_by(make_fetcher(overwrite=overwrite))
    downloads = [in_background(partial(fetch, site.on(f"/{letter}/a.bin", route(letter.encode())))) for letter in "xy"]
    paths = {download.wait() for download in downloads}
    whole = {b"x" * 200_000, b"y" * 200_000}
    if overwrite:
        assert paths == {dest / "a.bin"}
        assert set(tree(dest)) == {"a.bin"}
        assert set(tree(dest).values()) < whole
    else:
        assert paths == {dest / "a.bin", dest / "a (1).bin"}
        assert set(tree(dest)) == {"a.bin", "a (1).bin"}
        assert set(tree(dest).values()) == whole


def test_many_threads_want_one_name_and_each_gets_its_own(dest: Path, in_background: type[Background]) -> None:
    start = threading.Barrier(12)

    def one(content: bytes) -> Path:
        start.wait(GUARD_S)
        with landing_of(dest, "a.bin", key=f"the key of {content!r}") as landing:
            landing.write(content)
            return landing.land()

    running = {content: in_background(partial(one, content)) for content in (b"%d" % n for n in range(12))}
    paths = {content: download.wait() for content, download in running.items()}
    assert len(set(paths.values())) == 12
    assert all(path.read_bytes() == content for content, path in paths.items())
    assert len(tree(dest)) == 12, "and no part is left"


def test_the_part_has_the_name_that_the_file_will_have(dest: Path) -> None:
    land(dest, "a.bin")
    with landing_of(dest, "a.bin"):
        assert set(tree(dest)) == {"a.bin", "a (1).bin.part", "a (1).bin.part.json"}


def test_a_file_that_turns_up_meanwhile_is_not_overwritten(dest: Path) -> None:
    with landing_of(dest, "a.bin") as landing:
        landing.write(b"mine")
        (dest / "a.bin").write_bytes(b"theirs")
        assert landing.land() == dest / "a (1).bin"
    assert tree(dest) == {"a.bin": b"theirs", "a (1).bin": b"mine"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_download_is_not_mistaken_for_the_part_of_another(site: Site, fetch: Fetch, overwrite: bool) -> None:
    finished = fetch(site.serve("/a.part", b"finished"))
    fetch(site.serve("/a", b"other"))
    assert finished.read_bytes() == b"finished"
    assert finished.suffix != ".part"


def test_without_hard_links_nothing_is_overwritten_either(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> NoReturn:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    land(dest, "a", b"first")
    with landing_of(dest, "b") as landing:
        landing.write(b"mine")
        (dest / "b").write_bytes(b"theirs")
        landing.land()
    assert tree(dest) == {"a": b"first", "b": b"theirs", "b (1)": b"mine"}


# ---- parts that are there already ------------------------------------------------------------------------------------


def test_a_link_in_the_place_of_the_part_is_not_followed(site: Site, fetch: Fetch, dest: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    dest.mkdir()
    (dest / "a.part").symlink_to(precious)
    (dest / "b.part").symlink_to(tmp_path / "not there")
    (dest / "c.part").hardlink_to(precious)
    for name in "abc":
        path = fetch(site.serve(f"/{name}", b"new"))
        assert (path.parent, path.read_bytes(), path.is_symlink()) == (dest, b"new", False)
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "not there").exists()


@pytest.mark.parametrize("overwrite", ["never", "changed", "always"])
def test_a_link_in_the_place_of_the_file_is_not_followed(overwrite: Overwrite, dest: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    dest.mkdir()
    (dest / "a").symlink_to(precious)
    (dest / "b").symlink_to(tmp_path / "not there")
    for name in "ab":
        path = land(dest, name, overwrite=overwrite)
        assert not path.is_symlink()
        assert path.read_bytes() == b"new"
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "not there").exists()


def test_a_folder_or_a_pipe_in_the_place_of_the_part_is_left_alone(dest: Path) -> None:
    (dest / "a.part").mkdir(parents=True)
    os.mkfifo(dest / "b.part")
    assert land(dest, "a").read_bytes() == land(dest, "b").read_bytes() == b"new"
    assert (dest / "a.part").is_dir()
    assert (dest / "b.part").is_fifo()


def test_the_part_of_a_killed_process_makes_way(site: Site, fetch: Fetch, dest: Path) -> None:
    half = threading.Event()

    def route(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour")
        half.set()
        exchange.hang()

    code = """
import sys
from haulier.fetchers.http import HttpFetcher
from haulier._engine.ticket import make_ticket
from haulier.transfer import Transfer
ticket = make_ticket("an-id", "example", sys.argv[2], "A", username="example")
HttpFetcher(sys.argv[1])("an-id", sys.argv[2], "A", transfer=Transfer(ticket, 1, {}, 0.0))
"""
    url = site.on("/a", route)
    with subprocess.Popen([sys.executable, "-c", code, dest, url], env=os.environ) as process:
        assert half.wait(GUARD_S)
        while not (dest / "a.part.json").exists():  # it is written by who has the lock
            pass
        assert fetch(site.serve("/other/a", b"at once")).name == "a (1)", "a living process keeps its name"
        process.send_signal(signal.SIGKILL)
    assert (dest / "a.part").exists()
    site.serve("/a", b"again")
    assert fetch(url) == dest / "a"
    assert tree(dest) == {"a": b"again", "a (1)": b"at once"}


def test_a_part_that_somebody_holds_is_not_touched(dest: Path) -> None:
    dest.mkdir()
    part = dest / "a.part"
    part.write_bytes(b"theirs")
    with part.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert land(dest, "a") == dest / "a (1)"
    assert part.read_bytes() == b"theirs"


def test_where_there_are_no_locks_no_part_is_taken_for_abandoned(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> NoReturn:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("haulier.fetchers.parts.flock", no_locks)
    dest.mkdir()
    (dest / "a.part").write_bytes(b"theirs")
    assert land(dest, "a") == dest / "a (1)"
    assert tree(dest) == {"a.part": b"theirs", "a (1)": b"new"}


# ---- disks -----------------------------------------------------------------------------------------------------------


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_clearly_and_can_be_retried(
    number: int, site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.serve("/a", b"x")
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", failing(number))
        with pytest.raises(FetchError) as caught:
            fetch(url)
    assert str(caught.value) == f"cannot write 'a' in {str(dest)!r}: no space left"
    assert tree(dest) == {}
    assert fetch(url).name == "a"


@pytest.mark.parametrize("mode", ["r+b", "wb"], ids=["of the file", "of its sidecar"])
def test_a_disk_that_fills_up_in_the_middle(
    mode: str, site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fdopen = os.fdopen
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115

    def on_a_full_disk(fd: int, *args: Any, **options: Any) -> Any:
        if args == (mode,):
            os.dup2(full.fileno(), fd)
        return fdopen(fd, *args, **options)

    with full:
        monkeypatch.setattr(os, "fdopen", on_a_full_disk)
        with pytest.raises(FetchError, match="no space left"):
            fetch(site.serve("/a", bytes(300_000)))
    assert tree(dest) == {}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_place_that_may_not_be_written_to_is_final(
    number: int, site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.serve("/a", b"x")
    with monkeypatch.context() as closed:
        closed.setattr(os, "link", failing(number))
        with pytest.raises(PermanentError) as caught:
            fetch(url)
    assert str(caught.value) == f"cannot write 'a' in {str(dest)!r}: {os.strerror(number).lower()}"
    assert tree(dest) == {}


def test_a_file_in_the_place_of_the_folder_is_final(site: Site, fetch: Fetch, dest: Path) -> None:
    dest.write_bytes(b"a file")
    with pytest.raises(PermanentError, match="file exists"):
        fetch(site.serve("/a", b"x"))
    assert dest.read_bytes() == b"a file"


def test_a_folder_that_vanishes_meanwhile_is_made_again_by_the_next_attempt(dest: Path) -> None:
    with landing_of(dest, "a") as landing:
        (dest / "a.part").unlink()
        (dest / "a.part.json").unlink()
        dest.rmdir()
        with pytest.raises(FetchError, match="no such file"):
            landing.land()
    assert land(dest, "a").read_bytes() == b"new"


def test_a_folder_in_the_place_of_the_file_is_never_replaced(dest: Path) -> None:
    (dest / "a").mkdir(parents=True)
    assert land(dest, "a", overwrite="always") == dest / "a (1)"
    assert land(dest, "a", b"another") == dest / "a (2)"
