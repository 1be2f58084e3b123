"""Where files go, and the settings of each host: ``--dest`` as a template, ``--config``, ``--dry-run``."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from haulier._cli.arguments import UsageError
from haulier._cli.get.places import place_of
from haulier._cli.values import byte_count, jitter, speed

if TYPE_CHECKING:
    from tests.cli.conftest import Haulier, Site

URL = "http://example.org/some/dir/a.tar.gz"


# ---- --dest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dest", "folder", "name"),
    [
        ("music", "music", ""),
        ("{{odd}}", "{odd}", ""),
        ("mirror/{host}/{path}", "mirror", "example.org/some/dir/a.tar.gz"),
        ("mirror/{date}-{name}", "mirror", "2026-02-03-a.tar.gz"),
        ("{host}", ".", "example.org/a.tar.gz"),
        ("/abs/{ext}/{name}", "/abs", "gz/a.tar.gz"),
        ("x/{stem}.bak", "x", "a.tar.bak"),
        ("x/../{host}/../{name}", "x/..", "example.org/a.tar.gz"),
    ],
)
def test_a_template_says_where(dest: str, folder: str, name: str) -> None:
    place = place_of(dest)
    assert (place.folder, place.name_of(URL, "a.tar.gz", date(2026, 2, 3))) == (folder, name)


def test_no_url_gets_out_of_the_folder() -> None:
    place = place_of("into/{host}/{path}/{name}")
    for url in ("http://h/../../etc/passwd", "http://h/%2e%2e/%2e%2e/etc/passwd", "http://../../x"):
        name = place.name_of(url, "passwd", date(2026, 2, 3))
        assert not name.startswith("/")
        assert ".." not in name.split("/")


@pytest.mark.parametrize(
    ("dest", "complaint"),
    [
        ("{hots}", "unknown field {hots} in --dest; did you mean {host}?"),
        ("{zzz}", "unknown field {zzz} in --dest; use one of host, path"),
        ("{name:>10}", "invalid field in --dest; write {name} without"),
        ("{name!r}", "invalid field in --dest; write {name} without"),
        ("a{", "invalid template 'a{' for --dest: "),
        ("{}", "unknown field {} in --dest"),
    ],
)
def test_an_invalid_template_says_why(dest: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        place_of(dest)
    assert complaint in str(caught.value)


def test_files_land_where_the_template_says(run: Haulier, site: Site, tmp_path: Path) -> None:
    done = run("get", site.serve("/x/a.txt", b"1"), site.serve("/y/a.txt", b"2"), "--dest", "m/{host}/{path}")
    assert done.returncode == 0
    assert (tmp_path / "m/127.0.0.1/x/a.txt").read_bytes() == b"1"
    assert (tmp_path / "m/127.0.0.1/y/a.txt").read_bytes() == b"2"


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 3, 2), (3, 2, 1, 0)])
@pytest.mark.parametrize("concurrency", ["1", "4"])
def test_a_path_that_is_a_file_and_a_folder_lands_as_both(
    order: tuple[int, ...], concurrency: str, run: Haulier, site: Site, tmp_path: Path
) -> None:
    bodies = {"/docs": b"0", "/docs/index.html": b"1", "/docs/index.html/more.txt": b"2", "/docs/": b"3"}
    urls = [site.serve(path, body) for path, body in bodies.items()]
    found: list[dict[str, bytes]] = []
    for _ in range(2):
        listed = [urls[number] for number in order]
        done = run("get", *listed, "--dest", "m/{host}/{path}", "--concurrency", concurrency)
        assert done.returncode == 0, done.stderr
        files = [path for path in (tmp_path / "m/127.0.0.1").rglob("*") if path.is_file()]
        assert sorted(path.read_bytes() for path in files) == [b"0", b"1", b"2", b"3"]
        found.append({str(path.relative_to(tmp_path)): path.read_bytes() for path in files})
    assert found[0] == found[1]
    assert len(site.starts) == 4, "the second command finds all of them"


def test_a_file_of_an_earlier_command_makes_room_for_a_folder(run: Haulier, site: Site, tmp_path: Path) -> None:
    one, two = site.serve("/docs", b"1"), site.serve("/docs/index.html", b"2")
    for urls in ([one], [two], [two, one]):
        assert run("get", *urls, "--dest", "m/{host}/{path}").returncode == 0
    assert (tmp_path / "m/127.0.0.1/docs").read_bytes() == b"1"
    assert (tmp_path / "m/127.0.0.1/docs (1)/index.html").read_bytes() == b"2"
    assert len(site.starts) == 2


def test_a_numbered_file_without_suffix_is_found_in_a_folder_with_a_dot(
    run: Haulier, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "m/127.0.0.1").mkdir(parents=True)
    (tmp_path / "m/127.0.0.1/README").write_text("somebody's own")
    for _ in range(2):
        assert run("get", site.serve("/README", b"x"), "--dest", "m/{host}").returncode == 0
    assert (tmp_path / "m/127.0.0.1/README (1)").read_bytes() == b"x"
    assert len(site.starts) == 1


def test_a_link_out_of_the_folder_is_not_followed(run: Haulier, site: Site, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "m/127.0.0.1").symlink_to(outside)
    done = run("get", site.serve("/a.txt", b"1"), "--dest", "m/{host}")
    assert done.returncode == 1
    assert "is a link or a file, and no folder" in done.stderr
    assert list(outside.iterdir()) == []


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"), [("4096", 4096), ("500k", 500_000), ("1.5M", 1_500_000), ("64KiB", 65536), ("2G", 2 * 10**9)]
)
def test_bytes_may_have_a_unit(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "0", "1X", "many", "1e9"])
def test_an_invalid_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="byte"):
        byte_count(text)


@pytest.mark.parametrize(
    ("text", "least"),
    [("10k", (10_000, 30.0)), ("500/2.5", (500, 2.5)), ("1MiB/60s", (1 << 20, 60.0)), ("5k/s", (5000, 30.0))],
)
def test_a_least_speed_may_have_a_span(text: str, least: tuple[int, float]) -> None:
    assert speed(text) == least


@pytest.mark.parametrize("text", ["", "/30", "10k/0", "10k/fast", "10k/-1", "fast"])
def test_an_invalid_least_speed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"byte|second"):
        speed(text)


@pytest.mark.parametrize(("text", "factors"), [("0.5-1.5", (0.5, 1.5)), ("0.5", (0.5, 1.5)), ("1-1", (1, 1))])
def test_jitter_is_a_range_or_a_distance(text: str, factors: tuple[float, float]) -> None:
    assert jitter(text) == factors


# ---- --config and --dry-run ------------------------------------------------------------------------------------------

CONFIG = """
["*"]
delay = 1
retries = 5

