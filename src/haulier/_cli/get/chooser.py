"""Choose the fetcher of a URL: HTTP or yt-dlp."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from typing import Final, NamedTuple

from haulier.fetchers.urls import names_a_file, redacted

__all__ = ["FETCHERS", "Medium", "checked_fetcher", "medium_of"]

FETCHERS: Final = ("auto", "http", "ytdlp")


class Medium(NamedTuple):
    """A page that yt-dlp downloads from."""

    site: str | None
    """The name of the site in yt-dlp; None if yt-dlp does not know the site."""
    name: str
    """The name of the page on the site, or ''."""
    shown: str
    """The URL without secrets, but with the part that names the page."""


def checked_fetcher(text: str) -> str:
    """Check the name of a fetcher, or ``'auto'``.

    Raises ``ValueError`` if the name is unknown, or if yt-dlp is not installed.
    """
    if text not in FETCHERS:
        near = get_close_matches(text, FETCHERS, 1, 0.3)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(FETCHERS)}"
        raise ValueError(f"unknown fetcher {text!r}; {hint}")
    if text == "ytdlp" and find_spec("yt_dlp") is None:
        raise ValueError("yt-dlp is not installed; run: pip install 'haulier[ytdlp]'")
    return text


def medium_of(url: str, fetcher: str) -> Medium | None:
    """The page, if yt-dlp must fetch ``url``; None if the HTTP fetcher must."""
    if fetcher == "http" or (fetcher == "auto" and (names_a_file(url) or find_spec("yt_dlp") is None)):
        return None
    from haulier.fetchers.ytdlp.sites import page_of  # the import takes 0.2 s, and plain files do not need it

    page = page_of(url)
    if page is None:
        return Medium(None, "", redacted(url)) if fetcher == "ytdlp" else None
    return Medium(page.site, page.name, page.shown)
