"""Find out, without any request, which URLs yt-dlp has an extractor of its own for."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from yt_dlp.extractor import gen_extractor_classes

from haulier.fetchers.urls import names_a_file, redacted

__all__ = ["Page", "knows", "page_of", "site_of"]


class Page(NamedTuple):
    """A page of a site that yt-dlp knows."""

    site: str
    """As yt-dlp calls it: ``'youtube'`` for youtube.com and for youtu.be."""
    name: str
    """What the page is called there, such as a video's id; '' where only the page itself tells."""
    shown: str
    """The URL without secrets, but with that name in it."""


def knows(url: str) -> bool:
    """Whether ``url`` is a page of a site that yt-dlp knows; not so for a plain file there (``…/file.iso``)."""
    return page_of(url) is not None


def site_of(url: str) -> str | None:
    """Return the site of the page ``url``, as yt-dlp calls it; None if it knows none."""
    page = page_of(url)
    return None if page is None else page.site


def page_of(url: str) -> Page | None:
    """What ``url`` is, where yt-dlp knows it."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or names_a_file(url):
        return None
    extractor = next((each for each in _perhaps(host) if each.suitable(url)), None)
    if extractor is None:
        return None
    found = extractor._match_valid_url(url)
    name = str((found.groupdict().get("id") if found is not None else None) or "")
    return Page(_site(extractor), name, _with_name(redacted(url), parts.query, name))


def _with_name(shown: str, query: str, name: str) -> str:
    """Return ``shown`` with the one value in its query that is not a secret: which page it is."""
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if name and value == name:
            return shown.replace(f"{key}=***", f"{key}={name}", 1)
    return shown


@lru_cache(maxsize=1024)
def _perhaps(host: str) -> tuple[Any, ...]:
    """The extractors whose pattern has a part of ``host`` in it: few, and only their patterns are compiled."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = [label for label in host.split(".")[:-1] if label != "www"]
    else:
        return ()
    return tuple(
        each
        for each in gen_extractor_classes()
        if _site(each) != "generic" and any(label in pattern for label in labels for pattern in _patterns(each))
    )


def _patterns(extractor: Any) -> tuple[str, ...]:
    pattern = getattr(extractor, "_VALID_URL", None)
    patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern or ())
    return tuple(each.lower() for each in patterns)


def _site(extractor: Any) -> str:
    """The module that an extractor comes from: a site's extractors share one."""
    module = getattr(extractor, "_module", None) or extractor.__module__
    return str(module).split(".")[2]
