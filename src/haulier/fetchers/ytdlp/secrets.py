"""The secrets in a URL: user, password, and the values in its query."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from haulier.fetchers.urls import redacted

__all__ = ["Secrets"]

_HIDDEN: Final = "***"
_URL: Final = re.compile(r"[\w+.-]+://[^\s\"<>]+")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


class Secrets:
    """The secrets in ``url``, which ``hide`` removes from texts.

    ``known``: a value in the query that is not one, such as a video's id.
    """

    def __init__(self, url: str, known: str) -> None:
        parts = urlsplit(url)
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        values = [value for pair in parts.query.split("&") for value in (pair.partition("=")[2] or pair,)]
        values += [value for _, value in parse_qsl(parts.query)]
        found = {user, password, unquote(user), unquote(password), *values, *map(unquote, values)} - {"", known}
        self._values = sorted(found, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return ``text`` in one line, with the secrets of this URL and of any URL in it hidden."""
        text = _COLOUR.sub("", " ".join(text.split()))
        text = _URL.sub(lambda url: self._without(redacted(url[0])), text)
        return self._without(text)

    def _without(self, text: str) -> str:
        for value in self._values:
            # A short value is replaced only where it stands alone, or every 'a' of a sentence would go.
            pattern = re.escape(value) if len(value) > 3 else rf"(?<![\w]){re.escape(value)}(?![\w])"
            text = re.sub(pattern, _HIDDEN, text)
        return text
