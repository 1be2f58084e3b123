"""File names out of hostile hands."""

from __future__ import annotations

import itertools
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from haulier.fetchers import filenames
from haulier.fetchers.filenames import (
    MAX_NAME_BYTES,
    PART_SUFFIX,
    last_component,
    numbered,
    safe_filename,
    safe_path,
)

if TYPE_CHECKING:
    from tests.fetchers.conftest import Fetch, Site

DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³")}

nasty = st.one_of(
    st.text(st.characters()),
    st.text(st.sampled_from('/\\.:*?"<>| \x00\n\u202e\u200f\u200c\u200d\ufeff\ud800aA1é漢\u0301')),
    st.builds("".join, st.lists(st.sampled_from(["..", "/", "con", "NUL", ".", " ", ".part", ".tar", ".gz", "x"]))),
    st.builds(lambda text, times, ending: text * times + ending, st.text(max_size=3), st.integers(0, 300), st.text()),
)


def assert_safe(name: str) -> None:
    assert len(name.encode()) + len(PART_SUFFIX) <= 255
    assert name not in ("", ".", "..")
    assert not set(name) & set('<>:"/\\|?*\x00')
    visible = name.replace("\u200c", "").replace("\u200d", "")
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in visible)
    assert visible.strip()
    assert not {"\u200c\u200c", "\u200d\u200d"} & {name[at : at + 2] for at in range(len(name))}
    assert name[0] not in ". "
    assert name[-1] not in ". "
    assert name.split(".")[0].strip().lower() not in DEVICES
    assert not name.lower().endswith(PART_SUFFIX)
    assert unicodedata.normalize("NFC", name) == name


@settings(deadline=None)
@given(nasty)
@example("x" * 245 + ".part" + "y" * 40)
@example("con" + " " * 400 + ".txt")
@example("e\u200b\u0301")
def test_every_name_is_safe_or_nothing(name: str) -> None:
    safe = safe_filename(name)
    if safe:
        assert_safe(safe)
        assert Path("/dest", safe).parent == Path("/dest")
    assert safe_filename(safe) == safe


@settings(deadline=None)
@given(nasty, st.integers(0, 10_000))
def test_every_numbered_name_is_safe_and_different(name: str, number: int) -> None:
    safe = safe_filename(name)
    if safe:
        assert_safe(numbered(safe, number))
        assert numbered(safe, number) != numbered(safe, number + 1)


@settings(deadline=None)
@given(st.text(st.sampled_from("aé漢😀"), min_size=1), st.integers(1, 200))
def test_a_long_name_keeps_its_extension_and_its_characters_whole(text: str, times: int) -> None:
    safe = safe_filename("a" + text * times + "z.flac")
    assert safe.endswith(".flac")
    assert len(safe.encode()) > MAX_NAME_BYTES - 8 or safe == "a" + text * times + "z.flac"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("  two   words .txt  ", "two words .txt"),
        ("AC/DC: T.N.T.?.mp3", "AC_DC_ T.N.T._.mp3"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", ""),
        (" . . ", ""),
        ("\x00\u202e", ""),
        (".bashrc", "bashrc"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("safe.exe\x00.txt", "safe.exe.txt"),
        ("a\r\nb\tc", "a b c"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Lpt1 .tar.gz", "_Lpt1 .tar.gz"),
        ("COM¹", "_COM¹"),
        ("console.txt", "console.txt"),
        ("trailing. . .", "trailing"),
        ("cafe\u0301.txt", "café.txt"),
        ("disk1.PART", "disk1_part"),
        ("\ud800x", "x"),
        ("می\u200cشود.txt", "می\u200cشود.txt"),
        ("👨\u200d👩\u200d👧.txt", "👨\u200d👩\u200d👧.txt"),
        ("❤\ufe0f\u200d🔥.png", "❤\ufe0f\u200d🔥.png"),
        ("क\u094d\u200d.txt", "क\u094d\u200d.txt"),
        ("می\u200c\u200c\u200dشود", "می\u200cشود"),
        ("paypal\u200c.txt", "paypal.txt"),
        ("\u200d漢\u200d \u200d.txt", "漢\u200d .txt"),
        ("\u200c", ""),
    ],
)
def test_examples(name: str, safe: str) -> None:
    assert safe_filename(name) == safe


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("a.txt", "a (1).txt"),
        ("a.tar.gz", "a (1).tar.gz"),
        ("README", "README (1)"),
        ("Vol. 2 of the collected letters", "Vol. 2 of the collected letters (1)"),
        ("漢" * 82 + ".txt", "漢" * 79 + " (1).txt"),
    ],
)
def test_the_number_goes_before_the_extension(name: str, first: str) -> None:
    assert numbered(name, 0) == name
    assert numbered(name, 1) == first


