"""Text files with a byte order mark, or in another encoding."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from haulier.fetchers.http import HttpFetcher
from haulier.fetchers.texts import open_text, read_text, text_of

if TYPE_CHECKING:
    from tests.fetchers.conftest import Fetch, Site

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("raw", [b"", b"a", "äöü\ufeff\n".encode(), b"a\x00b", b"\x00\x00", b"ab\x00\x00"])
def test_one_mark_at_the_beginning_is_skipped(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(BOM + raw)
    assert text_of(raw) == text_of(BOM + raw) == read_text(tmp_path / "t") == raw.decode()
    with open_text(tmp_path / "t") as file:
        assert file.read() == raw.decode()


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
    ],
)
def test_utf_16_is_named(encoding: str, named: str, tmp_path: Path) -> None:
    raw = "https://example.org/a".encode(encoding)
    (tmp_path / "t").write_bytes(raw)
    with pytest.raises(ValueError, match=rf"^it is text in {named}; save it in UTF-8$"):
        text_of(raw)
    with pytest.raises(ValueError, match=f"^it is text in {named}; "):
        open_text(tmp_path / "t")


@pytest.mark.parametrize("raw", [b"\xff", b"\xff\xfe\x00", b"\xe4", BOM + b"\xe4", b"\xff\xfe\x00\xd8"])
def test_other_bytes_are_no_text(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it is not text in UTF-8$"):
        text_of(raw)


def test_a_pipe_can_be_read_too(tmp_path: Path) -> None:
    fd, end = os.pipe()
    os.write(end, BOM + b"text")
    os.close(end)
    with open_text(f"/dev/fd/{fd}") as file:
        assert file.read() == "text"
    os.close(fd)


def test_cookies_and_netrc_with_a_mark(
    site: Site,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[[HttpFetcher], Fetch],
    tmp_path: Path,
) -> None:
    cookies, netrc = tmp_path / "cookies.txt", tmp_path / "netrc"
    line = "\t".join(("127.0.0.1", "FALSE", "/", "FALSE", "0", "name", "value"))
    cookies.write_bytes(BOM + b"# Netscape HTTP Cookie File\n" + line.encode() + b"\n")
    netrc.write_bytes(BOM + b"machine 127.0.0.1 login joe password hunter2\n")
    fetch_by(make_fetcher(cookies=cookies, netrc=netrc))(site.serve("/a", b"x"))
    headers = {name.lower(): value for name, value in site.asked[0].headers.items()}
    assert headers["cookie"] == "name=value"
    assert headers["authorization"] == "Basic " + b64encode(b"joe:hunter2").decode()


@pytest.mark.parametrize("option", ["cookies", "netrc"])
def test_cookies_and_netrc_in_utf_16_are_refused(option: str, make_fetcher: Any, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("machine example.org login joe password hunter2\n", encoding="utf-16")
    with pytest.raises(ValueError, match=rf"^{option}: cannot read '.*t': it is text in UTF-16; save it in UTF-8$"):
        make_fetcher(**{option: tmp_path / "t"})


def test_a_certificate_with_a_mark_is_trusted(
    tls_site: Site,
    certificate: tuple[Path, Path],
    make_fetcher: Any,
    fetch_by: Callable[[HttpFetcher], Fetch],
    tmp_path: Path,
) -> None:
    (tmp_path / "ca.pem").write_bytes(BOM + certificate[0].read_bytes() + "# ä comment\n".encode())
    tls_site.serve("/a", b"x")
    assert fetch_by(make_fetcher(ca_certs=tmp_path / "ca.pem"))(tls_site.url("/a", host="localhost")).name == "a"
