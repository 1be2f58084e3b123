"""What is here already, what gets a request through, and how fast: overwrite, proxies, cookies, netrc, limits."""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.fetchers.conftest import new_transfer

from haulier.errors import PermanentError, Throttled
from haulier.fetchers import http
from haulier.fetchers.checksums import Checksum, read_sums
from haulier.fetchers.http import FetchError, HttpFetcher, Request
from haulier.fetchers.origin import key_of, mark_of
from haulier.fetchers.pace import Pace
from haulier.fetchers.pauses import MOST_PAUSES

if TYPE_CHECKING:
    from tests.fetchers.conftest import Exchange, Fetch, Site

MakeFetcher = Callable[..., HttpFetcher]
FetchBy = Callable[[HttpFetcher], "Fetch"]
DATE = "Wed, 01 Jul 2026 12:00:00 GMT"
MTIME = 1_782_907_200
SECRETS = ("joe", "hunter2", "geheim")


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


# ---- what is here already --------------------------------------------------------------------------------------------


def test_a_finished_file_knows_where_it_came_from_without_secrets(site: Site, fetch: Fetch) -> None:
    site.serve("/a", b"x", ETag='W/"v1"', Last_Modified=DATE)
    url = site.url("/a?token=geheim", user="joe:hunter2@")
    path = fetch(url)
    mark = mark_of(path)
    assert mark is not None
    assert (mark.key, mark.etag, mark.shown) == (key_of(url), 'W/"v1"', site.url("/a?token=***"))
    written = b"".join(os.getxattr(path, name) for name in os.listxattr(path)).decode()
    assert not any(secret in written for secret in SECRETS)
    assert path.stat().st_mtime == MTIME


def test_the_same_download_is_not_asked_for_twice_and_says_so(site: Site, fetch: Fetch) -> None:
    url = site.serve("/a", b"12345")
    fetch(url)
    transfer = new_transfer(url)
    assert fetch(url, transfer=transfer).read_bytes() == b"12345"
    assert len(site.asked) == 1
    assert (transfer.cell["already_there"], transfer.cell["transferred"], transfer.cell["progress"]) == (True, 5, 100.0)


def test_without_a_mark_size_and_date_do(site: Site, fetch: Fetch, dest: Path) -> None:
    url = site.serve("/a", b"12345", Last_Modified=DATE)
    dest.mkdir()
    (dest / "a").write_bytes(b"54321")
    os.utime(dest / "a", (MTIME, MTIME))
    assert fetch(url) == dest / "a"
    assert tree(dest) == {"a": b"54321"}
    os.utime(dest / "a", (MTIME - 1, MTIME - 1))
    assert fetch(url) == dest / "a (1)"


def test_another_download_of_equal_size_and_date_is_another_file(site: Site, fetch: Fetch, dest: Path) -> None:
    one, two = site.serve("/1/a", b"one", Last_Modified=DATE), site.serve("/2/a", b"two", Last_Modified=DATE)
    assert [fetch(one), fetch(two)] == [dest / "a", dest / "a (1)"]
    assert tree(dest) == {"a": b"one", "a (1)": b"two"}


