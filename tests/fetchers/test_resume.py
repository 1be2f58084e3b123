"""Going on where an earlier attempt ended: with a strong validator, byte for byte, or not at all."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulier.errors import PermanentError
from haulier.fetchers.http import FetchError, HttpFetcher, Request
from haulier.fetchers.origin import key_of
from haulier.fetchers.parts import Begun
from haulier.fetchers.ranges import Afresh, GoOn, Nonsense, Whole, asked_for, meaning, validators

if TYPE_CHECKING:
    from tests.fetchers.conftest import Exchange, Fetch, Site

BODY = bytes(range(256)) * 1000
HALF = len(BODY) // 2
DATE = "Wed, 01 Jul 2026 12:00:00 GMT"
LATER = "Wed, 01 Jul 2026 12:01:00 GMT"
STRONG = {"ETag": '"v1"'}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def head(status: int, length: int | None, headers: dict[str, str]) -> bytes:
    sized = {} if length is None else {"Content-Length": str(length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**sized, **headers}.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode()


def half_of_it(**headers: str) -> Callable[[Exchange], None]:
    """Breaks off in the middle."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def route(exchange: Exchange) -> None:
        exchange.raw(head(200, len(BODY), named) + BODY[:HALF])
        exchange.hang_up()

    return route


def then(exchange_head: bytes, body: bytes) -> Callable[[Exchange], None]:
    def route(exchange: Exchange) -> None:
        exchange.raw(exchange_head + body)
        exchange.hang_up()

    return route


def begin(site: Site, fetch: Fetch, **headers: str) -> str:
    """A part with half of the file."""
    url = site.on("/a.bin", half_of_it(**(headers or STRONG)))
    with pytest.raises(FetchError, match="connection closed after"):
        fetch(url)
    return url


# ---- it goes on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        pytest.param({"ETag": '"v1"'}, '"v1"', id="a strong ETag"),
        pytest.param({"Last-Modified": DATE, "Date": LATER}, DATE, id="a date a minute older than the answer"),
        pytest.param({"ETag": '"v1"', "Last-Modified": DATE, "Date": LATER}, '"v1"', id="both: the ETag"),
    ],
)
def test_the_rest_is_asked_for_and_put_behind(
    headers: dict[str, str], validator: str, site: Site, fetch: Fetch, dest: Path
) -> None:
    url = begin(site, fetch, **headers)
    assert set(tree(dest)) == {"a.bin.part", "a.bin.part.json"}
    rest = head(206, len(BODY) - HALF, {"Content-Range": f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}", **headers})
    site.on("/a.bin", then(rest, BODY[HALF:]))
    fetch(url)
    assert tree(dest) == {"a.bin": BODY}
    asked = site.asked[-1].headers
    assert (asked["range"], asked["if-range"]) == (f"bytes={HALF}-", validator)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"ETag": 'W/"v1"'}, id="a weak ETag"),
        pytest.param({"ETag": "v1"}, id="an ETag without its quotation marks"),
        pytest.param({"Last-Modified": DATE, "Date": DATE}, id="a date as old as the answer"),
        pytest.param({"Last-Modified": DATE}, id="a date, and the answer has none"),
        pytest.param({"Server": "none"}, id="nothing"),
    ],
)
def test_without_a_strong_validator_no_part_stays_and_it_begins_anew(
    headers: dict[str, str], site: Site, fetch: Fetch, dest: Path
) -> None:
    url = begin(site, fetch, **headers)
    assert tree(dest) == {}
    site.serve("/a.bin", BODY)
    fetch(url)
    assert tree(dest) == {"a.bin": BODY}
    assert "range" not in {name.lower() for name in site.asked[-1].headers}


