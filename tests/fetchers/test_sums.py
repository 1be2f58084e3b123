"""Lists of checksums: which entry belongs to which file."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Any

import pytest

from haulier.errors import PermanentError
from haulier.fetchers.checksums import Checksum, read_sums
from haulier.fetchers.http import HttpFetcher, Request, Sums

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fetchers.conftest import Fetch, Site

ONE, TWO = (Checksum("sha256", digit * 64) for digit in "12")
FetchBy = Callable[[HttpFetcher], "Fetch"]


@pytest.mark.parametrize(
    ("listed", "url", "names"),
    [
        ("a.iso", "https://h/a.iso", ()),
        ("./a.iso", "https://h/pub/a.iso?token=x", ()),
        ("dist/a.iso", "https://h/pub/dist/a.iso", ()),
        ("h/pub/dist/a.iso", "https://h:8080/pub/dist/a.iso", ()),
        ("/srv/pub/dist/a.iso", "https://h/pub/dist/a.iso", ()),
        ("dist/a.iso", "https://h/a.iso", ()),
        ("dist\\a.iso", "https://h/dist/a.iso", ()),
        ("two words.iso", "https://h/two%20words.iso", ()),
        ("café.iso", "https://h/caf%E9.iso", ()),
        ("cafe\u0301.iso", "https://h/caf%C3%A9.iso", ()),
        ("a?.iso", "https://h/a%3F.iso", ()),
        ("mine.iso", "https://h/a.iso", ("mine.iso",)),
        ("sub/mine.iso", "https://h/a.iso", ("sub/mine.iso",)),
        ("server.iso", "https://h/dl?id=1", ("", "server.iso")),
        (".server.iso", "https://h/dl?id=1", ("", "server.iso")),
    ],
)
def test_a_file_is_found_by_path_end_of_path_and_names(listed: str, url: str, names: tuple[str, ...]) -> None:
    assert Sums({"other.iso": TWO, listed: ONE}).find(url, *names) == ONE


@pytest.mark.parametrize(
    ("listed", "url", "names"),
    [
        ("x/README", "https://h/y/README", ()),
        ("ba.iso", "https://h/a.iso", ()),
        ("a.iso", "https://h/ba.iso", ()),
        ("a.iso", "https://h/a.iso/b.iso", ("c.iso",)),
        ("a.iso", "https://h/?file=a.iso", ()),
        ("A.iso", "https://h/a.iso", ()),
    ],
)
def test_another_file_is_not_taken_for_it(listed: str, url: str, names: tuple[str, ...]) -> None:
    assert Sums({listed: ONE}).find(url, *names) is None


def test_the_whole_path_goes_before_its_end_and_the_url_before_the_names() -> None:
    sums = Sums({"a.iso": ONE, "new/a.iso": TWO})
    assert sums.find("https://h/new/a.iso") == TWO
    assert sums.find("https://h/old/a.iso") == ONE
    assert sums.find("https://h/a.iso", "new/a.iso") == ONE


def test_an_end_of_two_names_is_neither() -> None:
    sums = Sums({"arm/a.iso": ONE, "x86/a.iso": TWO, "arm/b.iso": ONE, "x86/b.iso": ONE})
    assert sums.find("https://h/a.iso") is None
    assert sums.find("https://h/b.iso") == ONE, "both have it"
    assert Sums({"a?": ONE, "a*": TWO}).find("https://h/a:") is None


def test_escaped_names_and_several_algorithms() -> None:
    text = (
        f"\\{'1' * 64}  back\\\\slash\\nnew\r\nMD5 (a) = {'3' * 32}\nSHA256 (a) = {'1' * 64}\nSHA1 (a) = {'4' * 40}\n"
    )
    assert read_sums(text) == {"back\\slash\nnew": ONE, "a": ONE}
    assert read_sums(f"{'1' * 64}  ./a\n{'1' * 64} *a\n") == {"a": ONE}
    with pytest.raises(ValueError, match="line 2 gives 'a' another sha256 checksum than an earlier line"):
        read_sums(f"{'1' * 64}  a\n{'2' * 64}  a\n")


def sums_of(name: str, body: bytes, **options: Any) -> Sums:
    return Sums({name: Checksum("sha256", sha256(body).hexdigest())}, **options)


def test_a_file_named_by_its_server_is_checked(site: Site, make_fetcher: Any, fetch_by: FetchBy, dest: Path) -> None:
    url = site.serve("/dl", b"right", Content_Disposition='attachment; filename="a.iso"')
    fetch = fetch_by(make_fetcher(checksums=sums_of("a.iso", b"right")))
    assert fetch(url).read_bytes() == b"right"
    fetch = fetch_by(make_fetcher(checksums=sums_of("a.iso", b"wrong"), overwrite="always"))
    with pytest.raises(PermanentError, match="wrong checksum"):
        fetch(url)
    assert (dest / "a.iso").read_bytes() == b"right"


def test_a_redirect_may_name_the_file_too(site: Site, make_fetcher: Any, fetch_by: FetchBy) -> None:
    site.serve("/get", status=302, Location=site.serve("/dist/a.iso", b"right"))
    with pytest.raises(PermanentError, match="wrong checksum"):
        fetch_by(make_fetcher(checksums=sums_of("a.iso", b"wrong")))(site.url("/get"))


def test_a_file_that_is_there_is_checked_by_the_list(site: Site, make_fetcher: Any, fetch_by: FetchBy) -> None:
    url = site.serve("/a.iso", b"right")
    fetch_by(make_fetcher())(url)
    with pytest.raises(PermanentError, match="is there already, with another checksum"):
        fetch_by(make_fetcher(checksums=sums_of("a.iso", b"wrong")))(url)


def test_the_checksum_of_a_request_goes_before_the_list(site: Site, make_fetcher: Any, fetch_by: FetchBy) -> None:
    checksum = f"md5:{md5(b'right', usedforsecurity=False).hexdigest()}"
    fetch = fetch_by(make_fetcher(checksums=sums_of("a.iso", b"wrong", required=True)))
    assert fetch(Request(url=site.serve("/a.iso", b"right"), checksum=checksum)).name == "a.iso"


def test_what_has_to_be_listed_is_not_asked_for_unless_the_server_may_name_it(
    site: Site, make_fetcher: Any, fetch_by: FetchBy, dest: Path
) -> None:
    fetch = fetch_by(make_fetcher(checksums=sums_of("a.iso", b"right", required=True)))
    url = site.serve("/b.iso", b"right")
    with pytest.raises(PermanentError, match=r"the list of checksums does not name 'mine\.iso'"):
        fetch(url, "mine.iso")
    assert site.asked == []
    with pytest.raises(PermanentError, match=r"the list of checksums does not name 'b\.iso'"):
        fetch(url)
    assert len(site.asked) == 1
    assert not dest.exists() or list(dest.iterdir()) == []
