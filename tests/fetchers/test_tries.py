"""Attempts that bring bytes do not use up retries, and a download that gets no further ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

import haulier
from haulier import RetryPolicy, SourcePolicy
from haulier.errors import Throttled
from haulier.fetchers.http import FetchError, HostBusy, HttpFetcher, retry_by_progress
from haulier.fetchers.tries import count_try

if TYPE_CHECKING:
    from tests.fetchers.conftest import Exchange, Site

    from haulier.transfer import Transfer

pytestmark = pytest.mark.expect_errors(r"^Failed: .* at s")

GUARD_S = 20.0
PIECE = 10_000
BODY = bytes(range(200)) * 300
"""Six pieces."""

Cut = Callable[["Site", int, "Exchange"], None]


def first_byte(exchange: Exchange) -> int:
    found = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("Range", ""))
    return int(found[1]) if found else 0


def send(exchange: Exchange, first: int, count: int, etag: str | None) -> None:
    """Declare the rest of the body from ``first`` on, send ``count`` bytes of it, and hang up."""
    headers = "" if etag is None else f"ETag: {etag}\r\n"
    status = "206 Partial Content" if first else "200 OK"
    if first:
        headers += f"Content-Range: bytes {first}-{len(BODY) - 1}/{len(BODY)}\r\n"
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(BODY) - first}\r\n{headers}\r\n"
    exchange.raw(head.encode() + BODY[first : first + count])
    exchange.hang_up()


@pytest.fixture
def attempt(site: Site, make_fetcher: Callable[..., HttpFetcher]) -> Iterator[Callable[..., dict[str, Any]]]:
    """``attempt(route, retries)``: download ``/a`` with so many retries without progress; the record at the end."""
    engine = haulier.DownloadEngine()

    def attempt(route: Callable[[Exchange], None], retries: int) -> dict[str, Any]:
        retry = RetryPolicy(stop=tenacity.stop_after_attempt(retries + 1), wait=tenacity.wait_none())
        policy = SourcePolicy(retry=retry_by_progress(retry))
        engine.register_source("s", policy)
        download = engine.worker.dispatch("s", site.on("/a", route), "A", "", make_fetcher())
        return dict(engine.wait(download, GUARD_S))

    with engine:
        yield attempt


def test_a_download_that_gets_further_each_time_lands(site: Site, attempt: Callable[..., dict[str, Any]]) -> None:
    record = attempt(lambda exchange: send(exchange, first_byte(exchange), PIECE, '"v1"'), 1)
    assert (record["phase"], record["attempt"], len(site.asked)) == ("succeeded", 6, 6)


def test_errors_between_two_pieces_do_not_add_up(site: Site, attempt: Callable[..., dict[str, Any]]) -> None:
    def every_other_one_fails(exchange: Exchange) -> None:
        if len(site.asked) % 2:
            exchange.raw(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        else:
            send(exchange, first_byte(exchange), PIECE, '"v1"')

    assert attempt(every_other_one_fails, 1)["phase"] == "succeeded"
    assert len(site.asked) == 12


def test_after_the_last_progress_each_retry_is_used(site: Site, attempt: Callable[..., dict[str, Any]]) -> None:
    record = attempt(
        lambda exchange: send(exchange, first_byte(exchange), min(PIECE, 25_000 - first_byte(exchange)), '"v1"'), 2
    )
    assert (record["phase"], len(site.asked)) == ("failed", 3 + 3)
    assert record["error"] == "connection closed after 25,000 of 60,000 bytes"


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_bytes_that_cannot_be_kept_are_no_progress(
    etag: str | None, site: Site, attempt: Callable[..., dict[str, Any]]
) -> None:
    record = attempt(lambda exchange: send(exchange, 0, PIECE, etag), 2)
    assert (record["phase"], len(site.asked)) == ("failed", 3)


def test_a_file_that_is_another_one_each_time_is_given_up_on(
    site: Site, attempt: Callable[..., dict[str, Any]]
) -> None:
    record = attempt(lambda exchange: send(exchange, 0, PIECE, f'"v{len(site.asked)}"'), 3)
    assert (record["phase"], len(site.asked)) == ("failed", 5)


def test_what_an_earlier_process_left_is_no_progress(transfer: Transfer) -> None:
    failure = FetchError("x")
    tries = []
    for found, kept in [(500, 500), (500, 500), (500, 501), (501, 501), (501, 0), (0, 400), (400, 502)]:
        count_try(transfer, failure, found, kept)
        tries.append(failure.tries)
    assert tries == [1, 2, 0, 1, 2, 3, 0]


def test_a_pause_is_no_attempt_but_what_came_before_it_is_progress(transfer: Transfer) -> None:
    failure = FetchError("x")
    count_try(transfer, failure, 0, 0)
    count_try(transfer, Throttled(1.0), 0, 0)
    count_try(transfer, failure, 0, 0)
    assert failure.tries == 2
    count_try(transfer, Throttled(1.0), 0, 10)
    count_try(transfer, failure, 10, 10)
    assert failure.tries == 1


def state_of(error: Exception, attempt: int) -> tenacity.RetryCallState:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    state.outcome = tenacity.Future(attempt)
    state.outcome.set_exception(error)
    return state


def test_waits_start_from_the_shortest_after_progress() -> None:
    wait = retry_by_progress(RetryPolicy(wait=tenacity.wait_exponential(max=60))).wait
    failure = FetchError("x")
    failure.tries = 0
    state = state_of(failure, 7)
    assert (wait(state), state.attempt_number) == (0.5, 7)
    failure.tries = 3
    assert wait(state) == 4


@pytest.mark.parametrize("error", [FetchError("not counted"), ValueError("of another impl")])
def test_other_failures_count_as_always(error: Exception) -> None:
    stop = retry_by_progress(RetryPolicy(stop=tenacity.stop_after_attempt(3))).stop
    assert [stop(state_of(error, attempt)) for attempt in (1, 2, 3)] == [False, False, True]


def test_a_busy_host_is_waited_for_and_costs_no_try(transfer: Transfer) -> None:
    policy = retry_by_progress(RetryPolicy(stop=tenacity.stop_after_attempt(1), wait=tenacity.wait_fixed(9)))
    busy = HostBusy(2.5, "full")
    count_try(transfer, busy, 0, 0)
    state = state_of(busy, 50)
    assert (policy.stop(state), policy.wait(state), busy.tries) == (False, 2.5, None)
    failure = FetchError("x")
    count_try(transfer, failure, 0, 0)
    assert failure.tries == 1
