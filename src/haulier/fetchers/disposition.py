"""The file name in a ``Content-Disposition`` header, read as browsers and curl read it."""

from __future__ import annotations

import codecs
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from haulier.fetchers.filenames import last_component

__all__ = ["disposition_filename"]

_PARAMETER = re.compile(r"\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*", re.ASCII)
_QUOTED = re.compile(r"""(?s:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?=;|$)""")
_NEXT_PARAMETER = re.compile(r";\s*[\w!#$%&'*+.^`|~-]+\s*=", re.ASCII)
_SECTION = re.compile(r"filename\*(0|[1-9][0-9]{0,2})(\*?)")
_ENCODED_WORDS = re.compile(r"=\?[^?\s*][^?\s]{0,60}\?[BbQq]\?[^?]*\?=(?:\s*=\?[^?\s*][^?\s]{0,60}\?[BbQq]\?[^?]*\?=)*")
_ENCODED_WORD = re.compile(r"=\?([^?\s*]+)(?:\*[^?\s]*)?\?([BbQq])\?([^?]*)\?=")
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_LONGEST_CHARSET: Final = 40

_NO_CHARSETS: Final = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
)
"""Codecs of Python that decode text, but that no server means."""


def disposition_filename(header: str) -> str:
    """Return the file name that ``header`` gives, '' if it gives none. The name is not made safe.

    ``header`` is decoded as Latin-1, as HTTP libraries do. Of several forms the first that can be read counts:

    - ``filename*=UTF-8''na%C3%AFve.txt`` (RFC 8187), in any charset that Python knows;
    - ``filename*0="na"; filename*1="me.txt"`` (RFC 2231);
    - ``filename="name.txt"``, which may contain encoded words (RFC 2047), percent-escapes, raw UTF-8 or Latin-1.
    """
    parameters: dict[str, str] = {}
    for key, value in _parameters(header):
        parameters.setdefault(key, value)
    names = (_extended(parameters.get("filename*", "")), _joined(parameters), _plain(parameters.get("filename", "")))
    return next(filter(None, map(last_component, names)), "")


def _parameters(header: str) -> Iterator[tuple[str, str]]:
    """Yield each parameter: its name in lower case, and its value without quotes."""
    at = 0
    while at < len(header):
        found = _PARAMETER.match(header, at)
        if found is None:
            at = (header.find(";", at) + 1) or len(header)  # the type, such as 'attachment'
            continue
        value, at = _value(header, found.end())
        yield found[1].lower(), value


def _value(header: str, at: int) -> tuple[str, int]:
    """Return the value that begins at ``at``, and where the next parameter begins."""
    quoted = _QUOTED.match(header, at)
    if quoted is not None:
        return (quoted[2] if quoted[1] is None else _unescaped(quoted[1])), quoted.end() + 1
    if header.startswith('"', at):  # the closing quote is missing, or text follows it
        following = _NEXT_PARAMETER.search(header, at)
        end = len(header) if following is None else following.start()
        return _unescaped(header[at + 1 : end].strip().removesuffix('"')), end + 1
    end = at
    while end < len(header) and header[end] != ";":
        closing = header.find('"', end + 1) if header[end] == '"' else -1
        end = max(end, closing) + 1  # UTF-8''"a;b.txt" has quotes inside the value
    return header[at:end].strip(), end + 1


def _unescaped(text: str) -> str:
    # Only these two: some servers write Windows paths without doubling the backslashes.
    return re.sub(r'\\(["\\])', r"\1", text)


def _extended(value: str) -> str:
    """Decode ``UTF-8''na%C3%AFve.txt``; '' if it is not such a value, or if Python does not know the charset."""
    charset, _, rest = value.partition("'")
    _, quote, text = rest.partition("'")
    if text[:1] == text[-1:] == '"':
        text = text[1:-1]
    return _decoded(unquote_to_bytes(_raw(text)), charset.strip()) or "" if quote else ""


def _joined(parameters: dict[str, str]) -> str:
    """Join ``filename*0``, ``filename*1*`` and so on, up to the first number that is missing."""
    sections = {int(found[1]): (found[2], key) for key in parameters if (found := _SECTION.fullmatch(key))}
    charset, raw, number = "", b"", 0
    while number in sections:
        escaped, key = sections[number]
        value = parameters[key]
        if escaped and number == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        raw += unquote_to_bytes(_raw(value)) if escaped else _raw(value)
        number += 1
    return _decoded(raw, charset.strip()) or ""


def _plain(value: str) -> str:
    """Decode what a server wrote into ``filename``: encoded words, percent-escapes, raw UTF-8 or Latin-1."""
    if _ENCODED_WORDS.search(value):
        return _ENCODED_WORDS.sub(_words, _text(_raw(value)))
    return _text(unquote_to_bytes(_raw(value)) if _ESCAPE.search(value) else _raw(value))


def _words(found: re.Match[str]) -> str:
    """Decode encoded words that follow each other; unchanged if one cannot be decoded."""
    decoded, before, raw = "", "", b""
    for charset, coding, text in _ENCODED_WORD.findall(found[0]):
        if charset.lower() != before.lower() and raw:  # a character may be split over words of one charset
            decoded, raw = decoded + (_decoded(raw, before) or ""), b""
        before = charset
        try:
            if coding in "Bb":
                raw += b64decode(text + "=" * (-len(text) % 4), validate=True)
            else:
                raw += unquote_to_bytes(_raw(text.replace("%", "%25").replace("_", " ").replace("=", "%")))
        except ValueError:
            return found[0]
        if _decoded(b"", charset) is None:
            return found[0]
    rest = _decoded(raw, before)
    return found[0] if rest is None else decoded + rest


def _decoded(raw: bytes, charset: str) -> str | None:
    """Decode ``raw`` in ``charset``; None if Python does not know the charset, or the bytes are not text in it."""
    if not charset:
        return _text(raw)
    try:
        if len(charset) > _LONGEST_CHARSET or codecs.lookup(charset).name in _NO_CHARSETS:
            return None
        return raw.decode(charset)
    except (LookupError, ValueError):
        return None


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _raw(text: str) -> bytes:
    """The bytes that were sent, of a header that was decoded as Latin-1."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # the caller decoded the header itself
        return text.encode("utf-8", "replace")
