"""Requests that redirects lead to another host are under the limits of that host, and hold up no other one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

import haulier
from haulier import RetryPolicy, SourcePolicy
from haulier.errors import DownloadCancelled, PermanentError, Throttled
from haulier.fetchers import hosts
from haulier.fetchers.http import FetchError, HostBusy, HostLimits, HttpFetcher, retry_by_progress

if TYPE_CHECKING:
    from tests.fetchers.conftest import Background, Exchange, Fetch, Site

    from haulier.transfer import Transfer

GUARD_S = 10.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"


class Crowd:
    """A route that counts how many requests are inside, and lets none out before ``wanted`` were inside at once."""

    def __init__(self, wanted: int) -> None:
        self.peak = self._inside = 0
        self.starts: list[float] = []
        self._wanted = wanted
        self._changed = threading.Condition()

    def __call__(self, exchange: Exchange) -> None:
        with self._changed:
            self.starts.append(monotonic())
            self._inside += 1
            self.peak = max(self.peak, self._inside)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.peak >= self._wanted, GUARD_S)
            self._inside -= 1
        exchange.raw(OK)


def limits_of(site: Site, *, patience: float = GUARD_S, **policy: Any) -> HostLimits:
    """Limits for ``localhost`` only."""
    return HostLimits({f"localhost:{site.port}": SourcePolicy(**policy)}.get, patience=patience)


def front(site: Site, path: str, to: str) -> str:
    """A URL at 127.0.0.1 that redirects to the path ``to`` at localhost."""
    return site.serve(path, status=302, Location=site.url(to, host="localhost"))


@pytest.mark.parametrize("limit", [1, 3])
def test_the_limit_of_the_target_is_reached_and_never_exceeded(
    limit: int, site: Site, make_fetcher: Callable[..., HttpFetcher]
) -> None:
    crowd = Crowd(limit)
    site.on("/f", crowd)
    fetcher = make_fetcher(host_limits=limits_of(site, concurrency=limit))
    with haulier.DownloadEngine() as engine:
        for number in range(6):
            url = front(site, f"/{number}", f"/f?{number}")
            engine.worker.dispatch(f"source {number}", url, "A", f"{number}", fetcher)
        records = list(engine.as_completed([each["id"] for each in engine.get_all_downloads()], GUARD_S))
    assert [each["phase"] for each in records] == ["succeeded"] * 6
    assert (crowd.peak, len(crowd.starts)) == (limit, 6)


def test_the_delay_of_the_target_lies_between_requests_of_several_sources(
    site: Site,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
    in_background: type[Background],
) -> None:
    crowd = Crowd(1)
    site.on("/f", crowd)
    fetch = fetch_by(make_fetcher(host_limits=limits_of(site, delay=0.2)))
    urls = [front(site, f"/{number}", "/f") for number in range(3)]
    for each in [in_background(partial(fetch, url, url[-1])) for url in urls]:
        each.wait()
    first, second, third = crowd.starts
    assert second - first >= 0.2
    assert third - second >= 0.2


def test_redirects_within_one_host_keep_its_delay(
    site: Site, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    crowd = Crowd(1)
    site.on("/f", crowd)
    began = monotonic()
    limits = HostLimits(lambda name: SourcePolicy(delay=0.15, jitter=(2.0, 9.0)) if name == "example" else None)
    fetch_by(make_fetcher(host_limits=limits))(site.serve("/1", status=302, Location="/f"))
    assert crowd.starts[0] - began >= 0.3, "the lower factor of the jitter counts"


def test_two_hosts_that_redirect_to_each_other_do_not_block_each_other(
    site: Site,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
    in_background: type[Background],
) -> None:
    both = threading.Barrier(2)

    def redirect(host: str) -> Callable[[Exchange], None]:
        def route(exchange: Exchange) -> None:
            both.wait(GUARD_S)  # each of the two hosts is at its limit now
            exchange.raw(f"HTTP/1.1 302 Found\r\nLocation: {site.url('/f', host=host)}\r\n\r\n".encode())
            exchange.hang_up()

        return route

    site.serve("/f", b"x")
    site.on("/1", redirect("localhost"))
    site.on("/2", redirect("127.0.0.1"))
    limits = HostLimits(lambda _: SourcePolicy())
    fetcher = make_fetcher(host_limits=limits)
    with haulier.DownloadEngine() as engine:
        for name, host in (("/1", "127.0.0.1"), ("/2", "localhost")):
            place = f"{host}:{site.port}"
            engine.worker.dispatch(place, site.url(name, host=host), "A", name[1:], fetcher)
        records = list(engine.as_completed([each["id"] for each in engine.get_all_downloads()], GUARD_S))
    assert [each["phase"] for each in records] == ["succeeded"] * 2


def test_a_pause_that_the_target_asks_for_suspends_the_target_alone(
    site: Site, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    fetch = fetch_by(make_fetcher(host_limits=HostLimits(lambda _: None, patience=1.0)))
    site.serve("/f", status=429, Retry_After="40")
    with pytest.raises(HostBusy, match=r"^localhost:\d+: 429 Too Many Requests: again in 40 s$") as caught:
        fetch(front(site, "/1", "/f"))
    assert caught.value.retry_in_s == 40
    assert fetch(site.serve("/own", b"x")).name == "own"
    asked = len(site.asked)
    with pytest.raises(HostBusy, match=r"which is at its limit$") as caught:
        fetch(front(site, "/2", "/other"))
    assert 30 < caught.value.retry_in_s <= 40
    assert [each.path for each in site.asked[asked:]] == ["/2"], "the suspended host was not asked"


def test_a_source_whose_host_paused_a_redirected_download_is_suspended_before_it_asks(
    site: Site, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    limits = HostLimits(lambda _: None, patience=1.0)
    limits.take("example").suspend(50)
    with pytest.raises(Throttled, match=r"^example is suspended for another 50 s$") as caught:
        fetch_by(make_fetcher(host_limits=limits))(site.url("/own"))
    assert 40 < caught.value.retry_after <= 50
    assert site.asked == []


def test_a_pause_at_its_own_host_suspends_its_source_as_before(
    site: Site, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    fetch = fetch_by(make_fetcher(host_limits=HostLimits(lambda _: None)))
    with pytest.raises(Throttled) as caught:
        fetch(site.serve("/1", status=429, Retry_After="40"))
    assert caught.value.retry_after == 40


@pytest.mark.expect_errors(r"^Failed: .* at s")
def test_the_source_of_a_pausing_target_goes_on_and_the_download_lands_in_the_end(
    site: Site, make_fetcher: Callable[..., HttpFetcher]
) -> None:
    def busy_once(exchange: Exchange) -> None:
        busy = sum(each.path == "/f" for each in site.asked) == 1
        exchange.raw(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n" if busy else OK)

    site.on("/f", busy_once)
    fetcher = make_fetcher(host_limits=HostLimits(lambda _: None))
    with haulier.DownloadEngine(policy=SourcePolicy(retry=retry_by_progress(RetryPolicy()))) as engine:
        led = engine.worker.dispatch("s", front(site, "/1", "/f"), "A", "", fetcher)
        own = engine.worker.dispatch("s", site.serve("/own", b"x"), "B", "", fetcher)
        order = [(each["id"], each["phase"]) for each in engine.as_completed([led, own], GUARD_S)]
        assert engine.stats()["s"]["suspended_until"] is None
    assert order == [(own, "succeeded"), (led, "succeeded")]


def test_a_target_at_its_limit_is_waited_for_and_no_longer_than_patience_allows(
    site: Site,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
    in_background: type[Background],
) -> None:
    inside, may_go = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        inside.set()
        assert may_go.wait(GUARD_S)
        exchange.raw(OK)

    site.on("/slow", slow)
    site.serve("/f", b"x")
    fetch = fetch_by(make_fetcher(host_limits=limits_of(site, patience=0.05)))
    holder = in_background(lambda: fetch(front(site, "/1", "/slow"), "slow"))
    assert inside.wait(GUARD_S)
    with pytest.raises(
        HostBusy, match=rf"^a redirect leads to localhost:{site.port}, which is at its limit$"
    ) as caught:
        fetch(front(site, "/2", "/f"))
    assert caught.value.retry_in_s == 1, "the source gets time for another download"
    may_go.set()
    holder.wait()
    assert fetch(front(site, "/2", "/f"), "f").name == "f"


def test_a_download_that_waits_for_a_host_can_be_cancelled(transfer: Transfer, in_background: type[Background]) -> None:
    gate = hosts.HostGate("h", SourcePolicy())
    assert gate.enter(transfer, None) is None
    waits = in_background(lambda: gate.enter(transfer, None))
    transfer.cancelled = True
    with pytest.raises(DownloadCancelled):
        waits.wait()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", PermanentError),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://x\r\nContent-Length: 0\r\n\r\n", PermanentError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour", FetchError),
        (b"nonsense\r\n\r\n", FetchError),
        (b"", FetchError),
    ],
)
def test_however_a_request_ends_the_next_one_gets_its_turn(
    answer: bytes,
    error: type[Exception],
    site: Site,
    make_fetcher: Callable[..., HttpFetcher],
    fetch_by: Callable[..., Fetch],
) -> None:
    def route(exchange: Exchange) -> None:
        exchange.raw(answer)
        exchange.hang_up()

    fetch = fetch_by(make_fetcher(host_limits=limits_of(site, patience=0.0)))
    site.on("/bad", route)
    site.serve("/f", b"x")
    with pytest.raises(error) as caught:
        fetch(front(site, "/1", "/bad"))
    assert not isinstance(caught.value, HostBusy)
    assert fetch(front(site, "/2", "/f"), "f").name == "f"


def test_the_first_request_is_under_the_policy_of_its_source(
    site: Site, make_fetcher: Callable[..., HttpFetcher], fetch_by: Callable[..., Fetch]
) -> None:
    asked: list[str] = []
    fetch = fetch_by(make_fetcher(host_limits=HostLimits(lambda name: asked.append(name))))
    site.serve("/f", b"x")
    fetch(front(site, "/1", "/f"))
    assert asked == ["example", f"localhost:{site.port}"]


def test_hosts_are_forgotten_once_nothing_of_them_is_left(monkeypatch: pytest.MonkeyPatch, transfer: Transfer) -> None:
    monkeypatch.setattr(hosts, "_MOST_IDLE", 3)
    limits = HostLimits(lambda _: SourcePolicy(delay=60))
    used, suspended, delayed = (limits.take(name) for name in ("used", "suspended", "delayed"))
    suspended.suspend(60)
    delayed.enter(transfer, None)
    delayed.leave(monotonic())
    limits.give_back(suspended)
    limits.give_back(delayed)
    for number in range(50):
        limits.give_back(limits.take(f"host {number}"))
    kept = [limits.take(name) for name in ("used", "suspended", "delayed")]
    assert kept == [used, suspended, delayed]
    assert len(limits._gates) <= 4


def test_after_a_suspension_one_request_runs_alone(transfer: Transfer) -> None:
    gate = hosts.HostGate("h", SourcePolicy(concurrency=5))
    gate.suspend(0.0)
    assert gate.enter(transfer, 0.0) is None
    assert gate.enter(transfer, 0.0) is not None
    gate.leave(monotonic())
    assert [gate.enter(transfer, 0.0) for _ in range(5)] == [None] * 5
    assert gate.enter(transfer, 0.0) is not None


@pytest.mark.parametrize(
    ("policy_of", "patience", "error", "named"),
    [
        ({}, 1.0, TypeError, "policy_of"),
        (lambda _: None, -1.0, ValueError, "patience"),
        (lambda _: None, "1", TypeError, "patience"),
    ],
)
def test_bad_limits(policy_of: Any, patience: Any, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        HostLimits(policy_of, patience=patience)
