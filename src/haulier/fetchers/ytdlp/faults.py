"""What yt-dlp says went wrong, sorted: ``PermanentError``, ``Throttled``, or ``FetchError`` for what may pass.

What it raises is mostly a text; what the server answered is looked for first, then the kind of the exception, then
the text. URLs in it are shown without their secrets.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Final

from yt_dlp.networking.exceptions import (
    CertificateVerifyError,
    HTTPError,
    NoSupportingHandlers,
    TransportError,
    UnsupportedRequest,
)
from yt_dlp.utils import (
    ContentTooShortError,
    ExtractorError,
    UnsupportedError,
    YoutubeDLError,
)

from haulier.errors import PermanentError, Throttled
from haulier.fetchers.faults import FetchError, not_written
from haulier.fetchers.refusals import DEFAULT_PAUSE_S, refused
from haulier.fetchers.ytdlp.secrets import Secrets

__all__ = ["sorted_fault", "text_of"]

_ASKS_FOR_A_PAUSE: Final = re.compile(
    r"rate.?limit|too many requests|confirm you.{1,3}re not a bot|try again (later|in a few)|temporarily blocked", re.I
)
_LONG_PAUSE_S: Final = 600.0
"""How long to pause if a site says in words, without a number, that there were too many requests."""

_DISK: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ENOENT}
)

_PASSES: Final = re.compile(r"timed? ?out|connection|temporar|incomplete|unavailable right now|interrupted", re.I)
_PREFIX: Final = re.compile(r"^\s*(ERROR:)?\s*")
_BLURB: Final = re.compile(
    r"[;.]? *(please report this issue on|Confirm you are on the latest version|Set --default).*"
)
_CAUSE: Final = re.compile(r" \(caused by .*\)")
_NO_WAY: Final = re.compile(r"No connection adapters|unsupported url scheme", re.I)
_GAVE_UP: Final = "[download] Got error: "
"""How yt-dlp begins the message about a failure that it could retry itself."""
_OF_WHAT: Final = re.compile(r"\w+://\S+|^\[[^\]]*\] .*?: ")
"""Texts that come from the site or the user, not from yt-dlp."""


def sorted_fault(error: BaseException, answer: HTTPError | None, secrets: Secrets, dest: str) -> Exception:
    """The exception for what yt-dlp raised.

    ``answer``: the last answer that was a refusal, which yt-dlp's error may have forgotten. ``dest``: for messages.
    """
    chain = list(_chain(error))
    text = text_of(error, secrets)
    would_try_again, text = text.startswith(_GAVE_UP), text.removeprefix(_GAVE_UP)
    http = next((each for each in chain if isinstance(each, HTTPError)), None)
    if http is None and answer is not None and f"HTTP Error {answer.status}" in text:
        http = answer
    if http is not None:
        return _by_status(http, text, in_media=not any(isinstance(each, ExtractorError) for each in chain))
    if _any(chain, CertificateVerifyError, UnsupportedRequest, NoSupportingHandlers) or _NO_WAY.search(text):
        return PermanentError(text)
    if would_try_again or _any(chain, TransportError, ContentTooShortError):
        return FetchError(text)
    disk = next((each for each in chain if isinstance(each, OSError) and each.errno in _DISK), None)
    if isinstance(disk, OSError):
        return not_written(disk, "the media", dest)
    if _any(chain, UnsupportedError):
        return PermanentError(text)
    words = _OF_WHAT.sub("", text)
    if _ASKS_FOR_A_PAUSE.search(words):
        return Throttled(_LONG_PAUSE_S, text)
    if _PASSES.search(words):
        return FetchError(text)
    found = next((each for each in chain if isinstance(each, ExtractorError)), None)
    if found is not None and not found.expected:
        return FetchError(text)  # the site has changed, or has sent half a page
    if isinstance(error, YoutubeDLError):
        return PermanentError(text)
    return PermanentError(f"{type(error).__name__}: {text}")  # most likely an option that yt-dlp cannot use


def _any(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(each, kinds) for each in chain)


def _by_status(http: HTTPError, text: str, *, in_media: bool) -> Exception:
    fault = refused(http.status, http.response.headers)
    if in_media and http.status in (403, 410) and isinstance(fault, PermanentError):
        # The addresses of media are signed for a while: another attempt gets new ones.
        return FetchError(f"{fault}: the address of the media has expired at the site")
    if isinstance(fault, Throttled):
        return Throttled(fault.retry_after or DEFAULT_PAUSE_S, str(fault))
    return fault if not text else type(fault)(f"{fault}: {text}" if str(http.status) not in text else text)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and whatever caused it, as yt-dlp keeps it."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        cause = getattr(each, "cause", None)
        exc_info = getattr(each, "exc_info", None)
        waiting += [
            cause if isinstance(cause, BaseException) else None,
            exc_info[1] if isinstance(exc_info, tuple) and len(exc_info) == 3 else None,
            each.__cause__,
            each.__context__,
        ]


def text_of(error: BaseException, secrets: Secrets) -> str:
    """Return the text of an error in one line, without secrets and without yt-dlp's advice to its own users."""
    text = secrets.hide(str(error)) or type(error).__name__
    return _BLURB.sub("", _CAUSE.sub("", _PREFIX.sub("", text)))
