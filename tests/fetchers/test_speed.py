"""Servers that are too slow: ``min_speed`` and ``max_time``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from haulier.fetchers.http import HttpFetcher, TooSlow
from haulier.fetchers.speed import Slowness
from haulier.fetchers.tries import count_try

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fetchers.conftest import Exchange, Fetch, Site

from tests.fetchers.conftest import new_transfer

FetchBy = Callable[[HttpFetcher], "Fetch"]


class Clock:
    """A clock that moves only when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def measured(min_speed: tuple[float, float] | None = None, max_time: float | None = None) -> tuple[Slowness, Clock]:
    clock = Clock()
    slowness = Slowness(min_speed, max_time, clock)
    slowness.begin()
    return slowness, clock


def test_the_speed_is_the_average_over_the_span() -> None:
    slowness, clock = measured((10.0, 5.0))
    slowness.body_begins()
    slowness.received(50)
    clock.now += 5.0
    slowness.check()  # exactly the least speed; the next window begins
    clock.now += 4.75
    slowness.received(49)
    slowness.check()  # too slow, but not for long enough
    clock.now += 0.25
    with pytest.raises(TooSlow, match=r"^too slow: 10 B/s over 5 s, and min_speed is 10 B/s$"):
        slowness.check()


def test_a_fast_beginning_does_not_excuse_what_follows() -> None:
    slowness, clock = measured((10.0, 5.0))
    slowness.received(1_000_000)
    clock.now += 5.0
    slowness.check()
    slowness.received(1)
    clock.now += 5.0
    with pytest.raises(TooSlow, match=r"too slow: 0 B/s over 5 s"):
        slowness.check()


def test_nothing_is_measured_before_the_body_and_after_it() -> None:
    slowness, clock = measured((10.0, 5.0))
    clock.now += 60.0
    slowness.check()
    slowness.received(1)
    slowness.body_ends()
    clock.now += 60.0
    slowness.check()


def test_a_rest_of_our_own_does_not_count_for_the_speed_but_for_the_time() -> None:
    slowness, clock = measured((10.0, 5.0), max_time=60.0)
    slowness.received(50)
    slowness.rested(40.0)
    clock.now += 45.0
    slowness.check()
    clock.now += 15.0 - 0.25
    slowness.received(1000)
    slowness.check()
    clock.now += 0.25
    with pytest.raises(TooSlow, match=r"^took longer than max_time, 60 s$"):
        slowness.check()


def test_an_attempt_without_limits_may_take_for_ever() -> None:
    slowness, clock = measured()
    slowness.received(1)
    clock.now += 1e9
    slowness.check()


def test_each_slow_attempt_counts_also_if_it_gets_further() -> None:
    transfer = new_transfer()
    for attempt in (1, 2, 3):
        failure = TooSlow("too slow")
        count_try(transfer, failure, found=10 * (attempt - 1), kept=10 * attempt)
        assert failure.tries == attempt


def dribbling(*before: bytes, piece: bytes = b"x") -> Callable[[Exchange], None]:
    """A route that sends ``before``, and then a byte from time to time, until the test or the client ends."""

    def route(exchange: Exchange) -> None:
        exchange.raw(b"".join(before))
        while not exchange.server.site.over.wait(0.01):
            exchange.raw(piece)
        exchange.hang_up()

    return route


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "route",
    [
        dribbling(HEAD, b'Content-Length: 1000000\r\nETag: "x"\r\n\r\n'),
        dribbling(HEAD, b"Transfer-Encoding: chunked\r\n\r\n", piece=b"1\r\nx\r\n"),
        dribbling(HEAD, b"Transfer-Encoding: chunked\r\n\r\n3;"),
        dribbling(HEAD, b"Content-Encoding: gzip\r\n\r\n", b"\x1f\x8b\x08\x08\0\0\0\0\0\0"),
    ],
    ids=["plain", "chunked", "a line that does not end", "gzip whose name does not end"],
)
def test_a_server_that_dribbles_is_left(
    route: Callable[[Exchange], None], site: Site, make_fetcher: Any, fetch_by: FetchBy
) -> None:
    url = site.on("/a", route)
    with pytest.raises(TooSlow, match=r"^too slow: [\d,]+ B/s over 0 s, and min_speed is 100,000 B/s$"):
        fetch_by(make_fetcher(min_speed=(100_000, 0.3)))(url)
    with pytest.raises(TooSlow, match=r"^took longer than max_time, 0\.3 s$"):
        fetch_by(make_fetcher(max_time=0.3))(url)


@pytest.mark.parametrize("before", [b"", HEAD + b"X: "], ids=["no status", "a header that does not end"])
def test_a_head_that_dribbles_takes_max_time_at_most(
    before: bytes, site: Site, make_fetcher: Any, fetch_by: FetchBy
) -> None:
    with pytest.raises(TooSlow, match="took longer than max_time"):
        fetch_by(make_fetcher(max_time=0.3))(site.on("/a", dribbling(before)))


def test_a_silent_server_takes_max_time_at_most(site: Site, make_fetcher: Any, fetch_by: FetchBy) -> None:
    with pytest.raises(TooSlow, match="took longer than max_time"):
        fetch_by(make_fetcher(max_time=0.3))(site.on("/a", lambda exchange: exchange.hang()))


def test_what_came_of_a_slow_attempt_is_resumed(site: Site, make_fetcher: Any, fetch_by: FetchBy, dest: Path) -> None:
    def rest(exchange: Exchange) -> None:
        asked_for = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("Range", ""))
        if asked_for is None:
            dribbling(HEAD, b'Content-Length: 1000\r\nETag: "x"\r\n\r\n')(exchange)
            return
        start = int(asked_for[1])
        head = (
            f'HTTP/1.1 206 OK\r\nETag: "x"\r\nContent-Range: bytes {start}-999/1000\r\nContent-Length: {1000 - start}'
        )
        exchange.raw(head.encode() + b"\r\n\r\n" + b"x" * (1000 - start))

    fetch = fetch_by(make_fetcher(min_speed=(100_000, 0.3)))
    url = site.on("/a", rest)
    with pytest.raises(TooSlow):
        fetch(url)
    assert fetch(url).read_bytes() == b"x" * 1000


def test_a_limit_of_our_own_is_not_the_servers_fault(site: Site, make_fetcher: Any, fetch_by: FetchBy) -> None:
    body = b"x" * 20_000
    fetch = fetch_by(make_fetcher(min_speed=(40_000, 0.1), limit_rate=40_000))
    assert fetch(site.serve("/a", body)).read_bytes() == body


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"min_speed": 5}, TypeError),
        ({"min_speed": (5,)}, TypeError),
        ({"min_speed": (5, "1")}, TypeError),
        ({"min_speed": (0, 1)}, ValueError),
        ({"min_speed": (1, 0)}, ValueError),
        ({"min_speed": (2, 1), "limit_rate": 1}, ValueError),
        ({"max_time": 0}, ValueError),
        ({"max_time": "1"}, TypeError),
    ],
)
def test_a_bad_limit_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"min_speed|max_time"):
        HttpFetcher(**options)
