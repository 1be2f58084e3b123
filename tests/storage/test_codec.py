"""What comes back is exactly what was stored, or it is refused by name."""

from __future__ import annotations

import datetime
import enum
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulier import StoreUnavailable
from haulier._engine.storage.codec import DEEPEST, decode, encode, escape, unescape

atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def alike(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down: 1 is not True and not 1.0, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(alike, one.values(), other.values()))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float):
        return math.copysign(1.0, one) == math.copysign(1.0, other) and bool(one == other)
    return bool(one == other)


@given(values)
def test_what_is_stored_comes_back(value: Any) -> None:
    text = encode("record", value)
    assert alike(decode(text), value)
    assert text.isascii()


@given(st.text(st.characters()) | st.text("\ud83d\ude00a"))
def test_half_a_surrogate_pair_comes_back_and_a_split_one_is_refused(text: str) -> None:
    halves = [(0xD800 <= ord(one) <= 0xDBFF, 0xDC00 <= ord(one) <= 0xDFFF) for one in text]
    split = any(one[0] and next_one[1] for one, next_one in pairwise(halves))
    for value in (text, [text], {text: text}):
        if split:
            with pytest.raises(TypeError, match="surrogate pair"):
                encode("record", value)
        else:
            assert alike(decode(encode("record", value)), value)


@given(st.text(st.characters()) | st.text("\0\x1a0\ud800\udfffa"))
def test_any_name_is_made_fit_and_comes_back(text: str) -> None:
    fit = escape(text)
    assert unescape(fit) == text
    assert "\0" not in fit
    fit.encode()  # no surrogate


def test_ordinary_names_are_as_they_were() -> None:
    for name in ("tidal", "deezer_dl", "", "Ünï 🎵", "C:\\x", "a\nb"):
        assert escape(name) == name


class Word(str):
    __slots__ = ()


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"jpeg", r"\['cover'\]: cannot be stored: bytes; pass a str, such as base64 text, or the path of a file"),
        (bytearray(b""), r"\['cover'\]: cannot be stored: bytearray; pass a str"),
        ((1, 2), r"\['cover'\]: cannot be stored: tuple; pass a list"),
        ({1}, r"\['cover'\]: cannot be stored: set; pass a list"),
        (math.nan, r"\['cover'\]: cannot be stored: nan; pass None"),
        (-math.inf, r"\['cover'\]: cannot be stored: -inf; pass None"),
        (Path("x"), r"\['cover'\]: cannot be stored: pathlib\.[\w.]+; pass str\(path\)"),
        (datetime.datetime(2024, 1, 1), r"\['cover'\]: cannot be stored: datetime\.datetime; pass its isoformat\(\)"),
        (Word("a"), r"\['cover'\]: cannot be stored: .*\.Word; pass a plain str"),
        (Colour.RED, r"\['cover'\]: cannot be stored: .*\.Colour; pass a plain int"),
        (object(), r"\['cover'\]: cannot be stored: object; pass a str, int, float"),
        ({"a": [None, {"b": b""}]}, r"\['cover'\]\['a'\]\[1\]\['b'\]: cannot be stored: bytes"),
        ({1: "a"}, r"\['cover'\]: cannot be stored: the key 1 \(int\); pass a str"),
        ({None: "a"}, r"\['cover'\]: cannot be stored: the key None \(NoneType\); pass a str"),
        ({True: "a"}, r"\['cover'\]: cannot be stored: the key True \(bool\); pass a str"),
        ({Word("a"): 1}, r"\['cover'\]: cannot be stored: the key 'a' \(.*Word\); pass a str"),
        (["\ud83d\ude00"], r"\['cover'\]\[0\]: cannot be stored: a surrogate pair as two characters"),
        ({"\ud83d\ude00": 1}, r"\['cover'\]\[.*\]: cannot be stored: a surrogate pair as two characters"),
    ],
)
def test_what_would_not_come_back_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=r"^extra_record_fields" + message):
        encode("extra_record_fields", {"title": "x", "cover": value})


def test_a_value_alone_is_named_as_well() -> None:
    with pytest.raises(TypeError, match=r"^target_id: cannot be stored: bytes"):
        encode("target_id", b"")


def test_an_int_that_python_does_not_write_out_is_refused() -> None:
    longest = sys.get_int_max_str_digits()
    assert decode(encode("record", 10 ** (longest - 1))) == 10 ** (longest - 1)
    with pytest.raises(TypeError, match=r"^record: cannot be stored: .*pass such an int as a str"):
        encode("record", {"a": 10**longest})


def test_what_is_nested_too_deeply_or_within_itself_is_refused() -> None:
    deep: Any = 0
    for _ in range(DEEPEST):
        deep = [deep]
    assert decode(encode("record", deep)) == deep
    with pytest.raises(TypeError, match="within one another"):
        encode("record", [deep])
    ring: dict[str, Any] = {}
    ring["a"] = [ring, ring]
    with pytest.raises(TypeError, match=r"^record\['a'\]\[0\]: cannot be stored: .*within one another"):
        encode("record", ring)
    twice = [1]
    assert decode(encode("record", [twice, twice])) == [[1], [1]]


@pytest.mark.parametrize("text", ["", "{", "nope", "[1,]", "\0", "[" * 100_000])
def test_what_is_no_json_says_that_the_database_is_damaged(text: str) -> None:
    with pytest.raises(StoreUnavailable, match="damaged"):
        decode(text)