def test_changed_asks_and_replaces_what_is_its_own(
    site: Site, dest: Path, make_fetcher: MakeFetcher, fetch_by: FetchBy
) -> None:
    fetch = fetch_by(make_fetcher(overwrite="changed"))
    dest.mkdir()
    (dest / "a").write_bytes(b"somebody else's")
    version = ['"v1"', b"one"]

    def route(exchange: Exchange) -> None:
        etag, body = version
        if exchange.headers.get("If-None-Match") == etag:
            exchange.raw(b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\n\r\n" % etag.encode())
        else:
            exchange.raw(f"HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            exchange.raw(body)  # type: ignore[arg-type]

    url = site.on("/a", route)
    assert fetch(url) == dest / "a (1)"
    transfer = new_transfer(url)
    assert fetch(url, transfer=transfer) == dest / "a (1)"
    assert transfer.cell["already_there"] is True
    version[:] = ['"v2"', b"two"]
    assert fetch(url) == dest / "a (1)"
    assert tree(dest) == {"a": b"somebody else's", "a (1)": b"two"}


def test_a_name_that_only_the_server_knows_is_found_again(site: Site, fetch: Fetch, dest: Path) -> None:
    dest.mkdir()
    (dest / "b.txt").write_bytes(b"theirs")
    url = site.serve("/a", b"mine", Content_Disposition='attachment; filename="b.txt"')
    assert {fetch(url) for _ in range(3)} == {dest / "b (1).txt"}
    assert tree(dest) == {"b.txt": b"theirs", "b (1).txt": b"mine"}


@pytest.mark.parametrize("overwrite", ["sometimes", None, 1])
def test_what_is_no_way_to_overwrite_is_refused(overwrite: object, dest: Path) -> None:
    with pytest.raises(ValueError, match="overwrite must be one of never, changed, always"):
        HttpFetcher(dest, overwrite=overwrite)  # type: ignore[arg-type]


# ---- a request -------------------------------------------------------------------------------------------------------


def test_a_request_can_be_kept_compared_and_shown() -> None:
    request = Request(url="http://joe:hunter2@h/a?token=geheim", headers={"X": "geheim"})
    assert Request.of(json.loads(json.dumps(request.as_dict()))) == request
    assert {request: 1}[Request(url=request.url, headers={"X": "geheim"})] == 1
    assert pickle.loads(pickle.dumps(request)) == request
    assert not any(secret in f"{request} {request!r}" for secret in SECRETS)


def test_a_name_with_folders_stays_inside(site: Site, fetch: Fetch, dest: Path, tmp_path: Path) -> None:
    url = site.serve("/a", b"x")
    assert fetch(Request(url=url, name="one/../../two/a.txt")) == dest / "one/two/a.txt"
    (dest / "link").symlink_to(tmp_path)
    with pytest.raises(PermanentError, match="is a link or a file, and no folder"):
        fetch(Request(url=f"{url}?2", name="link/a.txt"))
    assert not (tmp_path / "a.txt").exists()


def test_a_part_in_a_numbered_folder_is_resumed(site: Site, fetch: Fetch, dest: Path) -> None:
    """The file ``docs`` is there, so that ``docs/a`` is begun, resumed and found in the folder ``docs (1)``."""

    def route(exchange: Exchange) -> None:
        if "Range" in exchange.headers:
            exchange.raw(b'HTTP/1.1 206 OK\r\nETag: "x"\r\nContent-Range: bytes 2-3/4\r\nContent-Length: 2\r\n\r\ncd')
        else:
            exchange.raw(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 4\r\n\r\nab')
            exchange.hang_up()

    fetch(Request(url=site.serve("/docs", b"x"), name="docs"))
    request = Request(url=site.on("/a", route), name="docs/a")
    with pytest.raises(FetchError):
        fetch(request)
    assert fetch(request) == dest / "docs (1)/a"
    assert (dest / "docs (1)/a").read_bytes() == b"abcd"
    assert fetch(request) == dest / "docs (1)/a"
    assert len(site.asked) == 3


def test_its_headers_are_for_its_host_only_and_a_bad_one_is_final(site: Site, fetch: Fetch) -> None:
    site.serve("/there", b"x")
    url = site.serve("/a", b"", 302, Location=site.url("/there", host="localhost"))
    fetch(Request(url=url, headers={"X-Mine": "geheim"}))
    assert ["X-Mine" in {name.title() for name in asked.headers} for asked in site.asked] == [True, False]
    with pytest.raises(PermanentError, match="headers must not have 'Range'"):
        fetch(Request(url=url, headers={"Range": "bytes=0-"}))


def test_fetch_alone_needs_no_engine(site: Site, dest: Path) -> None:
    assert Path(http.fetch(site.serve("/a", b"x"), dest)).read_bytes() == b"x"
    with pytest.raises(PermanentError, match="404"):
        http.fetch(site.url("/none"), dest)


# ---- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_too_large_is_refused_and_nothing_stays(
    declared: bool, site: Site, dest: Path, make_fetcher: MakeFetcher, fetch_by: FetchBy
) -> None:
    length = "200000" if declared else ""
    url = site.serve("/a", bytes(200_000), ETag='"v1"', Content_Length=length, Connection="close")
    site.routes["/a"] = _closing(site.routes["/a"])
    with pytest.raises(PermanentError, match="max_size"):
        fetch_by(make_fetcher(max_size=100_000))(url)
    assert tree(dest) == {}
    assert fetch_by(make_fetcher(max_size=200_000))(url).stat().st_size == 200_000


def _closing(route: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    def closing(exchange: Exchange) -> None:
        route(exchange)
        exchange.hang_up()

    return closing


def test_a_rate_is_kept_to_on_average_and_a_rest_is_not_saved_up() -> None:
    now = [100.0]
    pace = Pace(1000, lambda: now[0])
    for _ in range(50):
        now[0] += pace.spend(100)
    assert 4.8 <= now[0] - 100 <= 5.0  # 5,000 bytes, but for one burst
    now[0] += 1000
    waited = 0.0
    for _ in range(50):
        wait = pace.spend(100)
        waited += wait
        now[0] += wait
    assert 4.8 <= waited <= 5.0


def test_a_limited_download_is_whole(site: Site, make_fetcher: MakeFetcher, fetch_by: FetchBy) -> None:
    url = site.serve("/a", bytes(100_000))
    assert fetch_by(make_fetcher(limit_rate=1_000_000))(url).read_bytes() == bytes(100_000)


def test_a_host_that_always_asks_for_a_pause_means_no(site: Site, fetch: Fetch) -> None:
    url = site.serve("/a", b"", 429, Retry_After="1")
    transfer = new_transfer(url)
    for _ in range(MOST_PAUSES):
        with pytest.raises(Throttled):
            fetch(url, transfer=transfer)
    assert transfer.cell["pauses"] == MOST_PAUSES
    with pytest.raises(PermanentError, match="it has asked for a pause 20 times"):
        fetch(url, transfer=transfer)
    with pytest.raises(Throttled):
        fetch(url)  # another download has its own count


def test_redirects_have_their_limit(site: Site, make_fetcher: MakeFetcher, fetch_by: FetchBy) -> None:
    site.serve("/b", b"x")
    url = site.serve("/a", b"", 302, Location="/b")
    assert fetch_by(make_fetcher(max_redirects=1))(url).read_bytes() == b"x"
    with pytest.raises(PermanentError, match="more than 0 redirects"):
        fetch_by(make_fetcher(max_redirects=0))(f"{url}?again")


def test_from_https_down_to_http_only_where_that_is_allowed(
    site: Site,
    tls_site: Site,
    certificate: tuple[Path, Path],
    make_fetcher: MakeFetcher,
    fetch_by: FetchBy,
) -> None:
    url = tls_site.serve("/a", b"", 302, Location=site.serve("/b", b"x")).replace("127.0.0.1", "localhost")
    with pytest.raises(PermanentError, match="from https down to http"):
        fetch_by(make_fetcher(ca_certs=certificate[0]))(url)
    assert fetch_by(make_fetcher(ca_certs=certificate[0], allow_downgrade=True))(url).read_bytes() == b"x"


# ---- cookies and netrc -----------------------------------------------------------------------------------------------


def test_cookies_go_to_their_host_only(
    site: Site, tmp_path: Path, make_fetcher: MakeFetcher, fetch_by: FetchBy
) -> None:
    jar = tmp_path / "cookies.txt"
    jar.write_text(
        "# Netscape HTTP Cookie File\n"
        "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tgeheim\n"
        ".other.example\tTRUE\t/\tFALSE\t0\tother\tgeheim2\n"
    )
    site.serve("/b", b"x")
    url = site.serve("/a", b"", 302, Location=site.url("/b", host="localhost"))
    fetch_by(make_fetcher(cookies=jar))(url)
    assert [asked.headers.get("cookie") for asked in site.asked] == ["session=geheim", None]
    for nonsense in ("nonsense geheim", "# Netscape HTTP Cookie File\nh\tTRUE\t/\tFALSE\t0\tname\tgeheim\n"):
        jar.write_text(nonsense)
        with pytest.raises(ValueError, match="is not a cookie file in Netscape's format"):
            make_fetcher(cookies=jar)


def test_netrc_is_for_the_hosts_that_it_names_and_after_what_the_caller_says(
    site: Site, tmp_path: Path, make_fetcher: MakeFetcher, fetch_by: FetchBy
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login joe password hunter2\ndefault login any password geheim\n")
    file.chmod(0o600)
    site.serve("/b", b"x")
    url = site.serve("/a", b"", 302, Location=site.url("/b", host="localhost"))
    fetch = fetch_by(make_fetcher(netrc=file))
    fetch(url)
    mine = "Basic " + b64encode(b"joe:hunter2").decode()
    assert [asked.headers.get("authorization") for asked in site.asked] == [mine, None]
    site.asked.clear()
    fetch(site.url("/b?1", user="other:person@"))
    fetch(Request(url=site.url("/b?2"), headers={"Authorization": "Bearer x"}))
    told = [asked.headers.get("authorization") for asked in site.asked]
    assert told == ["Basic " + b64encode(b"other:person").decode(), "Bearer x"]
    file.write_text("machine")
    with pytest.raises(ValueError, match="is not a netrc file"):
        make_fetcher(netrc=file)


# ---- proxies ---------------------------------------------------------------------------------------------------------


class Proxy:
    """A proxy that notes what it was asked, and answers each request itself with ``reply``."""

    def __init__(self, reply: bytes) -> None:
        self.heads: list[str] = []
        self._reply = reply
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                head = connection.recv(65536).decode("latin-1")
                if not head:
                    return
                self.heads.append(head)
                connection.sendall(self._reply)

    def close(self) -> None:
        with socket.create_connection(self._socket.getsockname()):
            pass
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def make_proxy() -> Iterator[Callable[[bytes], Proxy]]:
    made: list[Proxy] = []

    def make(reply: bytes) -> Proxy:
        made.append(Proxy(reply))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


FILE = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"


def test_a_proxy_is_asked_with_its_password_which_is_shown_nowhere(
    make_proxy: Callable[[bytes], Proxy],
    make_fetcher: MakeFetcher,
    fetch_by: FetchBy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    proxy = make_proxy(FILE)
    fetcher = make_fetcher(proxy=f"http://joe:hunter2@{proxy.place}")
    assert fetch_by(fetcher)("http://far.example/a").read_bytes() == b"x"
    first, *lines = proxy.heads[0].splitlines()
    assert first == "GET http://far.example/a HTTP/1.1"
    assert f"proxy-authorization: Basic {b64encode(b'joe:hunter2').decode()}" in [line for line in lines]  # noqa: C416
    assert not any(secret in caplog.text + repr(fetcher) for secret in (*SECRETS, b64encode(b"joe:hunter2").decode()))


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_the_environment_names_a_proxy_and_for_whom_not(
    variable: str,
    make_proxy: Callable[[bytes], Proxy],
    site: Site,
    fetch: Fetch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = make_proxy(FILE)
    monkeypatch.setenv(variable, proxy.place)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch("http://far.example/a")
    fetch(site.serve("/b", b"x"))
    assert (len(proxy.heads), len(site.asked)) == (1, 1)
    monkeypatch.setenv(variable, "socks5://joe:hunter2@h")
    with pytest.raises(PermanentError, match=r"^http_proxy: proxy must be the URL of an HTTP proxy") as caught:
        fetch("http://far.example/c")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", PermanentError, "the proxy answered 407"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", FetchError, "the proxy answered 502"),
    ],
)
def test_a_proxy_that_refuses_a_tunnel_is_said_clearly(
    reply: bytes,
    kind: type[Exception],
    text: str,
    make_proxy: Callable[[bytes], Proxy],
    make_fetcher: MakeFetcher,
    fetch_by: FetchBy,
) -> None:
    fetch = fetch_by(make_fetcher(proxy=f"http://{make_proxy(reply).place}"))
    with pytest.raises(kind, match=f"^cannot reach far.example: {text}$"):
        fetch("https://far.example/a")


def test_a_proxy_that_is_not_there_is_said_clearly(make_fetcher: MakeFetcher, fetch_by: FetchBy) -> None:
    fetch = fetch_by(make_fetcher(proxy="http://127.0.0.1:1"))
    with pytest.raises(FetchError, match=r"^cannot reach far\.example: the proxy cannot be reached"):
        fetch("http://far.example/a")


@pytest.mark.parametrize("proxy", ["ftp://h", "http://", "http://joe:hunter2@h:0", "http://joe:hunter2@[h"])
def test_what_is_no_proxy_is_refused_without_its_password(proxy: str, dest: Path) -> None:
    with pytest.raises(ValueError, match="proxy must be the URL of an HTTP proxy") as caught:
        HttpFetcher(dest, proxy=proxy)
    assert "hunter2" not in str(caught.value)


# ---- checksums -------------------------------------------------------------------------------------------------------

HEX = "ab" * 32


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"SHA-256: {HEX.upper()}", f" sha256:{HEX} "])
def test_a_checksum_is_read(text: str) -> None:
    assert Checksum.parse(text) == ("sha256", HEX)


@pytest.mark.parametrize("text", ["", HEX, "sha256:", "sha256:xyz", f"sha1:{HEX}", f"crc32:{HEX}", "shake_128:ab"])
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="checksum"):
        Checksum.parse(text)


