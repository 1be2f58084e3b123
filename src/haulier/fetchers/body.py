"""The body of an answer: its declared length, and how to undo a content coding that was not asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from haulier.errors import PermanentError
from haulier.fetchers.faults import FetchError

__all__ = ["Decoder", "Gunzip", "Plain", "declared_size", "decoder_for"]

_GZIP_NAMES: Final = (".gz", ".tgz", ".gzip", ".svgz")
_SLICE_BYTES: Final = 4096
"""Bytes of compressed data to decode at once. gzip expands up to 1,032 times, so this takes at most 4 MiB of memory."""


class Decoder(Protocol):
    """Turns the bytes of the body into the bytes of the file."""

    keeps_bytes: bool
    """Whether the file has the same bytes as the body. Only then can it be resumed by a range."""

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Yield the bytes of the file that ``raw`` adds."""

    def finish(self) -> None:
        """Raise ``FetchError`` if the body cannot end here."""


class Plain:
    """Leaves the body as it is."""

    keeps_bytes = True

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Yield ``raw`` unchanged."""
        yield raw

    def finish(self) -> None:
        """Accept the end of a body wherever it comes: ``delivery`` checks the length."""


class Gunzip:
    """Decodes gzip, with one member or several, and checks that the last one is complete."""

    keeps_bytes = False

    def __init__(self) -> None:
        self._member = self._new_member()

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Yield the decompressed bytes piece by piece."""
        for start in range(0, len(raw), _SLICE_BYTES):
            rest = raw[start : start + _SLICE_BYTES]
            while rest:
                if self._member.eof:
                    self._member = self._new_member()
                yield self._decompress(rest)
                rest = self._member.unused_data

    def finish(self) -> None:
        """Raise ``FetchError`` unless the last member was complete."""
        if not self._member.eof:
            raise FetchError("the compressed data is incomplete")

    def _decompress(self, piece: bytes) -> bytes:
        try:
            return self._member.decompress(piece)
        except zlib.error:
            pass
        raise FetchError("the compressed data is damaged")

    @staticmethod
    def _new_member() -> zlib._Decompress:
        return zlib.decompressobj(16 + zlib.MAX_WBITS)


def declared_size(headers: Mapping[str, str]) -> int | None:
    """How many bytes the body must have; None where nothing is declared (chunked, or until the connection ends).

    Raises ``FetchError`` for a declaration that contradicts itself, ``PermanentError`` for a coding of the transfer
    that was not asked for.
    """
    coding = headers.get("Transfer-Encoding", "identity").strip().lower()
    if coding == "chunked":
        return None
    if coding != "identity":
        raise PermanentError(f"the server sends it with Transfer-Encoding {coding[:40]!r}, which was not asked for")
    values = {value.strip() for value in headers.get("Content-Length", "").split(",")}
    if values == {""}:
        return None
    value = values.pop()
    if values or not (value.isascii() and value.isdigit() and len(value) < 20):
        raise FetchError("the server's Content-Length is not a number of bytes")
    return int(value)


def decoder_for(headers: Mapping[str, str], name: str) -> Decoder:
    """What to do with the body of a file called ``name``, by its ``Content-Encoding``.

    'identity' is asked for. A server that sends gzip all the same is decoded, because what it calls the file is the
    decoded one; but a file that is itself called ``….gz`` is kept as it is: there such a header is a common mistake of
    servers, and to decode it would leave a name that lies. Raises ``PermanentError`` for any other coding.
    """
    coding = headers.get("Content-Encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return Plain()
    if coding in ("gzip", "x-gzip"):
        return Plain() if name.lower().endswith(_GZIP_NAMES) else Gunzip()
    raise PermanentError(f"the server sends it with Content-Encoding {coding[:40]!r}, which was not asked for")
