"""Lists of URLs: options after a URL, duplicates, and errors that name the line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Haulier, Site, Start


def listed(tmp_path: Path, *lines: str) -> str:
    (tmp_path / "urls.txt").write_text("\n".join(lines) + "\n")
    return "urls.txt"


def test_a_line_may_say_name_checksum_and_source(run: Haulier, site: Site, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"one").hexdigest()
    file = listed(
        tmp_path,
        "# a comment",
        f'{site.serve("/1", b"one")} name="sub/with spaces.txt" checksum=sha256:{digest} source=mine  # and a comment',
        "",
        site.serve("/2", b"two"),
    )
    done = run("get", "-i", file, "--dest", "into", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "into/sub/with spaces.txt").read_bytes() == b"one"
    assert (tmp_path / "into/2").read_bytes() == b"two"
    assert '"source": "mine"' in done.stdout


def test_what_steers_a_terminal_never_reaches_it(run: Haulier, site: Site, tmp_path: Path) -> None:
    file = listed(tmp_path, f'{site.serve("/a", b"x")} source="mine\x1b[2J\x9b2J\u202e"')
    waits = run("get", "-i", file, "--dest", "into", "--dry-run")
    done = run("get", "-i", file, "--dest", "into", "--delay", "0.1")
    assert (waits.returncode, done.returncode) == (0, 0)
    assert "mine\ufffd[2J\ufffd2J" in waits.stdout
    assert not any(each in waits.stdout + done.stdout + done.stderr for each in "\x1b\x9b\u202e")


def test_each_url_is_fetched_once(run: Haulier, site: Site, tmp_path: Path) -> None:
    url = site.serve("/a", b"x")
    done = run("get", url, "-i", listed(tmp_path, url, f"{url}#part", url), "--dest", "into")
    assert done.returncode == 0
    assert len(site.starts) == 1
    assert done.stdout.splitlines()[-1].startswith("1 download: 1 done; ")


def test_files_of_one_name_are_numbered_in_order_and_found_again(run: Haulier, site: Site, tmp_path: Path) -> None:
    urls = [site.serve(f"/{folder}/a.txt", folder.encode()) for folder in ("x", "y", "z")]
    for again in (False, True):
        assert run("get", *urls, "--dest", "into").returncode == 0
        found = {path.name: path.read_bytes() for path in (tmp_path / "into").iterdir()}
        assert found == {"a.txt": b"x", "a (1).txt": b"y", "a (2).txt": b"z"}
        assert len(site.starts) == 3, f"nothing is fetched twice (again: {again})"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{url} nam=x", "line 2: unknown option 'nam'; did you mean name=…?"),
        ("{url} frobnicate=x", "line 2: unknown option 'frobnicate'; use one of name, checksum, source"),
        ("{url} file.iso", "line 2: unknown option 'file.iso'; if it is a part of the URL, write the blank before"),
        ("{url} (2)/b.iso name=b", "line 2: unknown option '(2)/b.iso'; if it is a part of the URL, write the blank"),
        ("{url} name", "line 2: unknown option 'name'; did you mean name=…?"),
        ("<{url}>", "line 2: remove the < before the URL and the > after it"),
        ("<{url}> name=a", "line 2: remove the < before the URL and the > after it"),
        ('"{url}', 'line 2: remove the " before the URL'),
        (
            "example.org/a.iso",
            "line 2: unsupported URL 'example.org/a.iso': only http and https; did you mean https://",
        ),
        ("{url} {url}", "line 2: two URLs in one line; write one URL per line"),
        ("{url} name='x", "line 2: a quotation mark is missing"),
        ("{url} checksum=sha256:abc", "line 2: a sha256 checksum has 64 hex digits, not 'abc'"),
        ("{url} checksum=md6:abc", "line 2: unknown checksum algorithm 'md6'"),
        ("{first} name=other", "line 2: the same URL as in urls.txt, line 1, with other options"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_nothing_starts(
    line: str, complaint: str, run: Haulier, site: Site, tmp_path: Path
) -> None:
    first = site.serve("/first")
    file = listed(tmp_path, first, line.format(url=site.serve("/a"), first=first))
    done = run("get", "-i", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"haulier get: urls.txt, {complaint}" in done.stderr
    assert site.starts == []


def test_two_urls_in_one_argument_are_no_url(run: Haulier, site: Site) -> None:
    url = site.serve("/a")
    done = run("get", f"{url} {url}")
    assert done.returncode == 2
    assert "two URLs in one argument" in done.stderr


def test_a_list_of_checksums_is_matched_by_name(run: Haulier, site: Site, tmp_path: Path) -> None:
    good, bad = hashlib.sha256(b"good").hexdigest(), hashlib.sha256(b"another").hexdigest()
    (tmp_path / "SUMS").write_text(f"{good}  good.txt\n{bad} *./bad.txt\n")
    urls = [site.serve("/good.txt", b"good"), site.serve("/bad.txt", b"bad"), site.serve("/other.txt", b"other")]
    done = run("get", *urls, "--dest", "into", "--checksums", "SUMS")
    assert done.returncode == 1
    assert sorted(path.name for path in (tmp_path / "into").iterdir()) == ["good.txt", "other.txt"]
    assert f"{urls[1]}: wrong checksum: sha256 is " in done.stderr


def test_a_checksum_on_the_command_line_is_for_one_url(run: Haulier, site: Site, tmp_path: Path) -> None:
    digest = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    assert run("get", site.serve("/a", b"x"), "--checksum", f"md5:{digest}").returncode == 0
    assert (tmp_path / "a").read_bytes() == b"x"
    done = run("get", site.serve("/b"), site.serve("/c"), "--checksum", f"md5:{digest}")
    assert done.returncode == 2
    assert "--checksum needs exactly one URL" in done.stderr
    assert run("get", site.serve("/b"), "--checksum", "md5:zz").returncode == 2


def test_a_url_given_as_a_list_shows_no_secret(run: Haulier) -> None:
    done = run("get", "-i", "http://joe:hunter2@example.org/?token=geheim")
    assert done.returncode == 2
    assert done.stderr == "haulier get: -i takes a file that contains URLs; write a URL without -i\n"


def test_a_forgotten_command_is_pointed_out(run: Haulier) -> None:
    done = run("https://joe:hunter2@example.org/a?token=geheim")
    assert done.returncode == 2
    assert "did you mean: haulier get https://example.org/a?token=*** …?" in done.stderr
    assert "hunter2" not in done.stderr


def test_media_are_fetched_by_yt_dlp_where_one_says_so(site: Site, run: Haulier, tmp_path: Path) -> None:
    pytest.importorskip("yt_dlp", reason="needs pip install 'haulier[ytdlp]'")
    page = site.serve("/page.html", b'<html><video src="/clip.mp4"></video></html>')
    site.serve("/clip.mp4", b"a clip")
    site.serve("/other.html", b"a page")
    (tmp_path / "list").write_text(f"{page} with=ytdlp\n{site.url('/other.html')}\n")
    done = run("get", "-i", "list", "--dest", "out/{host}")
    assert done.returncode == 0, done.stderr
    into = tmp_path / "out" / "127.0.0.1"
    assert {path.name: path.read_bytes() for path in into.iterdir()} == {
        "page (1).mp4": b"a clip",
        "other.html": b"a page",
    }


def test_sites_that_yt_dlp_knows_are_sources_with_the_settings_of_their_preset(run: Haulier) -> None:
    pytest.importorskip("yt_dlp", reason="needs pip install 'haulier[ytdlp]'")
    urls = ["https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=secret", "https://youtu.be/dQw4w9WgXcQ"]
    done = run("get", "--dry-run", *urls, "https://example.org/watch?v=secret")
    assert done.returncode == 0, done.stderr
    assert "youtube: 2 planned; 1 at once, 3 s delay" in done.stdout
    assert "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=*** -> ./(the site names it)" in done.stdout
    assert "secret" not in done.stdout


def test_an_unknown_fetcher_is_refused(run: Haulier) -> None:
    done = run("get", "--with", "ytdl", "https://example.org/a")
    assert done.returncode == 2
    assert "unknown fetcher 'ytdl'; did you mean ytdlp?" in done.stderr


def test_a_list_of_checksums_holds_for_media_too(site: Site, run: Haulier, tmp_path: Path) -> None:
    pytest.importorskip("yt_dlp", reason="needs pip install 'haulier[ytdlp]'")
    (tmp_path / "sums").write_text(f"{hashlib.sha256(b'x').hexdigest()}  clip.mp4\n")
    done = run("get", "--with", "ytdlp", site.serve("/clip.mp4", b"another"), "--checksums", "sums", "--dest", "into")
    assert done.returncode == 1
    assert "another checksum" in done.stderr
    assert list((tmp_path / "into").iterdir()) == []


def test_secrets_are_not_shown_by_yt_dlp_either(site: Site, run: Haulier) -> None:
    pytest.importorskip("yt_dlp", reason="needs pip install 'haulier[ytdlp]'")
    url = site.url("/none?token=s3cret", user="joe:hunter2@")
    done = run("get", "--with", "ytdlp", "--json", "--retries", "0", "-vv", url)
    assert done.returncode == 1
    assert not any(secret in done.stdout + done.stderr for secret in ("s3cret", "hunter2"))


def test_a_file_that_no_checksum_is_for_is_named(run: Haulier, site: Site, tmp_path: Path) -> None:
    (tmp_path / "SUMS").write_text(f"{hashlib.sha256(b'good').hexdigest()}  pub/good.txt\n")
    urls = [site.serve("/pub/good.txt", b"good"), site.serve("/other.txt?token=s3cret", b"other")]
    done = run("get", *urls, "--dest", "into", "--checksums", "SUMS", "-q")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "warning: SUMS has no checksum for 1 file:",
        f"  {site.url('/other.txt')}?token=*** -> other.txt",
    ]
    as_json = run("get", *urls, "--dest", "into", "--checksums", "SUMS", "--json")
    ended = [line for line in as_json.stdout.splitlines() if '"event": "done"' in line]
    assert sorted((urls[0] in line, '"unlisted": true' in line) for line in ended) == [(False, True), (True, False)]


def test_a_checksum_may_be_required(run: Haulier, site: Site, tmp_path: Path) -> None:
    (tmp_path / "SUMS").write_text(f"{hashlib.sha256(b'good').hexdigest()}  good.txt\n")
    urls = [site.serve("/good.txt", b"good"), site.serve("/other.txt", b"other")]
    done = run("get", *urls, "--dest", "into", "--checksums", "SUMS", "--checksums-required")
    assert done.returncode == 1
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["good.txt"]
    assert f"  {urls[1]}: the list of checksums does not name 'other.txt'" in done.stderr.splitlines()
    without = run("get", urls[0], "--checksums-required")
    assert without.returncode == 2
    assert without.stderr == "haulier get: --checksums-required needs --checksums FILE\n"


def test_a_stored_download_is_checked_by_the_list_of_the_second_command(
    run: Haulier, start: Start, site: Site, tmp_path: Path, wait_begun: Callable[[str], None]
) -> None:
    process = start("get", "--store", "q.db", "--dest", "into", site.hold("/a.bin"))
    wait_begun("into/a.bin")
    process.kill()
    process.wait()
    site.gate.set()
    (tmp_path / "SUMS").write_text(f"{hashlib.sha256(b'another').hexdigest()}  a.bin\n")
    done = run("get", "--store", "q.db", "--dest", "into", "--checksums", "SUMS", "--retries", "0")
    assert done.returncode == 1
    assert "wrong checksum" in done.stderr


@pytest.mark.parametrize("option", ["-i", "--checksums", "--config"])
def test_a_byte_order_mark_is_skipped_and_utf_16_is_named(
    option: str, run: Haulier, site: Site, tmp_path: Path
) -> None:
    url = site.serve("/a", b"x")
    text = {
        "-i": url,
        "--checksums": f"{hashlib.sha256(b'x').hexdigest()}  a",
        "--config": '["127.0.0.1"]\ndelay = 0',
    }[option]
    (tmp_path / "text").write_text(f"{text}\n", encoding="utf-8-sig")
    done = run("get", *([] if option == "-i" else [url]), option, "text", "--dest", "into")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "text").write_text(f"{text}\n", encoding="utf-16")
    done = run("get", *([] if option == "-i" else [url]), option, "text", "--dest", "into")
    assert done.returncode == 2
    assert done.stderr == "haulier get: cannot read text: it is text in UTF-16; save it in UTF-8\n"


def test_a_list_on_standard_input_may_have_a_byte_order_mark(run: Haulier, site: Site, tmp_path: Path) -> None:
    assert run("get", "-", stdin=f"\ufeff{site.serve('/a', b'x')}\n").returncode == 0
    assert (tmp_path / "a").read_bytes() == b"x"