["*.example.org"]
delay = 2.5
concurrency = 2
limit-rate = "500k"

["slow.example.org"]
delay = 10
"""


def planned(run: Haulier, tmp_path: Path, *args: str, config: str = CONFIG) -> dict[str, dict[str, Any]]:
    (tmp_path / "policies.toml").write_text(config)
    done = run("get", "--dry-run", "--json", "--config", "policies.toml", *args)
    assert (done.returncode, done.stderr) == (0, "")
    return {line["source"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_the_longest_pattern_that_matches_counts_and_an_option_more_than_any(run: Haulier, tmp_path: Path) -> None:
    urls = ("http://a.net/1", "http://b.example.org/2", "http://slow.example.org:8080/3")
    lines = planned(run, tmp_path, *urls)
    settings = {source: line["manners"] for source, line in lines.items()}
    assert [settings["a.net"][key] for key in ("delay", "retries", "concurrency", "limit_rate")] == [1, 5, 1, None]
    assert [settings["b.example.org"][key] for key in ("delay", "retries", "concurrency")] == [2.5, 5, 2]
    assert [settings["slow.example.org:8080"][key] for key in ("delay", "limit_rate")] == [10, 500_000]
    settings = {source: line["manners"] for source, line in planned(run, tmp_path, *urls, "--delay", "7").items()}
    assert {each["delay"] for each in settings.values()} == {7}


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ('["*"]\ndealy = 1', "policies.toml, line 2: unknown setting 'dealy'; did you mean 'delay'?"),
        ('["a"]\ndelay = 1\n["b"]\nfoo = 1', "policies.toml, line 4: unknown setting 'foo'; use one of concurrency"),
        ('["*"]\n\ndelay = -1', "policies.toml, line 3: delay: must be between 0 and 1,000,000,000 seconds, not -1"),
        ('["*"]\ndelay = true', "policies.toml, line 2: delay must be a number or a string"),
        ("delay = 1", "policies.toml, line 1: 'delay' is outside a table"),
        ("[", "policies.toml is not valid TOML"),
        ("[example.org]\ndelay = 1", 'policies.toml, line 1: write ["example.org"] with quotation marks'),
        ('["*"]\ndelay = 1\n[ www.example.org ]  # a\ndelay = 1', 'line 3: write ["www.example.org"] with quotation'),
        ("[example]\norg.delay = 1", 'policies.toml, line 1: write ["example.org"] with quotation marks'),
        ("[*.example.org]\ndelay = 1", '; write ["*.example.org"] with quotation marks'),
        ("[127.0.0.1:8080]\ndelay = 1", '; write ["127.0.0.1:8080"] with quotation marks'),
        ('["*"]\ndelay = {a = 1}', "policies.toml, line 2: delay must be a number or a string"),
        ('["*"]\ndelay = 1 s', "(at line 2, column 11)\n"),
    ],
)
def test_a_mistake_in_the_configuration_is_named_with_its_line(
    config: str, complaint: str, run: Haulier, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "policies.toml").write_text(config)
    done = run("get", site.serve("/a"), "--config", "policies.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert site.starts == []


def test_a_dry_run_says_what_would_go_where_and_touches_nothing(run: Haulier, site: Site, tmp_path: Path) -> None:
    url = site.serve("/a.txt")
    done = run("get", url, "--dest", "new/{host}", "--dry-run", "--delay", "3")
    assert (done.returncode, done.stderr) == (0, "")
    place = f"127.0.0.1:{site.port}"
    assert done.stdout.splitlines() == [
        f"{url} -> new/127.0.0.1/a.txt",
        f"{place}: 1 planned; 1 at once, 3 s delay, 3 retries",
    ]
    assert not (tmp_path / "new").exists()
    assert site.starts == []
