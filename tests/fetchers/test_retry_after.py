"""``Retry-After``: which answers ask for a pause, how long it is, and that it costs no attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import haulier
from haulier.errors import PermanentError, Throttled
from haulier.fetchers.http import FetchError
from haulier.fetchers.refusals import refused, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fetchers.conftest import Exchange, Fetch, Site

    from haulier.fetchers.http import HttpFetcher

DATE = "Tue, 01 Jul 2025 12:00:00 GMT"
HALF_A_MINUTE_LATER = "Tue, 01 Jul 2025 12:00:30 GMT"
GUARD_S = 10.0


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (429, "7", 7),
        (503, "7", 7),
        (429, "", 60),
        (429, "soon", 60),
        (429, "nan", 60),
        (429, "0", 1),
        (429, "-5", 1),
        (429, "86400", 3600),
        (429, "9" * 5000, 3600),
        (429, "Tue, 01 Jul 2025 12:00:30 GMT", 30),
        (503, "Tuesday, 01-Jul-25 12:02:00 GMT", 120),
        (429, "Tue, 01 Jul 2025 11:00:00 GMT", 1),
        (429, "Tue, 01 Jul 2125 12:00:00 GMT", 3600),
    ],
)
def test_a_server_that_asks_for_a_pause_gets_it(
    status: int, retry_after: str, seconds: float, site: Site, fetch: Fetch
) -> None:
    with pytest.raises(Throttled) as caught:
        fetch(site.serve("/a", status=status, Retry_After=retry_after, Date=DATE))
    assert caught.value.retry_after == seconds
    assert str(caught.value).startswith(str(status))


@pytest.mark.parametrize("status", [202, 403, 408, 413, 420, 425, 429, 500, 501, 502, 503, 504, 507, 529, 599])
def test_each_of_these_asks_for_a_pause(status: int, site: Site, fetch: Fetch) -> None:
    with pytest.raises(Throttled, match=rf"^(HTTP status )?{status}.*: again in 9 s$") as caught:
        fetch(site.serve("/a", status=status, Retry_After="9"))
    assert caught.value.retry_after == 9


@pytest.mark.parametrize("status", [204, 301, 304, 400, 401, 404, 410, 416, 451])
def test_a_pause_would_not_help_here(status: int) -> None:
    assert type(refused(status, {"Retry-After": "9"})) is PermanentError


@pytest.mark.parametrize("retry_after", ["", "soon", "soon, later", ",", "Tue, never"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(202, FetchError), (503, FetchError), (529, FetchError), (403, PermanentError), (420, PermanentError)],
)
def test_without_a_readable_time_these_statuses_mean_what_they_meant(
    status: int, kind: type[Exception], retry_after: str
) -> None:
    assert type(refused(status, {"Retry-After": retry_after})) is kind


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("3, 120", 120),
        ("120, 3", 120),
        ("120,3", 120),
        ("soon, 5", 5),
        ("nan, 5", 5),
        (f"{HALF_A_MINUTE_LATER}, 5", 30),
        (f"5, {HALF_A_MINUTE_LATER}", 30),
        (f"90, {HALF_A_MINUTE_LATER}", 90),
        (f"{HALF_A_MINUTE_LATER}, Tuesday, 01-Jul-25 12:02:00 GMT", 120),
        ("5, 86400", 3600),
        ("-1, 0", 1),
        ("1.5", 1.5),
    ],
)
def test_of_several_values_the_largest_counts(retry_after: str, seconds: float) -> None:
    assert retry_after_s({"Retry-After": retry_after, "Date": DATE}) == seconds


def test_two_lines_of_the_header_are_two_values(site: Site, fetch: Fetch) -> None:
    def route(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 500 Oops\r\nRetry-After: 8\r\nContent-Length: 0\r\nRetry-After: 21\r\n\r\n")

    with pytest.raises(Throttled) as caught:
        fetch(site.on("/a", route))
    assert caught.value.retry_after == 21


@pytest.mark.parametrize("status", [403, 502])
def test_a_pause_spends_no_attempt(status: int, site: Site, make_fetcher: Callable[..., HttpFetcher]) -> None:
    def busy_once(exchange: Exchange) -> None:
        head = f"HTTP/1.1 {status} Busy\r\nRetry-After: 1\r\n" if len(site.asked) == 1 else "HTTP/1.1 200 OK\r\n"
        exchange.raw(f"{head}Content-Length: 0\r\n\r\n".encode())

    with haulier.DownloadEngine() as engine:
        download = engine.worker.dispatch("s", site.on("/a", busy_once), "A", "", make_fetcher())
        record = engine.wait(download, GUARD_S)
    assert (record["phase"], record["attempt"], len(site.asked)) == ("succeeded", 1, 2)
