"""Answers that are not the file, servers that cannot be reached, redirects, TLS, and the secrets in all of it."""

from __future__ import annotations

import logging
import socket
import threading
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from haulier.errors import DownloadCancelled, HaulierError, PermanentError
from haulier.fetchers.http import FetchError, HttpFetcher
from haulier.transfer import Transfer

if TYPE_CHECKING:
    from tests.fetchers.conftest import Background, Exchange, Fetch, Site

GUARD_S = 10.0
SECRETS = ("s3cretuser", "s3cretpass", "s3cret-token", b64encode(b"s3cretuser:s3cretpass").decode())
USER = "s3cretuser:s3cretpass@"
QUERY = "?token=s3cret-token"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port where connections are accepted by the system, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def refusal(fetch: Fetch, url: object) -> Exception:
    with pytest.raises((HaulierError, OSError, ValueError)) as caught:
        fetch(url)
    exc = caught.value
    assert_discreet(exc)
    return exc


def assert_discreet(exc: BaseException) -> None:
    """Nothing of urllib3, and no secret, in the exception, in its traceback, or behind it."""
    shown = "".join(traceback.format_exception(exc))
    cause: BaseException | None = exc
    while cause is not None:
        shown += f"{cause} {cause!r} {cause.args}"
        cause = cause.__cause__ or cause.__context__
    for noise in ("Pool(", "Max retries", "object at 0x", *SECRETS):
        assert noise not in shown, shown


# ---- statuses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "400 Bad Request"),
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        (410, "410 Gone"),
        (451, "451 Unavailable For Legal Reasons"),
        (499, "HTTP status 499"),
        (204, "204 No Content"),
        (206, "206 Partial Content"),
        (304, "304 Not Modified"),
        (302, "302 Found"),  # without a Location
    ],
)
def test_what_no_further_attempt_can_mend(status: int, message: str, site: Site, fetch: Fetch, dest: Path) -> None:
    exc = refusal(fetch, site.serve("/a", status=status))
    assert (type(exc), str(exc)) == (PermanentError, message)
    assert not dest.exists()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (408, "408 Request Timeout"),
        (425, "425 Too Early"),
        (500, "500 Internal Server Error"),
        (502, "502 Bad Gateway"),
        (503, "503 Service Unavailable"),
        (599, "HTTP status 599"),
    ],
)
def test_what_another_attempt_may_mend(status: int, message: str, site: Site, fetch: Fetch) -> None:
    exc = refusal(fetch, site.serve("/a", status=status))
    assert (type(exc), str(exc)) == (FetchError, message)
    assert len(site.asked) == 1, "retries are the engine's"


# ---- no answer -------------------------------------------------------------------------------------------------------


