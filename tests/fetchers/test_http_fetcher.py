"""One download over HTTP: what is asked, what is saved, and when it counts as done."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from haulier.errors import DownloadCancelled, PermanentError
from haulier.fetchers.delivery import CHUNK_BYTES
from haulier.fetchers.http import FetchError, HttpFetcher
from haulier.transfer import Transfer

if TYPE_CHECKING:
    from tests.fetchers.conftest import Background, Exchange, Fetch, Site

BODY = bytes(range(256)) * 1024  # 256 KiB: several chunks
GUARD_S = 10.0


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---- it works --------------------------------------------------------------------------------------------------------


def test_the_file_is_saved_under_its_name_and_its_path_returned(site: Site, fetch: Fetch, dest: Path) -> None:
    path = fetch(site.serve("/folder/a%20file.bin", BODY) + "?x=1")
    assert path == dest / "a file.bin"
    assert path.read_bytes() == BODY
    assert names_in(dest) == ["a file.bin"]


def test_an_empty_file_is_a_file(site: Site, fetch: Fetch) -> None:
    assert fetch(site.serve("/empty", b"")).read_bytes() == b""


def test_the_path_is_absolute_wherever_the_process_goes_later(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transfer: Transfer
) -> None:
    monkeypatch.chdir(tmp_path)
    with HttpFetcher("here") as fetcher:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        path = fetcher("an-id", site.serve("/a", b"x"), "A", transfer=transfer)
    assert path == str(tmp_path / "here" / "a")


def test_it_asks_for_the_bytes_as_they_are_and_says_who_it_is(site: Site, fetch: Fetch) -> None:
    fetch(site.serve("/a", b"x"))
    (asked,) = site.asked
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["user-agent"].startswith("haulier")


def test_headers_of_the_caller_are_sent(
    site: Site, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    fetch_by(make_fetcher(headers={"User-Agent": "mine/1", "X-Key": "k"}))(site.serve("/a", b"x"))
    (asked,) = site.asked
    assert (asked.headers["user-agent"], asked.headers["x-key"]) == ("mine/1", "k")


def test_progress_is_told_for_each_chunk_with_the_size(
    site: Site, fetch: Fetch, transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int | None]] = []
    monkeypatch.setattr(Transfer, "progress", lambda _, done, size=None: told.append((done, size)))
    fetch(site.serve("/a", BODY), transfer=transfer)
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    assert {size for _, size in told} == {len(BODY)}
    steps = [later[0] - earlier[0] for earlier, later in pairwise(told)]
    assert max(steps) <= CHUNK_BYTES
    assert len(steps) >= len(BODY) / CHUNK_BYTES


def test_the_record_sees_size_transferred_and_percent(site: Site, fetch: Fetch, transfer: Transfer) -> None:
    fetch(site.serve("/a", BODY), transfer=transfer)
    assert transfer.cell["size"] == transfer.cell["transferred"] == len(BODY)
    assert transfer.cell["progress"] == 100.0


def test_it_grows_as_a_part_and_has_its_name_only_when_it_is_complete(
    site: Site, fetch: Fetch, dest: Path, in_background: type[Background]
) -> None:
    half, go_on = threading.Event(), threading.Event()

    def route(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfour")
        half.set()
        assert go_on.wait(GUARD_S)
        exchange.raw(b"more")

    download = in_background(lambda: fetch(site.on("/a.bin", route)))
    assert half.wait(GUARD_S)
    while names_in(dest) != ["a.bin.part", "a.bin.part.json"]:
        pass
    go_on.set()
    assert download.wait().read_bytes() == b"fourmore"
    assert names_in(dest) == ["a.bin"]


def test_it_is_on_disk_before_it_has_its_name_and_the_name_is_before_it_is_returned(
    site: Site, fetch: Fetch, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[tuple[str, list[str]]] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"
        size = 0 if kind == "folder" else os.fstat(fd).st_size
        happened.append((kind, names_in(dest)))
        assert kind == "folder" or size == len(BODY), "not flushed before it was synced"
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    fetch(site.serve("/a", BODY))
    assert happened == [("file", ["a.part", "a.part.json"]), ("folder", ["a"])]


def test_threads_share_a_fetcher(site: Site, fetch: Fetch, in_background: type[Background]) -> None:
    bodies = {f"/{number}": str(number).encode() * 50_000 for number in range(16)}
    downloads = {path: in_background(partial(fetch, site.serve(path, body))) for path, body in bodies.items()}
    for path, download in downloads.items():
        assert download.wait().read_bytes() == bodies[path]


def test_connections_are_kept_for_the_next_download(site: Site, fetch: Fetch) -> None:
    url = site.serve("/a", BODY)
    fetch(url)
    fetch(url)
    assert len({asked.client for asked in site.asked}) == 1


def test_a_kept_connection_that_goes_away_as_it_is_used_fails_the_attempt(site: Site, fetch: Fetch) -> None:
    closed = threading.Event()

    def route(exchange: Exchange) -> None:
        if len(site.asked) == 2:  # the kept connection: it goes away at the very moment it is used
            closed.set()
            exchange.hang_up()
        else:
            exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

    url = site.on("/a", route)
    fetch(url)
    with pytest.raises(FetchError, match="closed the connection without an answer"):
        fetch(site.on("/b", route))
    assert closed.is_set()
    first, second = (asked.client for asked in site.asked)  # a third might come before its source's delay is over
    assert first == second


# ---- only what is complete is done -----------------------------------------------------------------------------------


def raw(answer: bytes) -> Callable[[Exchange], None]:
    def route(exchange: Exchange) -> None:
        exchange.raw(answer)
        exchange.hang_up()

    return route


def chunked(*chunks: bytes, ending: bytes = b"0\r\n\r\n") -> Callable[[Exchange], None]:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + ending)


def test_a_transfer_that_breaks_off_is_an_error_that_can_be_retried(site: Site, fetch: Fetch, dest: Path) -> None:
    url = site.on("/a", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n" + bytes(1024)))
    with pytest.raises(FetchError, match=r"^connection closed after 1,024 of 4,096 bytes$"):
        fetch(url)
    assert names_in(dest) == []
    site.serve("/a", BODY)
    assert fetch(url).read_bytes() == BODY


def test_a_connection_reset_in_the_middle_is_the_same(site: Site, fetch: Fetch, dest: Path) -> None:
    import socket
    import struct

    def route(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.hang_up()

    with pytest.raises(FetchError, match=r"^connection closed after 0 of 9 bytes$"):
        fetch(site.on("/a", route))
    assert names_in(dest) == []


def test_a_server_that_falls_silent_is_given_up_on(
    site: Site, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch], dest: Path
) -> None:
    def route(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour")
        exchange.hang()

    with pytest.raises(FetchError, match=r"^no data for 0\.3 s after 4 of 9 bytes$"):
        fetch_by(make_fetcher(timeout=0.3))(site.on("/a", route))
    assert names_in(dest) == []


def test_more_than_was_declared_is_not_saved(site: Site, fetch: Fetch) -> None:
    assert fetch(site.on("/a", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfourtoomuch"))).read_bytes() == b"four"


def test_contradicting_lengths_are_an_error(site: Site, fetch: Fetch, dest: Path) -> None:
    url = site.on("/a", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfourX"))
    with pytest.raises(FetchError):
        fetch(url)
    assert names_in(dest) == []


def test_chunks_with_a_terminator_are_a_file_and_its_size_is_known_at_the_end(
    site: Site, fetch: Fetch, transfer: Transfer
) -> None:
    assert fetch(site.on("/a", chunked(b"one", b"", b"two")), transfer=transfer).read_bytes() == b"one"
    assert fetch(site.on("/b", chunked(b"one", BODY)), transfer=transfer).read_bytes() == b"one" + BODY
    assert transfer.cell["size"] == transfer.cell["transferred"] == 3 + len(BODY)


@pytest.mark.parametrize("ending", [b"", b"5\r\n", b"5\r\nthr", b"5", b"nonsense\r\n", b"\r\n"])
def test_chunks_without_a_terminator_are_incomplete(site: Site, fetch: Fetch, dest: Path, ending: bytes) -> None:
    with pytest.raises(FetchError, match=r"^connection closed after [36] bytes$"):
        fetch(site.on("/a", chunked(b"one", ending=ending)))
    assert names_in(dest) == []


def test_without_any_length_it_ends_with_the_connection(site: Site, fetch: Fetch, transfer: Transfer) -> None:
    assert fetch(site.on("/a", raw(b"HTTP/1.0 200 OK\r\n\r\n" + BODY)), transfer=transfer).read_bytes() == BODY
    assert transfer.cell["size"] == len(BODY)


# ---- codings that nobody asked for -----------------------------------------------------------------------------------


def test_gzip_that_was_not_asked_for_is_undone(site: Site, fetch: Fetch, transfer: Transfer) -> None:
    packed = gzip.compress(BODY)
    path = fetch(site.serve("/a.txt", packed, Content_Encoding="gzip"), transfer=transfer)
    assert path.read_bytes() == BODY
    assert transfer.cell["transferred"] == transfer.cell["size"] == len(packed)


def test_a_file_called_gz_is_kept_as_it_is(site: Site, fetch: Fetch) -> None:
    packed = gzip.compress(BODY)
    assert fetch(site.serve("/a.tar.gz", packed, Content_Encoding="x-gzip")).read_bytes() == packed


def test_gzip_that_breaks_off_is_an_error_even_where_the_length_is_right(site: Site, fetch: Fetch, dest: Path) -> None:
    with pytest.raises(FetchError, match="compressed data is incomplete"):
        fetch(site.serve("/a.txt", gzip.compress(BODY)[:-3], Content_Encoding="gzip"))
    assert names_in(dest) == []


def test_another_coding_is_refused(site: Site, fetch: Fetch, dest: Path) -> None:
    with pytest.raises(PermanentError, match="Content-Encoding 'br'"):
        fetch(site.serve("/a.txt", b"?", Content_Encoding="br"))
    assert names_in(dest) == []


# ---- cancel ----------------------------------------------------------------------------------------------------------


def test_a_cancel_before_the_start_asks_for_nothing(site: Site, fetch: Fetch, transfer: Transfer) -> None:
    transfer.cancelled = True
    with pytest.raises(DownloadCancelled):
        fetch(site.serve("/a", BODY), transfer=transfer)
    assert site.asked == []


def test_a_cancel_takes_effect_at_the_next_chunk(
    site: Site, fetch: Fetch, dest: Path, transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def progress(self: Transfer, done: int, size: int | None = None) -> None:
        seen.append(done)
        self.cancelled = done > 0

    monkeypatch.setattr(Transfer, "progress", progress)
    with pytest.raises(DownloadCancelled):
        fetch(site.serve("/a", BODY), transfer=transfer)
    assert len(seen) == 2
    assert names_in(dest) == []


def test_a_cancel_after_the_last_byte_still_leaves_no_file(
    site: Site, fetch: Fetch, dest: Path, transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progress(self: Transfer, done: int, size: int | None = None) -> None:
        self.cancelled = done == size

    monkeypatch.setattr(Transfer, "progress", progress)
    with pytest.raises(DownloadCancelled):
        fetch(site.serve("/a", BODY), transfer=transfer)
    assert names_in(dest) == []


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour"])
def test_a_cancel_does_not_wait_for_a_silent_server(
    said: bytes,
    site: Site,
    dest: Path,
    transfer: Transfer,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
    in_background: type[Background],
) -> None:
    silent = threading.Event()

    def route(exchange: Exchange) -> None:
        exchange.raw(said)
        silent.set()
        exchange.hang()

    fetch = fetch_by(make_fetcher(timeout=600))
    download = in_background(lambda: fetch(site.on("/a", route), transfer=transfer))
    assert silent.wait(GUARD_S)
    transfer.cancelled = True
    with pytest.raises(DownloadCancelled):
        download.wait()
    assert names_in(dest) == []


def test_a_slow_trickle_is_not_waited_for_until_a_chunk_is_full(
    site: Site, fetch: Fetch, transfer: Transfer, in_background: type[Background]
) -> None:
    arrived = threading.Event()

    def route(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx")
        exchange.hang()

    def progress(done: int, size: int | None = None) -> None:
        if done == 1:
            arrived.set()

    class Seen(Transfer):
        def progress(self, transferred: int, size: int | None = None) -> None:
            progress(transferred, size)

    seen = Seen(transfer.ticket, 1, {}, 0.0)
    download = in_background(lambda: fetch(site.on("/a", route), transfer=seen))
    assert arrived.wait(GUARD_S)
    seen.cancelled = True
    with pytest.raises(DownloadCancelled):
        download.wait()


# ---- what it is made of ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": float("inf")}, ValueError, "timeout"),
        ({"timeout": "30"}, TypeError, "timeout"),
        ({"headers": {"X": 5}}, TypeError, "headers"),
        ({"headers": {"X": "a\r\nY: b"}}, ValueError, "headers"),
        ({"headers": {"X: Y": "a"}}, ValueError, "headers"),
        ({"headers": {"Range": "bytes=1-"}}, ValueError, "Range"),
        ({"headers": {"accept-encoding": "gzip"}}, ValueError, "accept-encoding"),
        ({"ca_certs": "/nowhere/at/all.pem"}, OSError, "No such file"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], named: str, dest: Path) -> None:
    with pytest.raises(error, match=named):
        HttpFetcher(dest, **options)


def test_a_ca_file_without_certificates(dest: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(ValueError, match="ca_certs"):
        HttpFetcher(dest, ca_certs=tmp_path / "ca.pem")


def test_an_error_about_headers_does_not_show_their_values(dest: Path) -> None:
    with pytest.raises(ValueError, match="Authorization") as caught:
        HttpFetcher(dest, headers={"Authorization": "Bearer s3cret\n"})
    assert "s3cret" not in str(caught.value)


def test_without_urllib3_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['urllib3'] = None; import haulier.fetchers.http"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("pip install 'haulier[http]'")
