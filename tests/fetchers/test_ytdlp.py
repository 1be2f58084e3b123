"""yt-dlp as a fetcher, for real: its generic extractor on media files from a server on this machine."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("yt_dlp", reason="needs pip install 'haulier[ytdlp]'")

from haulier import DownloadEngine
from haulier._engine.ticket import make_ticket
from haulier.errors import DownloadCancelled, PermanentError, Throttled
from haulier.fetchers.faults import FetchError
from haulier.fetchers.pauses import MOST_PAUSES
from haulier.fetchers.request import Request
from haulier.fetchers.ytdlp import YtDlpFetcher, knows, site_of
from haulier.fetchers.ytdlp.workplace import Workplace
from haulier.transfer import Transfer

if TYPE_CHECKING:
    from tests.fetchers.conftest import Background, Exchange, Site

CLIP = bytes(range(256)) * 4096  # 1 MiB
GUARD_S = 10.0
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
MARKS = hasattr(os, "setxattr")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def a_transfer(filename: str = "") -> Transfer:
    return Transfer(make_ticket("an-id", "example", "", "a clip", filename), 1, {}, 0.0)


class Fetching:
    """``fetching(url, …)`` as the engine calls it, with the fetcher's options by name."""

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        self.transfer = a_transfer()

    def __call__(self, target: object, filename: str = "", **options: Any) -> Path:
        self.transfer = a_transfer(filename)
        fetcher = YtDlpFetcher(self.dest, **{"timeout": GUARD_S, **options})
        return Path(fetcher("an-id", target, "a clip", self.transfer))


@pytest.fixture
def fetching(dest: Path) -> Fetching:
    return Fetching(dest)


@pytest.fixture
def clip(site: Site) -> str:
    """A medium that behaves."""
    return site.serve("/show/clip.mp4", CLIP, Content_Type="video/mp4", Last_Modified=DATE)


def media(status: int = 200, body: bytes = CLIP, **headers: str) -> Callable[[Exchange], None]:
    """A route for one answer, its length declared as that of all of ``CLIP``."""

    def route(exchange: Exchange) -> None:
        sent = {"Content-Type": "video/mp4", "Content-Length": str(len(CLIP) if status == 200 else len(body))}
        sent |= {key.replace("_", "-"): value for key, value in headers.items()}
        head = "".join(f"{key}: {value}\r\n" for key, value in sent.items())
        exchange.raw(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body)
        if len(body) < len(CLIP):
            exchange.hang_up()

    return route