def test_nobody_listens(fetch: Fetch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    exc = refusal(fetch, f"http://{USER}127.0.0.1:{port}/a{QUERY}")
    assert (type(exc), str(exc)) == (FetchError, "cannot connect to 127.0.0.1: connection refused")


def test_a_name_that_does_not_resolve(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    exc = refusal(fetch, f"http://{USER}nosuch.invalid/a{QUERY}")
    assert (type(exc), str(exc)) == (FetchError, "cannot find nosuch.invalid: its name does not resolve")


def test_a_host_that_takes_too_long_to_connect(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", slow)
    exc = refusal(fetch, f"http://{USER}127.0.0.1/a{QUERY}")
    assert (type(exc), str(exc)) == (FetchError, "cannot connect to 127.0.0.1: no answer within 10 s")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_never_answers(
    scheme: str, listener: socket.socket, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    url = f"{scheme}://{USER}127.0.0.1:{listener.getsockname()[1]}/a{QUERY}"
    exc = refusal(fetch_by(make_fetcher(timeout=0.3)), url)
    assert (type(exc), str(exc)) == (FetchError, "no answer from 127.0.0.1 within 0.3 s")


def test_a_cancel_does_not_wait_for_a_handshake(
    listener: socket.socket,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
    transfer: Transfer,
    in_background: type[Background],
) -> None:
    fetch = fetch_by(make_fetcher(timeout=600))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/a"
    download = in_background(lambda: fetch(url, transfer=transfer))
    listener.settimeout(GUARD_S)
    accepted, _ = listener.accept()
    with accepted:
        assert accepted.recv(1), "the handshake has begun"
        transfer.cancelled = True
        with pytest.raises(DownloadCancelled):
            download.wait()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "127.0.0.1 closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "127.0.0.1 gave an answer that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "127.0.0.1 gave an answer that is not HTTP"),
    ],
)
def test_answers_that_are_none(said: bytes, message: str, site: Site, fetch: Fetch) -> None:
    def route(exchange: Exchange) -> None:
        exchange.raw(said)
        exchange.hang_up()

    site.on("/a", route)
    exc = refusal(fetch, site.url(f"/a{QUERY}", user=USER))
    assert (type(exc), str(exc)) == (FetchError, message)
    assert len(site.asked) == 1, "retries are the engine's"


# ---- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org/a", "ftp://example.org/a", "file:///etc/passwd", "http://", "http:///a", "http://[::1/a",
        "http://example.org:99999/", "http://example.org:port/", "http://example.org:0/", "http://exa mple.org/",
        "http://example.org\\@evil.example/", "http://example.org/a\r\nX: y", "http://a\x00b/", "http://%65xample.org/",
        f"ftp://{USER}example.org/{QUERY}", f"http://{USER}[::1/{QUERY}", f"http://{USER}ex ample/{QUERY}",
        "http://s3cretuser:s3cret-token/x@example.org/", f"http://{'ü' * 70}.example/", 5, None, b"http://example.org/",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused_at_once(url: object, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert type(refusal(fetch, url)) is PermanentError


def test_a_user_in_the_url_becomes_basic_authentication(site: Site, fetch: Fetch) -> None:
    site.serve("/a", b"x")
    fetch(site.url("/a", user="me%40home:p%3Aw%20@"))
    (asked,) = site.asked
    assert asked.headers["authorization"] == "Basic " + b64encode(b"me@home:p:w ").decode()
    assert asked.path == "/a"


def test_spaces_letters_of_the_world_and_fragments(site: Site, fetch: Fetch) -> None:
    site.routes["/na%C3%AFve%20file"] = lambda exchange: exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert fetch(site.url("/naïve file#part")).name == "naïve file"


# ---- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_the_last_url_names_the_file(status: int, site: Site, fetch: Fetch) -> None:
    site.serve("/x/there.bin", b"found")
    path = fetch(site.serve("/x/here", status=status, Location="there.bin"))
    assert (path.name, path.read_bytes()) == ("there.bin", b"found")


def test_a_redirect_to_a_folder_leaves_the_first_name(site: Site, fetch: Fetch) -> None:
    site.serve("/x/", b"found")
    assert fetch(site.serve("/here", status=302, Location="/x/")).name == "here"


def test_ten_redirects_are_followed_and_no_more(site: Site, fetch: Fetch) -> None:
    for number in range(12):
        site.serve(f"/{number}", status=302, Location=f"/{number + 1}")
    site.serve("/12", b"x")
    assert fetch(site.url("/2")).read_bytes() == b"x"
    site.asked.clear()
    exc = refusal(fetch, site.url("/1"))
    assert (type(exc), str(exc)) == (PermanentError, "more than 10 redirects")
    assert len(site.asked) == 11


@pytest.mark.parametrize("place", ["ftp://example.org/", "file:///etc/passwd", "javascript:1", "http://[", "//:99999/"])
def test_a_redirect_leads_to_http_only(place: str, site: Site, fetch: Fetch) -> None:
    exc = refusal(fetch, site.serve("/a", status=302, Location=place))
    assert type(exc) is PermanentError
    assert str(exc).startswith("redirect refused: ")


@pytest.fixture
def authorized(make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]) -> Fetch:
    headers = {"Authorization": "Bearer b", "Cookie": "c=d", "X-Api-Key": "k", "User-Agent": "mine/1"}
    return fetch_by(make_fetcher(headers=headers))


def sent(site: Site) -> dict[str, str]:
    headers = site.asked[-1].headers
    return {name: headers[name] for name in ("authorization", "cookie", "x-api-key", "user-agent") if name in headers}


def test_secrets_go_along_to_the_same_host(site: Site, authorized: Fetch) -> None:
    site.serve("/b", b"x")
    authorized(site.serve("/a", status=302, Location="/b"))
    assert sent(site) == {
        "authorization": "Bearer b", "cookie": "c=d", "x-api-key": "k", "user-agent": "mine/1"
    }  # fmt: skip


def test_secrets_do_not_go_along_to_another_host_nor_come_back(site: Site, authorized: Fetch) -> None:
    site.serve("/a", status=302, Location=site.url("/b", host="localhost"))
    site.serve("/b", status=302, Location=site.url("/c"))
    site.serve("/c", b"x")
    authorized(site.url("/a"))
    assert [asked.path for asked in site.asked] == ["/a", "/b", "/c"]
    assert "x-api-key" in site.asked[0].headers
    for asked in site.asked[1:]:
        assert asked.headers["user-agent"] == "mine/1"
        assert asked.headers["accept-encoding"] == "identity"
        assert not {"authorization", "cookie", "x-api-key"} & asked.headers.keys()


def test_a_user_in_the_url_is_for_its_host_only(site: Site, fetch: Fetch) -> None:
    site.serve("/a", status=302, Location=site.url("/b", host="localhost"))
    site.serve("/b", b"x")
    fetch(site.url("/a", user=USER))
    assert "authorization" in site.asked[0].headers
    assert "authorization" not in site.asked[1].headers


def test_a_user_in_a_redirect_is_for_the_new_host(site: Site, authorized: Fetch) -> None:
    site.serve("/b", b"x")
    authorized(site.serve("/a", status=302, Location=site.url("/b", host="localhost", user="you:pw@")))
    assert [asked.headers["authorization"] for asked in site.asked] == [
        "Bearer b",
        "Basic " + b64encode(b"you:pw").decode(),
    ]


# ---- TLS -------------------------------------------------------------------------------------------------------------


def test_a_private_authority_is_trusted_when_told(
    tls_site: Site,
    certificate: tuple[Path, Path],
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
) -> None:
    tls_site.serve("/a", bytes(200_000))
    fetch = fetch_by(make_fetcher(ca_certs=certificate[0]))
    assert fetch(tls_site.url("/a", host="localhost")).read_bytes() == bytes(200_000)
    assert fetch(tls_site.url("/a?again", host="localhost")).name == "a (1)"
    assert len({asked.client for asked in tls_site.asked}) == 1


def test_a_self_signed_certificate_is_not_trusted(tls_site: Site, fetch: Fetch) -> None:
    tls_site.serve("/a", b"x")
    exc = refusal(fetch, tls_site.url(f"/a{QUERY}", host="localhost", user=USER))
    assert type(exc) is PermanentError
    assert str(exc).startswith("the TLS certificate of localhost cannot be trusted: self")
    assert tls_site.asked == []


def test_a_certificate_of_another_host_is_not_trusted(
    tls_site: Site,
    certificate: tuple[Path, Path],
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
) -> None:
    exc = refusal(fetch_by(make_fetcher(ca_certs=certificate[0])), tls_site.url("/a"))
    assert type(exc) is PermanentError
    assert "certificate of 127.0.0.1 cannot be trusted" in str(exc)
    assert tls_site.asked == []


def test_no_tls_at_all(site: Site, fetch: Fetch) -> None:
    exc = refusal(fetch, site.url(f"/a{QUERY}", user=USER).replace("http:", "https:"))
    assert type(exc) in (PermanentError, FetchError)
    assert "127.0.0.1" in str(exc)
    assert "TLS" in str(exc)


def test_a_handshake_that_is_cut_off_is_tried_once_and_can_be_retried(listener: socket.socket, fetch: Fetch) -> None:
    accepted: list[object] = []

    def cut() -> None:
        connection, address = listener.accept()
        accepted.append(address)
        connection.recv(1)
        connection.close()

    thread = threading.Thread(target=cut)
    thread.start()
    exc = refusal(fetch, f"https://127.0.0.1:{listener.getsockname()[1]}/a")
    thread.join(GUARD_S)
    assert type(exc) is FetchError
    assert "127.0.0.1 closed the connection" in str(exc), "and not a second try, which nobody answers"
    assert len(accepted) == 1


def test_a_redirect_down_to_http_is_refused(
    tls_site: Site,
    site: Site,
    certificate: tuple[Path, Path],
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
) -> None:
    tls_site.serve("/a", status=302, Location=site.serve("/b", b"x"))
    exc = refusal(fetch_by(make_fetcher(ca_certs=certificate[0])), tls_site.url("/a", host="localhost"))
    assert (type(exc), str(exc)) == (PermanentError, "redirect refused: from https down to http")
    assert site.asked == []


def test_a_redirect_up_to_https_is_followed(
    tls_site: Site,
    site: Site,
    certificate: tuple[Path, Path],
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
) -> None:
    tls_site.serve("/b", b"x")
    fetch = fetch_by(make_fetcher(ca_certs=certificate[0]))
    path = fetch(site.serve("/a", status=302, Location=tls_site.url("/b", host="localhost")))
    assert path.read_bytes() == b"x"


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_no_log_shows_a_secret_not_even_urllib3s_at_debug(
    site: Site, fetch: Fetch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")  # yt-dlp, where it is used before, sets that to WARNING
    site.serve("/a", status=302, Location=f"/b{QUERY}", Bad="x")
    site.serve("/b", b"x", Transfer_Encoding="")
    fetch(site.url(f"/a{QUERY}", user=USER))
    assert "token=***" in caplog.text, "the URLs are logged, or this test shows nothing"
    assert {"haulier.fetchers.http", "urllib3.connectionpool"} <= {record.name for record in caplog.records}
    for secret in SECRETS:
        assert secret not in caplog.text


def test_what_urllib3_logs_for_others_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")  # yt-dlp, where it is used before, sets that to WARNING
    logging.getLogger("urllib3.connectionpool").debug("GET %s", "/a?token=theirs")
    assert "/a?token=theirs" in caplog.text