def test_lists_of_checksums_are_read_in_both_forms() -> None:
    text = f"# comment\n{HEX}  a b.iso\n{HEX.upper()} *./c.iso\nSHA256 (d.iso) = {HEX}\n\n{'ab' * 16}  e\n"
    found: dict[str, Any] = dict(read_sums(text))
    assert found == dict.fromkeys(("a b.iso", "c.iso", "d.iso"), ("sha256", HEX)) | {"e": ("md5", "ab" * 16)}
    with pytest.raises(ValueError, match="line 2 is not a checksum and a file name"):
        read_sums(f"{HEX}  a\nnonsense\n")


def test_a_folder_of_certificates_needs_hashed_names(
    tls_site: Site,
    certificate: tuple[Path, Path],
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[[HttpFetcher], Fetch],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "my certs"
    folder.mkdir()
    for each in ("cert.pem", "5ed36f99", "5ed36f99.r0"):
        (folder / each).write_bytes(certificate[0].read_bytes())
        with pytest.raises(ValueError, match=r"ca_certs: the folder .* run: openssl rehash '.*my certs'"):
            make_fetcher(ca_certs=folder)
    subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)
    tls_site.serve("/a", b"x")
    assert fetch_by(make_fetcher(ca_certs=folder))(tls_site.url("/a", host="localhost")).name == "a"