def test_another_fetcher_goes_on_too(
    site: Site,
    fetch: Fetch,
    dest: Path,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[[HttpFetcher], Fetch],
) -> None:
    url = begin(site, fetch)
    rest = head(206, len(BODY) - HALF, {"Content-Range": f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"})
    site.on("/a.bin", then(rest, BODY[HALF:]))
    fetch_by(make_fetcher())(url)
    assert tree(dest) == {"a.bin": BODY}


def test_a_416_that_says_that_all_is_here_is_the_end(site: Site, fetch: Fetch, dest: Path) -> None:
    url = begin(site, fetch)
    (dest / "a.bin.part").write_bytes(BODY)
    site.on("/a.bin", then(head(416, 0, {"Content-Range": f"bytes */{len(BODY)}"}), b""))
    fetch(url)
    assert tree(dest) == {"a.bin": BODY}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Range": f"bytes */{HALF - 1}"}, id="of less"),
        pytest.param({}, id="that says nothing"),
        pytest.param({"Content-Range": f"bytes */{HALF}", "ETag": '"v2"'}, id="of another version"),
    ],
)
def test_any_other_416_starts_over_in_the_same_attempt(
    headers: dict[str, str], site: Site, fetch: Fetch, dest: Path
) -> None:
    url = begin(site, fetch)

    def route(exchange: Exchange) -> None:
        if exchange.headers.get("Range"):
            exchange.raw(head(416, 0, headers))
        else:
            exchange.raw(head(200, len(BODY), STRONG) + BODY)

    site.on("/a.bin", route)
    fetch(url)
    assert tree(dest) == {"a.bin": BODY}


def test_a_200_starts_over(site: Site, fetch: Fetch, dest: Path) -> None:
    url = begin(site, fetch)
    site.serve("/a.bin", b"another version", ETag='"v2"')
    fetch(url)
    assert tree(dest) == {"a.bin": b"another version"}


REST = f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}, id="from the start"),
        pytest.param({"Content-Range": f"bytes {HALF + 1}-{len(BODY) - 1}/{len(BODY)}"}, id="one byte further"),
        pytest.param({"Content-Range": f"bytes {HALF}-{len(BODY)}/{len(BODY) + 1}"}, id="of another size"),
        pytest.param({"Content-Range": f"bytes {HALF}-{HALF - 1}/{len(BODY)}"}, id="backwards"),
        pytest.param({"Content-Range": f"items {HALF}-{len(BODY) - 1}/{len(BODY)}"}, id="of something else"),
        pytest.param({}, id="without saying which"),
        pytest.param({"Content-Type": "multipart/byteranges; boundary=x"}, id="in several pieces"),
        pytest.param({"Content-Range": REST, "ETag": '"v2"'}, id="of another version"),
        pytest.param({"Content-Range": REST, "Content-Encoding": "gzip"}, id="compressed"),
        pytest.param({"Content-Range": f"bytes {HALF}-{HALF + 9}/{len(BODY)}"}, id="of another length than the body's"),
    ],
)
def test_what_does_not_fit_fails_and_the_next_attempt_begins_anew(
    headers: dict[str, str], site: Site, fetch: Fetch, dest: Path
) -> None:
    url = begin(site, fetch)
    site.on("/a.bin", then(head(206, len(BODY) - HALF, headers), BODY[HALF:]))
    with pytest.raises(FetchError):
        fetch(url)
    assert tree(dest) == {}
    site.serve("/a.bin", BODY)
    fetch(url)
    assert tree(dest) == {"a.bin": BODY}


def test_a_body_that_was_decoded_is_never_gone_on_with(site: Site, fetch: Fetch, dest: Path) -> None:
    url = site.on("/a.bin", half_of_it(ETag='"v1"', Content_Encoding="gzip"))
    with pytest.raises(FetchError):
        fetch(url)
    assert tree(dest) == {}


# ---- whose part it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sidecar",
    [
        pytest.param(None, id="no sidecar"),
        pytest.param("not JSON", id="a sidecar that is none"),
        pytest.param(json.dumps({"version": 1, "key": "another", "etag": '"v1"'}), id="of another download"),
        pytest.param(json.dumps({"version": 99, "key": "KEY", "etag": '"v1"'}), id="of a newer haulier"),
        pytest.param(json.dumps(["KEY"]), id="a list"),
    ],
)
def test_a_part_of_somebody_else_is_not_touched(sidecar: str | None, site: Site, fetch: Fetch, dest: Path) -> None:
    url = site.serve("/a.bin", BODY, ETag='"v1"')
    dest.mkdir()
    (dest / "a.bin.part").write_bytes(b"theirs")
    if sidecar is not None:
        (dest / "a.bin.part.json").write_text(sidecar.replace("KEY", key_of(url)))
    before = tree(dest)
    assert fetch(url) == dest / "a (1).bin"
    assert tree(dest) == {**before, "a (1).bin": BODY}