def in_turn(*routes: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """A route that is another one each time, and the last one from then on."""
    left = list(routes)

    def route(exchange: Exchange) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return route


def ranged(exchange: Exchange) -> None:
    """A route that answers ranges, as media servers do."""
    asked = exchange.headers.get("Range", "")
    if not asked:
        return media(Last_Modified=DATE)(exchange)
    begin = int(asked.removeprefix("bytes=").rstrip("-"))
    span = f"bytes {begin}-{len(CLIP) - 1}/{len(CLIP)}"
    return media(206, CLIP[begin:], Content_Range=span, Last_Modified=DATE)(exchange)


# ---- it works --------------------------------------------------------------------------------------------------------


def test_a_clip_is_saved_under_its_title_and_nothing_else_stays(clip: str, fetching: Fetching, dest: Path) -> None:
    path = fetching(clip)
    assert path == dest / "clip.mp4"
    assert path.read_bytes() == CLIP
    assert names_in(dest) == ["clip.mp4"]
    assert path.stat().st_mtime == 1445412480  # DATE


def test_its_hooks_feed_the_transfer(clip: str, fetching: Fetching) -> None:
    fetching(clip)
    cell = fetching.transfer.cell
    assert (cell["transferred"], cell["size"], cell["progress"]) == (len(CLIP), len(CLIP), 100.0)
    assert cell["name"] == "clip"


@pytest.mark.parametrize(
    ("filename", "name", "expected"),
    [
        ("A song.mp4", "", "A song.mp4"),
        ("A song.mp3", "", "A song.mp4"),  # it is no MP3
        ("No. 9", "", "No. 9.mp4"),
        ("", "deep/er/name", "deep/er/name.mp4"),
        ("", "deep/", "deep/clip.mp4"),
        ("", "../../out.mp4", "out.mp4"),
        ("../up", "", "_up.mp4"),
    ],
)
def test_whoever_names_it_it_stays_inside_and_has_the_suffix_that_fits(
    clip: str, fetching: Fetching, dest: Path, filename: str, name: str, expected: str
) -> None:
    assert fetching(Request(url=clip, name=name), filename) == dest / expected


def test_a_title_of_ones_own_cannot_leave_the_destination(clip: str, fetching: Fetching, dest: Path) -> None:
    path = fetching(clip, options={"outtmpl": "../../%(title)s/%(id)s"})
    assert path.parent == dest


def test_a_stream_in_pieces_is_put_together(site: Site, fetching: Fetching, dest: Path) -> None:
    pieces = [CLIP[at : at + 300_000] for at in range(0, len(CLIP), 300_000)]
    for number, piece in enumerate(pieces):
        site.serve(f"/piece{number}.ts", piece, Content_Type="video/mp2t")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4"]
    lines += [line for number in range(len(pieces)) for line in ("#EXTINF:4,", f"piece{number}.ts")]
    playlist = "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode()
    url = site.serve("/stream.m3u8", playlist, Content_Type="application/vnd.apple.mpegurl")
    path = fetching(url, options={"fixup": "never", "hls_prefer_native": True})
    assert path.read_bytes() == CLIP
    assert names_in(dest) == [path.name]


FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>A show: 1/2</title>
<item><title>One</title><link>{0}</link></item><item><title>Two</title><link>{1}</link></item></channel></rss>"""


@pytest.fixture
def feed(site: Site, clip: str) -> str:
    second = site.serve("/show/second.mp4", CLIP[:5000], Content_Type="video/mp4")
    return site.serve("/feed", FEED.format(clip, second).encode(), Content_Type="text/xml")


def test_a_list_is_a_folder_which_is_there_when_all_of_it_is(feed: str, fetching: Fetching, dest: Path) -> None:
    folder = fetching(feed)
    assert folder == dest / "A show_ 1_2"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "One.mp4": CLIP,
        "Two.mp4": CLIP[:5000],
    }
    assert names_in(dest) == [folder.name]
    if MARKS:
        assert fetching(feed) == folder
        assert fetching.transfer.cell["already_there"]


def test_half_a_list_is_none_and_goes_on(site: Site, feed: str, fetching: Fetching, dest: Path) -> None:
    site.on("/show/second.mp4", in_turn(media(500, b""), media(200, CLIP)))
    with pytest.raises(FetchError):
        fetching(feed)
    assert [name for name in names_in(dest) if not name.endswith(".part")] == []
    folder = fetching(feed)
    assert names_in(folder) == ["One.mp4", "Two.mp4"]
    assert names_in(dest) == [folder.name]


def test_a_list_of_lists_is_one_folder(site: Site, clip: str, fetching: Fetching, dest: Path) -> None:
    item = "<item><title>{0}</title><link>{1}</link></item>"
    rss = '<?xml version="1.0"?><rss version="2.0"><channel><title>{0}</title>{1}</channel></rss>'
    inner = [
        site.serve(f"/inner{name}", rss.format(name, item.format(name, clip)).encode(), Content_Type="text/xml")
        for name in "xy"
    ]
    outer = rss.format("Outer", "".join(item.format("inner", url) for url in inner))
    folder = fetching(site.serve("/outer", outer.encode(), Content_Type="text/xml"))
    assert folder == dest / "Outer"
    assert [len(path.read_bytes()) for path in folder.iterdir()] == [len(CLIP)] * 2


def test_two_of_one_name_in_a_list_are_two(site: Site, fetching: Fetching) -> None:
    first = site.serve("/ep1/audio.mp4", CLIP[:1000], Content_Type="video/mp4")
    second = site.serve("/ep2/audio.mp4", CLIP[1:2000], Content_Type="video/mp4")
    feed = site.serve("/feed", FEED.format(first, second).encode(), Content_Type="text/xml")
    folder = fetching(feed)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "One.mp4": CLIP[:1000],
        "Two.mp4": CLIP[1:2000],
    }


def test_what_belongs_to_a_medium_lies_beside_it_and_is_not_taken_for_it(
    clip: str, fetching: Fetching, dest: Path
) -> None:
    for _ in range(2):
        path = fetching(clip, options={"writeinfojson": True})
        assert path == dest / "clip.mp4"
        assert names_in(dest) == ["clip.info.json", "clip.mp4"]


def test_a_destination_whose_name_looks_like_a_variable(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESC", "../../out")
    dest = tmp_path / "x" / "$ESC" / "~"
    assert Fetching(dest)(clip) == dest / "clip.mp4"
    assert names_in(tmp_path) == ["x"]


# ---- what is there already -------------------------------------------------------------------------------------------


def test_what_was_fetched_is_not_fetched_again(site: Site, clip: str, fetching: Fetching, dest: Path) -> None:
    if not MARKS:
        pytest.skip("this system's files carry no marks")
    first = fetching(clip)
    asked = len(site.asked)
    assert fetching(clip) == first
    assert fetching.transfer.cell["already_there"]
    assert len(site.asked) == asked + 1  # the page, and not the medium
    assert names_in(dest) == ["clip.mp4"]


def test_a_file_of_somebody_elses_keeps_its_name(clip: str, fetching: Fetching, dest: Path) -> None:
    dest.mkdir()
    (dest / "clip.mp4").write_bytes(b"mine")
    assert fetching(clip) == dest / "clip (1).mp4"
    assert (dest / "clip.mp4").read_bytes() == b"mine"


def test_changed_fetches_what_the_site_has_another_form_of(site: Site, clip: str, fetching: Fetching) -> None:
    if not MARKS:
        pytest.skip("this system's files carry no marks")
    path = fetching(clip)
    assert fetching(clip, overwrite="changed") == path
    assert fetching.transfer.cell["already_there"]
    site.serve("/show/clip.mp4", b"new", Content_Type="video/mp4", Last_Modified="Thu, 22 Oct 2015 07:28:00 GMT")
    assert fetching(clip, overwrite="changed") == path
    assert path.read_bytes() == b"new"


def test_always_replaces(clip: str, fetching: Fetching, dest: Path) -> None:
    dest.mkdir()
    (dest / "clip.mp4").write_bytes(b"mine")
    assert fetching(clip, overwrite="always").read_bytes() == CLIP
    assert names_in(dest) == ["clip.mp4"]


def test_a_checksum_is_held_to(clip: str, fetching: Fetching, dest: Path) -> None:
    good = f"sha256:{hashlib.sha256(CLIP).hexdigest()}"
    with pytest.raises(PermanentError, match="another checksum"):
        fetching(Request(url=clip, checksum="sha256:" + "0" * 64))
    assert names_in(dest) == []
    assert fetching(Request(url=clip, checksum=good)).read_bytes() == CLIP


# ---- going on --------------------------------------------------------------------------------------------------------


def test_what_broke_off_is_gone_on_with(site: Site, fetching: Fetching, dest: Path) -> None:
    page, cut = media(Last_Modified=DATE), media(200, CLIP[:500_000], Last_Modified=DATE)
    url = site.on("/a.mp4", in_turn(page, cut, page, ranged))
    with pytest.raises(FetchError, match="500000 bytes"):
        fetching(url)
    assert [name.endswith(".part") for name in names_in(dest)] == [True]
    assert fetching(url).read_bytes() == CLIP
    begin = int(site.asked[-1].headers["Range"].removeprefix("bytes=").rstrip("-"))
    assert 400_000 < begin <= 500_000
    assert names_in(dest) == ["a.mp4"]


def test_only_an_attempt_that_leaves_more_is_progress(site: Site, fetching: Fetching, dest: Path) -> None:
    page, cut = media(Last_Modified=DATE), media(200, CLIP[:500_000], Last_Modified=DATE)
    url = site.on("/a.mp4", in_turn(page, cut, page, media(500, b"")))
    fetcher, transfer, tries = YtDlpFetcher(dest, timeout=GUARD_S), a_transfer(), []
    for _ in range(3):
        with pytest.raises(FetchError) as caught:
            fetcher("an-id", url, "a clip", transfer)
        tries.append(caught.value.tries)
    assert tries == [0, 1, 2]
    begin = int(site.asked[3].headers["Range"].removeprefix("bytes=").rstrip("-"))
    span = f"bytes {begin}-{len(CLIP) - 1}/{len(CLIP)}"
    declared = {"Content-Range": span, "Last-Modified": DATE, "Content-Length": str(len(CLIP) - begin)}
    site.on("/a.mp4", in_turn(page, media(206, CLIP[begin:800_000], **declared)))
    with pytest.raises(FetchError) as caught:
        fetcher("an-id", url, "a clip", transfer)
    assert caught.value.tries == 0


def test_what_has_become_another_is_begun_anew(site: Site, fetching: Fetching) -> None:
    later = "Thu, 22 Oct 2015 07:28:00 GMT"
    cut = media(200, CLIP[:500_000], Last_Modified=DATE)
    url = site.on("/a.mp4", in_turn(media(Last_Modified=DATE), cut, media(Last_Modified=later)))
    with pytest.raises(FetchError):
        fetching(url)
    assert fetching(url).read_bytes() == CLIP
    assert "Range" not in site.asked[-1].headers


def test_what_has_no_date_is_begun_anew(site: Site, fetching: Fetching, dest: Path) -> None:
    """Nothing says that the rest would be the rest of the same."""
    cut, other = media(200, CLIP[:500_000]), media(200, CLIP[::-1])
    url = site.on("/a.mp4", in_turn(media(), cut, other))
    with pytest.raises(FetchError):
        fetching(url)
    assert fetching(url).read_bytes() == CLIP[::-1]
    assert names_in(dest) == ["a.mp4"]


def test_a_folder_whose_process_was_killed_at_its_beginning_is_taken_over(
    clip: str, fetching: Fetching, dest: Path
) -> None:
    with Workplace(dest, "127.0.0.1", hashlib.sha256(clip.encode()).hexdigest()) as workplace:
        path = workplace.path
    path.mkdir()
    fetching(clip)
    assert names_in(dest) == ["clip.mp4"]


def test_a_folder_that_somebody_takes_away_is_a_failure_and_no_worse(
    site: Site, fetching: Fetching, dest: Path
) -> None:
    def cut(exchange: Exchange) -> None:
        for path in dest.iterdir():
            shutil.rmtree(path)
        media(200, CLIP[:500_000])(exchange)

    with pytest.raises((FetchError, PermanentError)):
        fetching(site.on("/a.mp4", in_turn(media(), cut)))


def test_two_of_one_page_at_once_do_not_meet(
    site: Site, fetching: Fetching, dest: Path, in_background: type[Background]
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def held(exchange: Exchange) -> None:
        begun.set()
        assert go_on.wait(GUARD_S)
        media()(exchange)

    url = site.on("/a.mp4", in_turn(media(), held, media()))
    first = in_background(lambda: Fetching(dest)(url))
    assert begun.wait(GUARD_S)
    second = fetching(url)
    go_on.set()
    assert second == first.wait() == dest / "a.mp4", "the slower one finds the file of the faster one"
    assert names_in(dest) == ["a.mp4"]


def test_a_folder_that_is_not_ours_stays(clip: str, fetching: Fetching, dest: Path, tmp_path: Path) -> None:
    with Workplace(dest, "127.0.0.1", hashlib.sha256(clip.encode()).hexdigest()) as workplace:
        path = workplace.path
    path.mkdir()
    (path / "haulier.json").write_text('{"version": 1, "key": "somebody"}')
    (path / "mine").write_text("mine")
    link = path.with_name(path.name.replace(".part", " (1).part"))
    link.symlink_to(tmp_path, target_is_directory=True)
    before = names_in(tmp_path)
    assert fetching(clip) == dest / "clip.mp4"
    assert names_in(path) == ["haulier.json", "mine"]
    assert names_in(tmp_path) == before


@pytest.mark.parametrize("again", [CLIP, CLIP[::-1]])
def test_without_marks_a_second_run_leaves_one_file_per_content(
    again: bytes, clip: str, site: Site, fetching: Fetching, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("haulier.fetchers.origin._get", None)
    monkeypatch.setattr("haulier.fetchers.origin._set", None)
    fetching(clip)
    site.serve("/show/clip.mp4", again, Content_Type="video/mp4", Last_Modified=DATE)
    names = ["clip.mp4"] if again == CLIP else ["clip (1).mp4", "clip.mp4"]
    assert [fetching(clip).name for _ in range(2)] == [names[0]] * 2
    assert names_in(dest) == names


# ---- it fails --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, PermanentError, "404"),
        (403, PermanentError, "403"),
        (500, FetchError, "500"),
        (503, FetchError, "503"),
        (429, Throttled, "429"),
    ],
)
def test_what_the_server_answers_is_sorted(
    site: Site, fetching: Fetching, dest: Path, status: int, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        fetching(site.on("/a.mp4", media(status, b"")))
    assert names_in(dest) == []


def test_a_pause_that_is_asked_for_is_taken_over(site: Site, fetching: Fetching) -> None:
    with pytest.raises(Throttled) as caught:
        fetching(site.on("/a.mp4", in_turn(media(), media(503, b"", Retry_After="7"))))
    assert caught.value.retry_after == 7


def test_addresses_of_media_may_have_run_out(site: Site, fetching: Fetching) -> None:
    with pytest.raises(FetchError, match="403"):
        fetching(site.on("/a.mp4", in_turn(media(), media(403, b""))))


def test_a_page_without_media_is_no_use_another_time(site: Site, fetching: Fetching, dest: Path) -> None:
    url = site.serve("/page", b"<html><body>nothing</body></html>", Content_Type="text/html")
    with pytest.raises(PermanentError, match="Unsupported URL"):
        fetching(url)
    assert names_in(dest) == []


def test_a_server_that_is_not_there_may_come_back(fetching: Fetching) -> None:
    with pytest.raises(FetchError):
        fetching("http://127.0.0.1:9/a.mp4")


def test_a_silent_server_is_given_up_on(site: Site, fetching: Fetching) -> None:
    def half(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 9999\r\n\r\nabc")
        exchange.hang()

    with pytest.raises(FetchError, match="timed out"):
        fetching(site.on("/a.mp4", in_turn(media(), half)), timeout=0.5)


def test_what_is_too_large_is_refused(clip: str, fetching: Fetching, dest: Path) -> None:
    with pytest.raises(PermanentError, match="max_size is 1,000"):
        fetching(clip, max_size=1000)
    assert names_in(dest) == []


def test_a_destination_that_cannot_be_written_to_is_said(clip: str, fetching: Fetching, dest: Path) -> None:
    dest.write_text("a file")
    with pytest.raises((PermanentError, FetchError), match="cannot write"):
        fetching(clip)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.mp4", "file:///etc/passwd", "ytsearch:cats", "http://"])
def test_only_http_is_fetched(fetching: Fetching, url: str) -> None:
    with pytest.raises(PermanentError):
        fetching(url)


def test_secrets_are_neither_told_nor_logged(site: Site, fetching: Fetching, caplog: pytest.LogCaptureFixture) -> None:
    site.on("/a.mp4", media(404, b""))
    url = site.url("/a.mp4?token=s3cret", user="me:s3cret@")
    with caplog.at_level(logging.DEBUG), pytest.raises(PermanentError) as caught:
        fetching(url)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in caplog.text
    assert "haulier.fetchers.ytdlp" in caplog.text


@pytest.mark.parametrize("path", ["/watch?token=s3cret", "/?s3cret", "/page?q=a's3cret", "/page?a=1&b=s3cret%20x"])
def test_secrets_in_what_yt_dlp_takes_for_an_id_are_not_told_either(
    site: Site, fetching: Fetching, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    for route in ("/watch", "/", "/page"):
        site.serve(route, b"<html><body>nothing</body></html>", Content_Type="text/html")
    with caplog.at_level(logging.DEBUG), pytest.raises(PermanentError) as caught:
        fetching(site.url(path, user="me:pass's3cret@"))
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("path", ["/rate-limit", "/my-connection", "/try again later"])
def test_words_of_the_url_sort_nothing(site: Site, fetching: Fetching, path: str) -> None:
    site.serve(path.replace(" ", "%20"), b"<html><body>nothing</body></html>", Content_Type="text/html")
    with pytest.raises(PermanentError, match="Unsupported URL"):
        fetching(site.url(path.replace(" ", "%20")))


def test_who_asks_for_pauses_without_end_means_no(site: Site, fetching: Fetching, dest: Path) -> None:
    url = site.on("/a.mp4", media(429, b""))
    fetcher, transfer = YtDlpFetcher(dest, timeout=GUARD_S), a_transfer()
    for _ in range(MOST_PAUSES):
        with pytest.raises(Throttled):
            fetcher("an-id", url, "a clip", transfer)
    with pytest.raises(PermanentError, match="asked for a pause"):
        fetcher("an-id", url, "a clip", transfer)


def test_headers_that_are_secrets_stay_here(site: Site, clip: str, fetching: Fetching) -> None:
    fetching(clip, headers={"User-Agent": "me", "Authorization": "Bearer s3cret"})
    assert {asked.headers["User-Agent"] for asked in site.asked} == {"me"}
    assert not any("Authorization" in asked.headers for asked in site.asked)


def test_the_file_of_cookies_is_read_and_left_as_it_is(site: Site, fetching: Fetching, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tme\tyes\n")
    before = cookies.read_bytes()
    fetching(site.on("/a.mp4", media(Set_Cookie="other=1; Path=/")), cookies=cookies)
    assert "me=yes" in site.asked[0].headers["Cookie"]
    assert cookies.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"options": {"paths": {"home": "/"}}}, ValueError, "paths"),
        ({"options": {"outtmpl": {"default": "x"}}}, TypeError, "outtmpl"),
        ({"options": {"outtmpl": "%(title"}}, ValueError, "outtmpl"),
        ({"options": {"nopart": True}}, ValueError, "nopart"),
        ({"options": {"print_to_file": {}}}, ValueError, "print_to_file"),
        ({"overwrite": "sometimes"}, ValueError, "overwrite"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"max_size": 0}, ValueError, "max_size"),
        ({"limit_rate": -1}, ValueError, "limit_rate"),
        ({"proxy": "socks://x"}, ValueError, "proxy"),
        ({"cookies": "/nowhere/at/all"}, OSError, "nowhere"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        YtDlpFetcher("x", **options)


# ---- in an engine ----------------------------------------------------------------------------------------------------


@pytest.fixture
def engine() -> Iterator[DownloadEngine]:
    with DownloadEngine() as engine:
        yield engine


def test_a_cancel_takes_effect_in_the_middle(site: Site, engine: DownloadEngine, dest: Path) -> None:
    at_half, over = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        exchange.raw(f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {len(CLIP)}\r\n\r\n".encode())
        exchange.raw(CLIP[: len(CLIP) // 2])
        at_half.set()
        with suppress(OSError):  # the client hangs up long before that
            while not over.wait(0.05):
                exchange.raw(bytes(20_000))
        exchange.hang_up()

    fetcher = YtDlpFetcher(dest, timeout=GUARD_S)
    done = threading.Event()

    def impl(download_id: str, target_id: object, display_name: str, transfer: Transfer) -> str:
        try:
            return fetcher(download_id, target_id, display_name, transfer)
        except DownloadCancelled:
            done.set()
            raise

    url = site.on("/a.mp4", in_turn(media(), slow))
    download_id = engine.worker.dispatch("media", url, "A", "", impl)
    assert at_half.wait(GUARD_S)
    assert engine.cancel_download(download_id)
    assert done.wait(GUARD_S)
    over.set()
    assert engine.wait(download_id, timeout=GUARD_S)["state"] == "Cancelled"
    assert not (dest / "a.mp4").exists()


def test_while_it_is_processed_it_is_running(clip: str, engine: DownloadEngine, dest: Path, tmp_path: Path) -> None:
    """The post-processor is yt-dlp's own, which runs a command: here, one that waits until it is let."""
    inside, go_on = tmp_path / "inside", tmp_path / "go on"
    os.mkfifo(inside)
    os.mkfifo(go_on)
    script = f"open({str(inside)!r}, 'w').close(); open({str(go_on)!r}).close()"
    command = f'"{sys.executable}" -c "{script}"'
    options = {"postprocessors": [{"key": "Exec", "exec_cmd": command, "when": "post_process"}]}
    fetcher = YtDlpFetcher(dest, timeout=GUARD_S, options=options)
    download_id = engine.worker.dispatch("media", clip, "A", "", fetcher)
    with inside.open():  # until the command has begun
        pass
    record = engine.get_download_status(download_id)
    assert record is not None
    assert (record["phase"], record["progress"], record["file_path"]) == ("running", 100.0, None)
    assert not (dest / "clip.mp4").exists()
    with go_on.open("w"):
        pass
    assert engine.wait(download_id, timeout=GUARD_S)["file_path"] == str(dest / "clip.mp4")


# ---- what it knows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "site_name"),
    [
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", "youtube"),
        ("https://youtu.be/dQw4w9WgXcQ", "youtube"),
        ("https://soundcloud.com/somebody/a-song", "soundcloud"),
        ("https://x.com/somebody/status/123", "twitter"),
        ("https://example.org/", None),
        ("https://archive.org/download/some/disk.iso", None),  # a plain file, on a site that it knows
        ("http://127.0.0.1/watch?v=dQw4w9WgXcQ", None),
        ("https://localhost/x", None),
        ("ftp://www.youtube.com/watch?v=dQw4w9WgXcQ", None),
        ("https://[", None),
        ("", None),
    ],
)
def test_it_knows_the_sites_that_yt_dlp_knows(url: str, site_name: str | None) -> None:
    assert site_of(url) == site_name
    assert knows(url) is (site_name is not None)
