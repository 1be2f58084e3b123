"""``haulier get`` as a process, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Exchange, Haulier, Site, Start


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "scratch")


def test_files_from_several_hosts_land_and_each_start_and_end_is_a_line(
    run: Haulier, site: Site, tmp_path: Path
) -> None:
    one, two = site.serve("/one.txt", b"first"), site.serve("/two.txt", b"second!")
    done = run("get", one, site.url("/two.txt", host="localhost"), "--dest", "into/here")
    assert done.returncode == 0
    assert done.stderr == ""
    assert (tmp_path / "into/here/one.txt").read_bytes() == b"first"
    assert (tmp_path / "into/here/two.txt").read_bytes() == b"second!"
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for url in (one, two.replace("127.0.0.1", "localhost")):
        name = url.rpartition("/")[2]
        assert lines.index(f"start   {url}") < next(
            i for i, line in enumerate(lines) if line.startswith(f"done    {url} -> {name}, ")
        )
    assert lines[-1].startswith("2 downloads: 2 done; 12 B in ")
    assert lines[-1].endswith(", into into/here")


def test_what_fails_is_named_with_its_reason_and_the_rest_lands(run: Haulier, site: Site, tmp_path: Path) -> None:
    done = run("get", site.url("/none.txt"), site.serve("/one.txt"))
    assert done.returncode == 1
    assert files(tmp_path) == ["one.txt"]
    assert f"failed  {site.url('/none.txt')}: 404 Not Found" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1].startswith("2 downloads: 1 done, 1 failed; ")
    assert done.stderr.splitlines() == ["1 failed:", f"  {site.url('/none.txt')}: 404 Not Found"]


def test_quiet_says_what_failed_and_nothing_else(run: Haulier, site: Site) -> None:
    done = run("get", "--quiet", site.serve("/one.txt"), site.url("/none.txt"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "404 Not Found" in done.stderr


def test_a_broken_connection_is_tried_again(run: Haulier, site: Site, tmp_path: Path) -> None:
    url = site.breaking("/a.bin", times=1)
    done = run("get", url)
    assert done.returncode == 0
    assert (tmp_path / "a.bin").stat().st_size == 8000
    assert re.search(rf"^again   {re.escape(url)}: .+ after 4,000 of 8,000 bytes; next attempt in ", done.stdout, re.M)
    assert f"start   {url} (attempt 2)" in done.stdout.splitlines()


def test_without_retries_one_attempt_is_all(run: Haulier, site: Site, tmp_path: Path) -> None:
    done = run("get", "--retries", "0", site.breaking("/a.bin", times=1))
    assert done.returncode == 1
    assert "after 4,000 of 8,000 bytes" in done.stderr
    assert files(tmp_path) == []


@pytest.mark.parametrize(("retries", "requests"), [("0", 1), ("1", 4)])
def test_a_download_that_gets_further_keeps_its_retries(
    run: Haulier, site: Site, tmp_path: Path, retries: str, requests: int
) -> None:
    body, asked = bytes(range(200)) * 20, []

    def a_quarter(exchange: Exchange) -> None:
        first = int(exchange.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        asked.append(first)
        span = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"} if first else {}
        exchange.head(206 if first else 200, len(body) - first, ETag='"v1"', **span)
        exchange.leave()
        exchange.wfile.write(body[first : first + 1000])
        exchange.close_connection = True

    done = run("get", "--retries", retries, site.on("/a.bin", a_quarter))
    assert (len(asked), done.returncode == 0) == (requests, requests == 4)


def test_a_host_that_asks_for_a_pause_gets_it(run: Haulier, site: Site, tmp_path: Path) -> None:
    asked: list[str] = []

    def busy(exchange: Exchange) -> None:
        asked.append(exchange.path)
        exchange.leave()
        exchange.head(429 if len(asked) == 1 else 200, 0, Retry_After="1")

    done = run("get", "--retries", "0", site.on("/a.bin", busy), site.serve("/b.bin"))
    assert done.returncode == 0
    assert files(tmp_path) == ["a.bin", "b.bin"]
    assert f"waits   127.0.0.1:{site.port}: the server asks for a pause" in done.stdout
    assert site.starts[1] - site.ends[0] >= 1.0


def test_urls_come_from_arguments_files_and_standard_input(run: Haulier, site: Site, tmp_path: Path) -> None:
    urls = {name: site.serve(f"/{name}") for name in ("a", "b", "c", "d")}
    (tmp_path / "list.txt").write_text(
        f"\ufeff# two\r\n\r\n  {urls['b']}  \r\n#{site.url('/no')}\r\n{urls['c']}", "utf-8"
    )
    done = run("get", urls["a"], "-i", "list.txt", "-", "--dest", "into", stdin=f"# from a pipe\n{urls['d']}\n")
    assert done.returncode == 0
    assert files(tmp_path / "into") == ["a", "b", "c", "d"]


def test_two_files_of_one_name_both_land(run: Haulier, site: Site, tmp_path: Path) -> None:
    done = run("get", site.serve("/x/a.bin", b"from x"), site.serve("/y/a.bin", b"from y"), "-c", "2")
    assert done.returncode == 0
    assert files(tmp_path) == ["a (1).bin", "a.bin"]
    assert {path.read_bytes() for path in tmp_path.glob("a*")} == {b"from x", b"from y"}


def test_the_delay_lies_between_two_downloads(run: Haulier, site: Site) -> None:
    assert run("get", "--delay", "0.2", *(site.serve(f"/{i}") for i in range(4))).returncode == 0
    rests = [begun - ended for ended, begun in zip(site.ends, site.starts[1:], strict=False)]
    assert len(rests) == 3
    assert min(rests) >= 0.2
    assert site.peak == 1


def test_a_redirect_leads_around_no_limit(run: Haulier, site: Site, tmp_path: Path) -> None:
    starts: list[float] = []

    def target(exchange: Exchange) -> None:
        starts.append(monotonic())
        exchange.head(200, 0)

    def redirect(exchange: Exchange) -> None:
        exchange.head(302, 0, Location=f"http://localhost:{site.port}/target{exchange.path}")

    for number in range(3):
        site.on(f"/{number}", redirect)
        site.on(f"/target/{number}", target)
    (tmp_path / "urls").write_text("".join(f"{site.url(f'/{n}')} source=s{n}\n" for n in range(3)))
    (tmp_path / "config").write_text('["localhost"]\ndelay = 0.3\n')
    assert run("get", "--config", "config", "-i", "urls").returncode == 0
    first, second, third = starts
    assert second - first >= 0.3
    assert third - second >= 0.3


@pytest.mark.parametrize("limit", [1, 3])
def test_the_limit_is_reached_and_never_exceeded(run: Haulier, site: Site, limit: int) -> None:
    def together(exchange: Exchange) -> None:
        site.wait_peak(limit)
        exchange.head(200, 2)
        exchange.leave()
        exchange.wfile.write(b"ok")

    done = run("get", "--concurrency", str(limit), *(site.on(f"/{i}", together) for i in range(2 * limit)))
    assert done.returncode == 0
    assert len(site.starts) == 2 * limit
    assert site.peak == limit


def test_only_so_many_hosts_have_their_turn_at_once(run: Haulier, site: Site, tmp_path: Path) -> None:
    """Each ``source=`` counts as a host. One download fails, and its host must give up its turn all the same."""

    def wait_for_two(exchange: Exchange) -> None:
        site.wait_peak(2)
        exchange.head(200, 2)
        exchange.leave()
        exchange.wfile.write(b"ok")

    urls = [site.on(f"/{number}", wait_for_two) for number in range(12)]
    urls[3] = site.url("/missing")
    lines = [f"{url} source=host{number // 2}" for number, url in enumerate(urls)]
    (tmp_path / "list").write_text("\n".join(lines))
    done = run("get", "-i", "list", "--hosts", "2", "--dest", "into")
    assert done.returncode == 1
    assert len(list((tmp_path / "into").iterdir())) == 11
    assert site.peak == 2


def test_secrets_are_used_and_never_shown(run: Haulier, site: Site, tmp_path: Path) -> None:
    seen: list[str | None] = []

    def private(exchange: Exchange) -> None:
        seen.append(exchange.headers["Authorization"])
        exchange.head(200, 0)

    site.on("/a.bin?token=geheim", private)
    urls = [site.url(path, user="joe:hunter2@") for path in ("/a.bin?token=geheim", "/none?token=geheim")]
    for loudness in ("-vv", "-q"):
        done = run("get", loudness, *urls)
        assert done.returncode == 1
        assert "404 Not Found" in done.stderr
        for secret in ("joe", "hunter2", "geheim", "am9l"):
            assert secret not in done.stdout + done.stderr
    assert set(seen) == {"Basic am9lOmh1bnRlcjI="}


def test_verbose_shows_the_engines_log(run: Haulier, site: Site) -> None:
    done = run("get", "-v", site.serve("/a.bin"))
    assert "haulier.source: start of" in done.stderr
    assert "start   " in done.stdout


def test_a_reader_that_has_gone_stops_no_download(start: Start, site: Site, tmp_path: Path) -> None:
    process = start("get", site.hold("/a.bin"), site.serve("/b.bin"))
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("start")
    process.stdout.close()
    site.gate.set()
    assert process.stderr.read() == ""
    assert process.wait(30) == 0
    assert files(tmp_path) == ["a.bin", "b.bin"]


def test_it_works_without_standard_output(site: Site, env: dict[str, str], tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m haulier get {site.serve("/a.bin")} {site.url("/none")} >&- 2>&-'
    closed = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=env, timeout=30)
    assert closed.returncode == 1
    assert files(tmp_path) == ["a.bin"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_its_output_stops_no_download(site: Site, env: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "haulier", "get", site.serve("/a.bin")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=tmp_path, env=env, stdout=full, stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stderr) == (1, b"")
    assert files(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["get", "--help"], ["get", "--json"]])
def test_what_cannot_be_written_is_no_success(args: list[str], site: Site, env: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "haulier", *args, *([site.serve("/a.bin")] if "--json" in args else [])]
    for buffered in ("", "1"):
        with open("/dev/full", "w") as full:
            more_env = {**env, "PYTHONUNBUFFERED": buffered}
            done = subprocess.run(command, cwd=tmp_path, env=more_env, stdout=full, stderr=subprocess.PIPE, timeout=30)
        assert (done.returncode, done.stderr) == (1, b"")


def test_quiet_writes_nothing_that_could_be_lost(site: Site, env: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "haulier", "get", "-q", site.serve("/a.bin")]
    with open("/dev/full", "w") as full:
        assert subprocess.run(command, cwd=tmp_path, env=env, stdout=full, timeout=30).returncode == 0


def test_the_path_of_a_file_is_shown_below_the_folder(run: Haulier, site: Site, tmp_path: Path) -> None:
    url = site.serve("/x/a.txt", b"1")
    named = site.serve("/b.txt", b"2")
    (tmp_path / "list").write_text(f"{named} name=sub/c.txt\n")
    for _ in range(2):
        done = run("get", url, "--dest", "into/{host}/{path}")
        assert f"{url} -> 127.0.0.1/x/a.txt, " in done.stdout
        done = run("get", "-i", "list", "--dest", str(tmp_path / "into"))
        assert f"{named} -> sub/c.txt, " in done.stdout
    assert "already there" in done.stdout


def test_a_trace_that_cannot_be_written_is_a_usage_error(run: Haulier, site: Site, tmp_path: Path) -> None:
    url = site.serve("/a.bin")
    for path, why in (
        ("missing/trace", "its folder does not exist"),
        (str(tmp_path), "is a directory"),
    ):
        for store in ((), ("--store", "q.db")):
            done = run("get", url, "--trace", path, *store)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr == f"haulier get: cannot write {path!r} for --trace: {why}\n"
    assert site.starts == []
    assert run("get", url, "--store", "q.db").returncode == 0, "the store is not locked"


def test_a_trace_that_ends_because_the_disk_is_full_is_said(site: Site, env: dict[str, str], tmp_path: Path) -> None:
    urls = " ".join(site.serve(f"/{number}.txt") for number in range(9))
    command = f'ulimit -f 1; exec "{sys.executable}" -m haulier get {urls} --trace trace'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=env, timeout=30, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "warning: the trace ends here, because its file cannot be written to: file too large\n"
    assert len(list(tmp_path.glob("*.txt"))) == 9


def test_a_trace_on_a_full_disk_is_said(run: Haulier, site: Site) -> None:
    done = run("get", site.serve("/a.bin"), "--trace", "/dev/full")
    assert done.returncode == 1
    assert (
        done.stderr == "warning: the trace ends here, because its file cannot be written to: no space left on device\n"
    )


@pytest.mark.parametrize("proxy", ["ftp://proxy:21", "http://:3128", "socks5://127.0.0.1:1080", "http://proxy:port"])
def test_a_bad_proxy_in_the_environment_is_a_usage_error(proxy: str, run: Haulier, site: Site) -> None:
    done = run("get", site.serve("/a.bin"), http_proxy=proxy, no_proxy="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("haulier get: http_proxy: proxy must be the URL of an HTTP proxy")
    assert site.starts == []


def test_a_bad_proxy_that_is_not_used_does_no_harm(run: Haulier, site: Site) -> None:
    url = site.serve("/a.bin")
    assert run("get", url, https_proxy="nonsense://x").returncode == 0
    assert run("get", url, http_proxy="nonsense://x", no_proxy="127.0.0.1").returncode == 0


def test_names_that_are_markup_or_no_ascii_are_shown_as_they_are(run: Haulier, site: Site, tmp_path: Path) -> None:
    done = run("get", site.serve("/%5Bred%5D%20na%C3%AFve.txt"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert files(tmp_path) == ["[red] naïve.txt"]
    assert "-> [red] na?ve.txt" in done.stdout


def test_names_that_the_file_system_cannot_express_are_escaped_and_said_once(
    run: Haulier, site: Site, tmp_path: Path
) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    urls = [site.serve(f"/%C3%BC{number}.txt", b"x") for number in range(3)]
    for _ in range(2):
        done = run("get", *urls, "--dest", "into", **ascii_only)
        assert done.returncode == 0
        assert files(tmp_path / "into") == [f"%C3%BC{number}.txt" for number in range(3)]
        (said,) = done.stderr.splitlines()
        assert said.startswith("warning: file names are encoded in ascii here; ")
    assert len(site.starts) == 3


def test_a_checksum_is_found_for_a_name_that_is_escaped(run: Haulier, site: Site, tmp_path: Path) -> None:
    (tmp_path / "SUMS").write_text(f"{'0' * 64}  ü.txt\n", encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = run("get", site.serve("/%C3%BC.txt", b"x"), "--checksums", "SUMS", **ascii_only)
    assert done.returncode == 1
    assert "wrong checksum" in done.stderr


@pytest.mark.parametrize("how", [("--min-speed", "100k/0.3"), ("--max-time", "0.3"), ("--config", "policies.toml")])
def test_a_server_that_dribbles_does_not_keep_its_hosts_turn(
    how: tuple[str, str], run: Haulier, site: Site, tmp_path: Path
) -> None:
    def dribble(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Length", "1000000")
        exchange.send_header("ETag", '"x"')
        exchange.end_headers()
        while not site.gate.wait(0.01):
            exchange.wfile.write(b"x")

    (tmp_path / "policies.toml").write_text('["*"]\nmin-speed = "100k/0.3"\n')
    slow, good = site.on("/slow.bin", dribble), site.serve("/good.bin")
    done = run("get", slow, good, "--retries", "1", "--dest", "into", *how)
    assert done.returncode == 1
    assert (tmp_path / "into/good.bin").read_bytes() == b"a file"
    complaint = "took longer than max_time, 0.3 s" if how[0] == "--max-time" else "and min_speed is 100,000 B/s"
    assert complaint in done.stderr
    assert done.stderr.endswith("(2 attempts)\n")


def test_the_least_speed_must_be_possible(run: Haulier, site: Site) -> None:
    done = run("get", site.serve("/a"), "--min-speed", "2k", "--limit-rate", "1k")
    assert done.returncode == 2
    assert "min_speed must not be above limit_rate, 1,000 bytes per second" in done.stderr
    plan = run("get", site.serve("/a"), "--min-speed", "2k/60", "--max-time", "600", "--dry-run")
    assert "at least 2,000 B/s over 60 s, at most 600 s" in plan.stdout


def test_a_persian_name_is_shown_as_it_is(run: Haulier, site: Site, tmp_path: Path) -> None:
    done = run("get", site.serve("/%D9%85%DB%8C%E2%80%8C%D8%B4%D9%88%D8%AF.txt"), "--dest", "into")
    assert files(tmp_path / "into") == ["می\u200cشود.txt"]
    assert "-> می\u200cشود.txt, " in done.stdout