@pytest.mark.parametrize("moment", ["linked and not unlinked", "unlinked, and the sidecar is still there"])
def test_what_a_process_left_that_was_killed_as_it_landed_is_tidied(
    moment: str, site: Site, fetch: Fetch, dest: Path
) -> None:
    url = site.serve("/a.bin", BODY, ETag='"v1"')
    fetch(url)
    if moment.startswith("linked"):
        (dest / "a.bin.part").hardlink_to(dest / "a.bin")
    (dest / "a.bin.part.json").write_text(json.dumps({"version": 1, "key": key_of(url), "etag": '"v1"'}))
    assert fetch(url) == dest / "a.bin"
    assert tree(dest) == {"a.bin": BODY}


# ---- shorter ranges --------------------------------------------------------------------------------------------------


def pieces(size: int, etag: str = '"v1"') -> Callable[[Exchange], None]:
    """A route that sends at most ``size`` bytes of a range."""

    def route(exchange: Exchange) -> None:
        first = int(exchange.headers["Range"].removeprefix("bytes=").rstrip("-"))
        piece = BODY[first : first + size]
        span = f"bytes {first}-{first + len(piece) - 1}/{len(BODY)}"
        exchange.raw(head(206, len(piece), {"Content-Range": span, "ETag": etag}) + piece)

    return route