@pytest.mark.parametrize(("path", "last"), [("a/b", "b"), ("a\\b", "b"), ("a/", ""), ("a", "a"), ("C:\\x\\y/z", "z")])
def test_only_the_last_component_counts(path: str, last: str) -> None:
    assert last_component(path) == last


# ---- a file system that cannot express every name ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "name", "safe"),
    [
        ("ascii", "plain.txt", "plain.txt"),
        ("ascii", "ü.txt", "%C3%BC.txt"),
        ("ascii", "a\u0308.txt", "%C3%A4.txt"),
        ("iso-8859-1", "ü漢.txt", "ü%E6%BC%A2.txt"),
        ("koi8-r", "мир ü.txt", "мир %C3%BC.txt"),
        ("utf-8", "ü漢.txt", "ü漢.txt"),
    ],
)
def test_other_characters_are_escaped(encoding: str, name: str, safe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    assert safe_filename(name) == safe
    assert safe_filename(safe) == safe


def test_an_escaped_name_is_not_too_long_and_keeps_its_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    safe = safe_filename("漢" * 100 + ".tar.gz")
    assert_safe(safe)
    assert safe.isascii()
    assert safe.endswith(".tar.gz")
    assert safe_filename(safe) == safe


def test_the_log_says_once_that_names_are_escaped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    monkeypatch.setattr(filenames, "_times_said", itertools.count())
    assert safe_path("ü/ö", quiet=True) == "%C3%BC/%C3%B6"
    assert caplog.messages == []
    assert safe_path("ü/ö") == "%C3%BC/%C3%B6"
    safe_filename("ä")
    assert len(caplog.messages) == 1
    assert "encoded in ascii here" in caplog.messages[0]


# ---- who names a download --------------------------------------------------------------------------------------------


def test_the_dispatch_names_it_then_the_server_then_the_url_then_nobody(site: Site, fetch: Fetch) -> None:
    said = site.serve("/url.bin", b"x", Content_Disposition='attachment; filename="server.bin"')
    assert fetch(said, "mine.bin").name == "mine.bin"
    assert fetch(said).name == "server.bin"
    assert fetch(site.serve("/url.bin", b"x")).name == "url.bin"
    assert fetch(site.serve("/folder/", b"x")).name == "download"
    assert fetch(site.serve("/", b"x")).name == "download (1)"


@pytest.mark.parametrize("name", ["...", "\x00", "/", " "])
def test_a_name_of_which_nothing_is_left_makes_way_for_the_next(name: str, site: Site, fetch: Fetch) -> None:
    header = "attachment; filename*=UTF-8''" + "".join(f"%{byte:02X}" for byte in name.encode())
    assert fetch(site.serve("/url.bin", b"x", Content_Disposition=header), "..").name == "url.bin"


@pytest.mark.parametrize(
    "name", ["../../up", "..\\..\\up", "/etc/passwd", "C:\\up", "x/../../up", "..%2F..%2Fup", "a\x00/../b", "漢" * 500]
)
def test_wherever_a_name_comes_from_the_file_is_in_its_folder(name: str, site: Site, fetch: Fetch, dest: Path) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    site.serve(f"/{quoted}", b"x")
    header = f"attachment; filename*=UTF-8''{quoted}"
    paths = [
        fetch(site.serve("/1", b"x"), name),
        fetch(site.serve("/2", b"x", Content_Disposition=header)),
        fetch(site.url(f"/{quoted}")),
    ]
    for path in paths:
        assert path.parent == dest
        assert_safe(path.name)
    assert sorted(dest.iterdir()) == sorted(paths)
    assert [path.name for path in dest.parent.iterdir()] == [dest.name]
