"""Run the same command again: it skips files that exist and resumes partial ones. Also ``--json`` and ``--explain``."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Exchange, Haulier, Site, Start

BODY = bytes(range(256)) * 4000


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_here_already_is_not_asked_for(run: Haulier, site: Site, tmp_path: Path) -> None:
    url = site.serve("/a.txt", b"1")
    run("get", url, "--dest", "into")
    done = run("get", url, "--dest", "into")
    assert done.returncode == 0
    assert f"here    {url} -> a.txt, already there" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1].startswith("1 download: 1 done (1 already there); 0 B in ")
    assert len(site.starts) == 1


def test_a_file_of_somebody_else_keeps_its_name(run: Haulier, site: Site, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into/a.txt").write_bytes(b"precious")
    for overwrite, body in (("never", b"1"), ("changed", b"22")):
        assert run("get", site.serve("/a.txt", body), "--dest", "into", "--overwrite", overwrite).returncode == 0
        assert files(tmp_path / "into") == {"a.txt": b"precious", "a (1).txt": body}


def test_overwrite_always_replaces_it(run: Haulier, site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")
    assert run("get", site.serve("/a.txt", b"new"), "--dest", ".", "--overwrite", "always").returncode == 0
    assert (tmp_path / "a.txt").read_bytes() == b"new"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_partial_file_is_resumed(
    signum: signal.Signals, run: Haulier, start: Start, site: Site, tmp_path: Path
) -> None:
    asked: list[tuple[str | None, str | None]] = []
    half = len(BODY) // 2

    def route(exchange: Exchange) -> None:
        asked.append((exchange.headers.get("Range"), exchange.headers.get("If-Range")))
        if len(asked) == 1:
            exchange.head(200, len(BODY), ETag='"v1"')
            exchange.wfile.write(BODY[:half])
            exchange.wfile.flush()
            site.gate.wait(20)
            return
        first = int((asked[-1][0] or "bytes=0-")[6:-1])
        exchange.leave()
        exchange.head(206, len(BODY) - first, ETag='"v1"', Content_Range=f"bytes {first}-{len(BODY) - 1}/{len(BODY)}")
        exchange.wfile.write(BODY[first:])

    url = site.on("/a.bin", route)
    process = start("get", url, "--dest", "into")
    part = tmp_path / "into/a.bin.part"
    while not part.exists() or part.stat().st_size == 0:
        assert process.poll() is None
    process.send_signal(signum)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == (-9 if signum == signal.SIGKILL else 128 + signum), out
    site.gate.set()
    begun = part.stat().st_size
    assert sorted(files(tmp_path / "into")) == ["a.bin.part", "a.bin.part.json"]
    assert run("get", url, "--dest", "into").returncode == 0
    assert files(tmp_path / "into") == {"a.bin": BODY}
    assert asked[1] == (f"bytes={begun}-", '"v1"')


def test_each_event_is_one_json_line_without_secrets(run: Haulier, site: Site) -> None:
    good = site.serve("/a.txt", b"12345").replace("://", "://joe:hunter2@") + "?token=geheim"
    site.routes["/a.txt?token=geheim"] = site.routes["/a.txt"]
    done = run("get", good, site.url("/none.txt"), "--json", "--dest", "into")
    assert done.returncode == 1
    assert not any(secret in done.stdout for secret in ("joe", "hunter2", "geheim"))
    lines = events(done.stdout)
    by_url: dict[str, list[str]] = {}
    for line in lines[:-1]:
        by_url.setdefault(line["url"].rpartition("/")[2], []).append(line["event"])
    assert by_url == {"a.txt?token=***": ["queued", "started", "done"], "none.txt": ["queued", "started", "failed"]}
    saved = next(line for line in lines if line["event"] == "done")
    assert (Path(saved["path"]).name, saved["bytes"], saved["already_there"]) == ("a.txt", 5, False)
    failed = next(line for line in lines if line["event"] == "failed")
    assert (failed["error"], failed["error_type"], failed["attempt"]) == ("404 Not Found", "PermanentError", 1)
    summary = lines[-1]
    assert [summary[key] for key in ("event", "total", "done", "failed", "unfinished", "bytes")] == [
        "summary", 2, 1, 1, 0, 5,
    ]  # fmt: skip


def test_progress_and_pauses_are_json_lines_too(start: Start, site: Site) -> None:
    asked: list[float] = []

    def throttled_once(exchange: Exchange) -> None:
        exchange.leave()
        if asked:
            exchange.head(200, 0)
        else:
            asked.append(0.0)
            exchange.head(429, 0, Retry_After="1")

    busy, slow = site.on("/busy", throttled_once), site.hold("/slow", b"12345678" * 100)
    process = start("get", "--json", busy, slow.replace("127.0.0.1", "localhost"))
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline())]
    while lines[-1]["event"] != "progress":
        lines.append(json.loads(process.stdout.readline()))
    site.gate.set()
    assert (lines[-1]["bytes"], lines[-1]["size"]) == (400, 800)
    assert {line["id"]: line["url"] for line in lines if line["event"] == "started"}[lines[-1]["id"]].endswith("/slow")
    (waits,) = (line for line in lines if line["event"] == "waits")
    assert waits["next_attempt_at"] - waits["at"] == pytest.approx(1.0, abs=0.2)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_explain_says_what_a_host_waits_for(run: Haulier, site: Site) -> None:
    done = run("get", site.serve("/a"), site.serve("/b"), "--delay", "0.8", "--explain", "--dest", "into")
    assert done.returncode == 0
    why = [line for line in done.stdout.splitlines() if line.startswith("why ")]
    assert any("delay" in line and line.endswith("; 1 queued") for line in why), done.stdout


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        (("--timeout", "1e18"), "between 0 and 1,000,000,000 seconds, not 1e18"),
        (("--limit-rate", "fast"), "invalid number of bytes 'fast'"),
        (("--jitter", "2-1"), "the lower factor, then the higher"),
        (("--header", "geheim"), "write it as 'Name: value'"),
        (("--header", "Range: bytes=0-"), "headers must not have 'Range'"),
        (("--proxy", "ftp://joe:hunter2@h"), "proxy must be the URL of an HTTP proxy"),
        (("--cookies", "missing.txt"), "cannot open 'missing.txt'"),
        (("--overwrite", "sometimes"), "invalid choice: 'sometimes'"),
        (("--checksums", "missing.txt"), "cannot read missing.txt"),
        (("--config", "missing.toml"), "cannot read missing.toml"),
    ],
)
def test_a_wrong_option_is_told_before_anything_starts(
    option: tuple[str, str], complaint: str, run: Haulier, site: Site
) -> None:
    done = run("get", site.serve("/a"), *option)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert not any(secret in done.stderr for secret in ("geheim", "hunter2"))
    assert site.starts == []