@pytest.mark.parametrize(("size", "requests"), [(HALF, 2), (HALF - 1, 3), (HALF // 4, 5), (HALF // 5, 6)])
def test_the_rest_of_a_shorter_range_is_asked_for_at_once(
    size: int, requests: int, site: Site, fetch: Fetch, dest: Path
) -> None:
    url = begin(site, fetch)
    site.on("/a.bin", pieces(size))
    assert fetch(url).read_bytes() == BODY
    assert len(site.asked) == requests
    assert [asked.headers["if-range"] for asked in site.asked[1:]] == ['"v1"'] * (requests - 1)


def test_a_piece_of_another_version_ends_the_pieces(site: Site, fetch: Fetch, dest: Path) -> None:
    url = begin(site, fetch)
    routes = iter([pieces(1000), pieces(1000), pieces(1000, '"v2"')])
    site.on("/a.bin", lambda exchange: next(routes)(exchange))
    with pytest.raises(FetchError, match="another one now"):
        fetch(url)
    assert tree(dest) == {}


def test_a_failure_between_two_pieces_keeps_them(site: Site, fetch: Fetch, dest: Path) -> None:
    url = begin(site, fetch)
    routes = iter([pieces(1000), then(head(500, 0, {}), b"")])
    site.on("/a.bin", lambda exchange: next(routes)(exchange))
    with pytest.raises(FetchError, match="500") as caught:
        fetch(url)
    assert caught.value.tries == 0, "it has got further"
    assert (dest / "a.bin.part").read_bytes() == BODY[: HALF + 1000]


# ---- checksums -------------------------------------------------------------------------------------------------------


def test_a_wrong_checksum_of_a_whole_file_is_final(site: Site, fetch: Fetch, dest: Path) -> None:
    url = site.serve("/a.bin", BODY, ETag='"v1"')
    with pytest.raises(PermanentError, match="wrong checksum: sha256 is "):
        fetch(Request(url=url, checksum="sha256:" + "0" * 64))
    assert tree(dest) == {}
    with pytest.raises(PermanentError, match="ALGORITHM:HEX"):
        fetch(Request(url=url, checksum="nonsense"))


def test_a_wrong_checksum_of_two_halves_is_tried_anew(site: Site, fetch: Fetch, dest: Path) -> None:
    url = begin(site, fetch)
    request = Request(url=url, checksum=f"sha256:{sha256(BODY).hexdigest()}")
    (dest / "a.bin.part").write_bytes(bytes(HALF))
    site.on("/a.bin", then(head(206, len(BODY) - HALF, {"Content-Range": REST}), BODY[HALF:]))
    with pytest.raises(FetchError, match="all of it is fetched anew"):
        fetch(request)
    assert tree(dest) == {}
    site.serve("/a.bin", BODY)
    fetch(request)
    assert tree(dest) == {"a.bin": BODY}


def test_a_file_that_is_here_is_held_to_its_checksum_too(site: Site, fetch: Fetch, dest: Path) -> None:
    url = site.serve("/a.bin", BODY)
    fetch(url)
    fetch(Request(url=url, checksum=f"sha256:{sha256(BODY).hexdigest()}"))
    with pytest.raises(PermanentError, match="is there already, with another checksum"):
        fetch(Request(url=url, checksum="sha256:" + "0" * 64))
    assert len(site.asked) == 1


# ---- any number of cuts ----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(0, 300_000),
    cuts=st.lists(st.tuples(st.integers(0, 300_000), st.booleans(), st.booleans()), max_size=5),
)
def test_cut_anywhere_and_any_number_of_times_it_is_right_in_the_end(
    site_of_cuts: Site, size: int, cuts: list[tuple[int, bool, bool]]
) -> None:
    """Each cut: after how many bytes, whether the server obeys the range, and whether it gives a validator."""
    site, body, left = site_of_cuts, (BODY * 2)[:size], list(cuts)

    def route(exchange: Exchange) -> None:
        at, obeys, vouches = left.pop(0) if left else (len(body) + 1, True, True)
        asked = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("Range", ""))
        first = int(asked[1]) if asked and obeys else 0
        headers = STRONG if vouches else {}
        if first >= len(body) > 0:
            exchange.raw(head(416, 0, {"Content-Range": f"bytes */{len(body)}"}))
            return
        status = 200
        if first:
            status, headers = 206, {**headers, "Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
        exchange.raw(head(status, len(body) - first, headers) + body[first:][:at])
        exchange.hang_up()

    url = site.on("/a.bin", route)
    with tempfile.TemporaryDirectory() as folder, HttpFetcher(folder, timeout=10) as fetcher:
        for _ in range(len(cuts) + 1):
            try:
                run(fetcher, url)
                break
            except FetchError:
                continue
        assert tree(Path(folder)) == {"a.bin": body}


def run(fetcher: HttpFetcher, url: str) -> str:
    from tests.fetchers.conftest import new_transfer

    transfer = new_transfer(url)
    return fetcher(transfer.download_id, url, "a", transfer)


@pytest.fixture(scope="module")
def site_of_cuts() -> Any:
    from tests.fetchers.conftest import Site, _running

    yield from _running(Site())


# ---- the rules alone -------------------------------------------------------------------------------------------------

BEGUN = Begun(5, '"v1"', DATE, 10)


@pytest.mark.parametrize(
    ("begun", "status", "headers", "means"),
    [
        (BEGUN, 200, {}, Afresh()),
        (BEGUN, 206, {"Content-Range": "bytes 5-9/10"}, GoOn(10, 5)),
        (BEGUN, 206, {"Content-Range": "bytes 5-7/10"}, GoOn(10, 3)),
        (BEGUN, 206, {"Content-Range": "bytes 5-9/*"}, GoOn(10, 5)),
        (BEGUN._replace(size=None), 206, {"Content-Range": "bytes 5-9/10"}, GoOn(10, 5)),
        (BEGUN._replace(size=None), 206, {"Content-Range": "bytes 5-8/*"}, Nonsense),
        (BEGUN, 206, {"Content-Range": "bytes 4-9/10"}, Nonsense),
        (BEGUN, 206, {"Content-Range": "bytes 5-10/10"}, Nonsense),
        (BEGUN, 206, {"Content-Range": "bytes 5-9/10", "ETag": 'W/"v1"'}, Nonsense),
        (BEGUN._replace(etag=None), 206, {"Content-Range": "bytes 5-9/10", "Last-Modified": LATER}, Nonsense),
        (BEGUN, 416, {"Content-Range": "bytes */5"}, Nonsense),
        (BEGUN._replace(length=10), 416, {"Content-Range": "bytes */10"}, Whole()),
        (BEGUN._replace(length=10), 416, {"Content-Range": "bytes */10", "ETag": '"v2"'}, Nonsense),
        (BEGUN._replace(size=None), 416, {"Content-Range": "bytes */5"}, Whole()),
    ],
)
def test_what_an_answer_means(begun: Begun, status: int, headers: dict[str, str], means: Any) -> None:
    found = meaning(begun, status, headers)
    assert isinstance(found, means) if isinstance(means, type) else found == means


def test_what_is_asked_for() -> None:
    assert asked_for(BEGUN) == {"range": "bytes=5-", "if-range": '"v1"'}
    assert asked_for(BEGUN._replace(etag=None)) == {"range": "bytes=5-", "if-range": DATE}
    assert validators({"ETag": '"v1"', "Last-Modified": DATE, "Date": LATER}) == ('"v1"', DATE)
    assert validators({"ETag": 'W/"v1"', "Last-Modified": DATE, "Date": DATE}) == (None, None)
