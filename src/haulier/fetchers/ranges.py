"""Resume a download with a range request (RFC 9110, sections 13 and 14): what to ask, and what an answer means.

A download resumes only with a strong validator, and only if the range fits exactly. Otherwise the file could consist of
two halves of two versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from haulier.fetchers.parts import Begun
from haulier.fetchers.refusals import utc_of

__all__ = ["Afresh", "Answer", "GoOn", "Nonsense", "Whole", "asked_for", "meaning", "validators"]

_RANGE = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes\s+\*/(\d{1,18})", re.ASCII)
_STRONG_AFTER_S = 60.0
"""A date is a strong validator only if it is this much older than the answer: the file may change twice in a second."""


class GoOn(NamedTuple):
    """The body continues the part with ``length`` bytes. The whole file has ``size`` bytes."""

    size: int
    length: int


class Afresh(NamedTuple):
    """The body is the whole file from its first byte."""


class Whole(NamedTuple):
    """The part is the whole file already."""


class Nonsense(NamedTuple):
    """The answer does not fit the request. ``why`` says it for people."""

    why: str


Answer: TypeAlias = GoOn | Afresh | Whole | Nonsense


def validators(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The ETag and the Last-Modified of an answer, each None unless it is a strong validator."""
    etag = headers.get("ETag", "").strip()
    modified = headers.get("Last-Modified", "").strip()
    then, now = utc_of(modified), utc_of(headers.get("Date", ""))
    dated = then is not None and now is not None and now - then >= _STRONG_AFTER_S
    is_strong = len(etag) >= 2 and etag[0] == etag[-1] == '"' and etag.isprintable()
    return etag if is_strong else None, modified if dated else None


def asked_for(begun: Begun) -> dict[str, str]:
    """The headers that ask for the rest of the file."""
    return {"range": f"bytes={begun.length}-", "if-range": begun.etag or begun.last_modified or ""}


def meaning(begun: Begun, status: int, headers: Mapping[str, str]) -> Answer:
    """What a 200, 206 or 416 means as an answer to ``asked_for(begun)``."""
    if status == 206:
        return _partial(begun, headers)
    if status != 416:
        return Afresh()
    found = _UNSATISFIED.fullmatch(headers.get("Content-Range", "").strip())
    if _is_another(begun, headers):
        return Nonsense("the file is another one now")
    if found is not None and int(found[1]) == begun.length and begun.size in (None, begun.length):
        return Whole()
    return Nonsense("the server has less than what is here already")


def _partial(begun: Begun, headers: Mapping[str, str]) -> Answer:
    if headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        return Nonsense("the server sent a compressed part")
    found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        return Nonsense("the server sent a part and did not say which")
    first, last, total = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
    if first != begun.length or last < first or (total is not None and last >= total):
        return Nonsense("the server sent another part than was asked for")
    if begun.size is not None and total not in (None, begun.size):
        return Nonsense("the file has another size now")
    if _is_another(begun, headers):
        return Nonsense("the file is another one now")
    size = begun.size if total is None else total
    if size is None:
        return Nonsense("the server sent a part and did not say of how much")
    return GoOn(size, last - first + 1)


def _is_another(begun: Begun, headers: Mapping[str, str]) -> bool:
    """Whether an answer has other validators than the part. A missing validator makes no difference."""
    if begun.etag is not None:
        return headers.get("ETag", "").strip() not in ("", begun.etag)
    return headers.get("Last-Modified", "").strip() not in ("", begun.last_modified)
