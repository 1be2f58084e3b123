"""How long a body should be, and gzip that nobody asked for."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulier.errors import PermanentError
from haulier.fetchers.body import Gunzip, Plain, declared_size, decoder_for
from haulier.fetchers.faults import FetchError


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({}, None),
        ({"Content-Length": "0"}, 0),
        ({"Content-Length": " 4096 "}, 4096),
        ({"Content-Length": "5, 5"}, 5),
        ({"Content-Length": "5", "Transfer-Encoding": "Chunked"}, None),
    ],
)
def test_declared_sizes(headers: dict[str, str], size: int | None) -> None:
    assert declared_size(headers) == size


@pytest.mark.parametrize("value", ["-1", "5, 6", "five", "5,", "0x10", "1_0", "٣", "9" * 30, "+5"])
def test_sizes_that_cannot_be(value: str) -> None:
    with pytest.raises(FetchError, match="Content-Length"):
        declared_size({"Content-Length": value})


def test_a_transfer_coding_that_was_not_asked_for() -> None:
    with pytest.raises(PermanentError, match="gzip, chunked"):
        declared_size({"Transfer-Encoding": "gzip, chunked"})


def unpacked(packed: bytes, step: int) -> bytes:
    decoder = Gunzip()
    pieces = [piece for start in range(0, len(packed), step) for piece in decoder.feed(packed[start : start + step])]
    decoder.finish()
    return b"".join(pieces)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=3), st.integers(1, 500))
def test_gzip_in_any_pieces_and_several_members(members: list[bytes], step: int) -> None:
    assert unpacked(b"".join(map(gzip.compress, members)), step) == b"".join(members)


@settings(deadline=None)
@given(st.binary(max_size=500), st.data())
def test_gzip_that_is_cut_is_never_complete(content: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(content)
    with pytest.raises(FetchError):
        unpacked(packed[: data.draw(st.integers(0, len(packed) - 1))], 64)


def test_gzip_that_is_damaged() -> None:
    packed = bytearray(gzip.compress(bytes(1000)))
    packed[-6] ^= 1
    with pytest.raises(FetchError, match="damaged"):
        unpacked(bytes(packed), 64)


def test_a_bomb_goes_off_piece_by_piece() -> None:
    packed = gzip.compress(bytes(50_000_000))
    decoder = Gunzip()
    assert max(len(piece) for piece in decoder.feed(packed)) < 5_000_000


@pytest.mark.parametrize(
    ("coding", "name", "kind"),
    [
        ("", "a.txt", Plain),
        ("identity", "a.txt", Plain),
        ("GZIP", "a.txt", Gunzip),
        ("x-gzip", "a.tar", Gunzip),
        ("gzip", "a.TGZ", Plain),
        ("gzip", "a.gz", Plain),
    ],
)
def test_who_decodes(coding: str, name: str, kind: type) -> None:
    assert type(decoder_for({"Content-Encoding": coding}, name)) is kind


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_what_cannot_be_decoded_is_refused(coding: str) -> None:
    with pytest.raises(PermanentError, match="Content-Encoding"):
        decoder_for({"Content-Encoding": coding}, "a.txt")
