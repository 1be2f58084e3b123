"""Wrong usage: a clear error and exit status 2, before anything is downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from haulier._cli import main

if TYPE_CHECKING:
    from tests.cli.conftest import Haulier, Site


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ([], "no URL"),
        (["-i", "empty.txt"], "no URL"),
        (["-"], "no URL"),
        (["not-a-url"], "'not-a-url': only http and https"),
        (["ftp://example.org/a"], "only http and https"),
        (["example.org/a.iso"], "'example.org/a.iso': only http and https; did you mean https://example.org/a.iso?\n"),
        (["example.org:8080"], "; did you mean https://example.org:8080?\n"),
        (["localhost/a?b=geheim"], "; did you mean https://localhost/a?b=***?\n"),
        (["joe:geheim@example.org/a"], "; did you mean https://example.org/a?\n"),
        (["192.0.2.1/a"], "; did you mean https://192.0.2.1/a?\n"),
        (["notes/a.iso"], "unsupported URL 'notes/a.iso': only http and https\n"),
        (["bad.txt"], "; to read URLs from that file, write -i bad.txt\n"),
        (["<https://example.org/a>"], "remove the < before the URL and the > after it\n"),
        (["'https://example.org/a"], "remove the ' before the URL\n"),
        (["http://"], "malformed URL"),
        (["http://example.org:99999/a"], "malformed URL"),
        (["-i", "missing.txt"], "cannot read missing.txt: no such file"),
        (["-i", "."], "cannot read .: is a directory"),
        (["-i", "binary.txt"], "cannot read binary.txt: it is not text"),
        (["-i", "bad.txt"], "bad.txt, line 3: unsupported URL"),
        (["--concurrency", "0"], "must be at least 1, not 0"),
        (["--concurrency", "two"], "invalid number 'two'"),
        (["--retries", "-1"], "must be at least 0, not -1"),
        (["--delay", "-0.5"], "must be between 0 and 1,000,000,000 seconds, not -0.5"),
        (["--delay", "nan"], "seconds, not nan"),
        (["--delay", "soon"], "invalid number of seconds 'soon'"),
        (["--timeout", "0"], "must be above 0 seconds"),
        (["--timeout", "inf"], "not inf"),
        (["--dest", "empty.txt"], "cannot use 'empty.txt' as --dest"),
        (["--no-such-option"], "unknown option --no-such-option; see haulier get --help"),
        (["--concurency", "2"], "unknown option --concurency; did you mean --concurrency?"),
        (["--concurency=2"], "haulier get: unknown option --concurency; did you mean --concurrency?\n"),
        (["-q", "-v"], "not allowed with"),
        (["--overwrite", "maybe"], "haulier get: argument --overwrite: invalid choice: 'maybe'"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told_before_anything_starts(
    args: list[str],
    complaint: str,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("# nothing\n\n")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    Path("bad.txt").write_text(f"# one good, one bad\n{site.serve('/a')}\nnonsense\n")
    needs_no_url = args[:1] in ([], ["-i"], ["-"]) or not args[0].startswith("-")
    with open(os.devnull) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert status(["get", *args, *([] if needs_no_url else [site.serve("/a")])]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert complaint in err
    assert len(err.splitlines()) == 1, "without a page of usage"
    assert "geheim" not in err
    assert site.starts == []


def test_an_unknown_option_of_another_command_is_explained_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    for args, complaint in (
        (["demo", "--secnods", "1"], "haulier demo: unknown option --secnods; did you mean --seconds?\n"),
        (["bench", "--downlaods=1"], "haulier bench: unknown option --downlaods; did you mean --downloads?\n"),
        (["verify", "a", "b"], "haulier verify: unexpected argument 'b'; see haulier verify --help\n"),
    ):
        assert status(args) == 2
        assert capfd.readouterr() == ("", complaint)


def status(args: list[str]) -> int:
    try:
        return main(args)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def test_every_bad_url_is_named_and_the_good_one_is_not_fetched(run: Haulier, site: Site) -> None:
    done = run("get", "one", site.serve("/a"), "-", stdin="two\n")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "haulier get: nothing was downloaded:",
        "  unsupported URL 'one': only http and https",
        "  standard input, line 1: unsupported URL 'two': only http and https",
    ]
    assert site.starts == []


@pytest.mark.parametrize(
    "args",
    [
        ["http://joe:hunter2@example.org/"],
        ["get", "--bogus=http://joe:hunter2@example.org/?token=geheim"],
        ["get", "--delay", "http://joe:hunter2@example.org/?token=geheim"],
        ["get", "ftp://joe:hunter2@example.org/?token=geheim"],
        ["get", "http://joe:hunter2@[example.org/?token=geheim"],
        ["demo", "http://joe:hunter2@example.org/"],
    ],
)
def test_no_complaint_shows_a_secret(args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert status(args) == 2
    out, err = capfd.readouterr()
    assert err
    for secret in ("joe", "hunter2", "geheim"):
        assert secret not in out + err


def test_help_shows_an_example_and_what_the_status_means(capfd: pytest.CaptureFixture[str]) -> None:
    assert status(["get", "--help"]) == 0
    out, _ = capfd.readouterr()
    assert out.startswith("usage: haulier get")
    assert "haulier get --dest music --delay 3 -i urls.txt" in out
    assert "exit status:" in out


def test_version_and_a_missing_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert status(["--version"]) == status(["get", "--version"]) == 0
    assert status([]) == 2
    out, err = capfd.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["haulier", "haulier"]
    assert err.startswith("usage: haulier ")


@pytest.mark.parametrize("missing", ["rich", "urllib3"])
def test_without_the_extra_it_says_what_to_install(missing: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from haulier._cli import main; sys.exit(main(['demo']))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=env, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"haulier: {missing} not installed; run: pip install 'haulier[cli]'\n"


def test_more_hosts_than_anybody_has(run: Haulier, site: Site) -> None:
    assert run("get", "--hosts", "9" * 30, site.serve("/a.txt")).returncode == 0


def test_a_result_that_nobody_can_read_is_no_success(env: dict[str, str]) -> None:
    for args in (["completion", "bash"], ["get", "--dry-run", "http://127.0.0.1/a"]):
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-m", "haulier", *args]
            assert subprocess.run(command, stdout=full, env=env, timeout=30, check=False).returncode == 1
