"""Which fetcher a URL is for: the HTTP one, or yt-dlp's."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from typing import Final, NamedTuple

from haulier.fetchers.urls import names_a_file, redacted

__all__ = ["WISHES", "Medium", "medium_of", "wish_of"]

WISHES: Final = ("auto", "http", "ytdlp")


class Medium(NamedTuple):
    """A page that yt-dlp is to fetch from."""

    site: str | None
    """What yt-dlp calls the site; None for one that it does not know."""
    name: str
    """What the page is called on the site, or ''."""
    shown: str
    """The URL as it may be shown: without secrets, but with the page's own name."""


def wish_of(text: str) -> str:
    """A fetcher's name, or ``'auto'``. Raises ``ValueError`` that says what is wrong."""
    if text not in WISHES:
        near = get_close_matches(text, WISHES, 1, 0.3)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(WISHES)}"
        raise ValueError(f"no fetcher {text!r}: {hint}")
    if text == "ytdlp" and find_spec("yt_dlp") is None:
        raise ValueError("yt-dlp is not installed: pip install 'haulier[ytdlp]'")
    return text


def medium_of(url: str, wish: str) -> Medium | None:
    """What yt-dlp is to fetch; None where the HTTP fetcher is to."""
    if wish == "http" or (wish == "auto" and (names_a_file(url) or find_spec("yt_dlp") is None)):
        return None
    from haulier.fetchers.ytdlp.sites import page_of  # takes a fifth of a second, and a plain file needs none of it

    page = page_of(url)
    if page is None:
        return Medium(None, "", redacted(url)) if wish == "ytdlp" else None
    return Medium(page.site, page.name, page.shown)
