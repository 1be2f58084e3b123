"""Addresses without their secrets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulier.fetchers.urls import Target, redacted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b.iso", "https://example.org/a/b.iso"),
        ("https://me:pw@example.org:8443/a", "https://example.org:8443/a"),
        ("https://token@example.org/a", "https://example.org/a"),
        ("https://example.org/a?token=abc&x=1&flag", "https://example.org/a?token=***&x=***&***"),
        ("https://example.org/a?abc", "https://example.org/a?***"),
        ("https://example.org/a#access_token=abc", "https://example.org/a"),
        ("https://example.org/a;jsessionid=abc/b;v=1", "https://example.org/a;jsessionid=***/b;v=***"),
        ("https://example.org/@scope/a", "https://example.org/@scope/a"),
        ("https://[::1]:8080/a", "https://[::1]:8080/a"),
        ("/a?token=abc", "/a?token=***"),
        ("me:pw@example.org/a", "me:example.org/a"),
        ("https:/me:pw@example.org/a", "https:///example.org/a"),
        ("https:/me:pw@/a", "https:///a"),
        ("https:/example.org/a", "https:///example.org/a"),
        ("https:me:pw@example.org/a", "https:///example.org/a"),
        ("https://[broken", "***"),
        ("https://me:p/w@example.org/", "***"),
        ("https://me:1/2@example.org/", "https://***"),
        ("https://me:1?2@example.org/", "https://***"),
        ("https://me:1#2@example.org/", "https://***"),
        ("dQw4w9WgXcQ", "dQw4w9WgXcQ"),
        ("", ""),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


@settings(deadline=None)
@given(st.text())
def test_it_never_raises_and_never_breaks_a_line(url: str) -> None:
    assert redacted(url).isprintable()


word = st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="/?#[]"), max_size=8)


@settings(deadline=None)
@given(st.sampled_from(["http", "https", "ftp", "x"]), word, word, word)
def test_no_secret_is_shown(scheme: str, user: str, password: str, token: str) -> None:
    shown = redacted(f"{scheme}://U{user}U:P{password}P@example.org/a?key=T{token}T#F{token}F")
    for secret in (f"U{user}U", f"P{password}P", f"T{token}T", f"F{token}F"):
        assert secret not in shown


def test_a_target_has_its_secrets_apart() -> None:
    target = Target.parse("HTTPS://me:pw@Exämple.org:443/a?b=c#d")
    assert target.url == "https://xn--exmple-cua.org/a?b=c"
    assert (target.scheme, target.host, target.port) == ("https", "xn--exmple-cua.org", 443)
    assert target.authorization == "Basic bWU6cHc="


@pytest.mark.parametrize(
    ("one", "other", "trusted"),
    [
        ("http://a/x", "http://a/y", True),
        ("http://a/x", "https://a/y", True),
        ("http://a/x", "http://A:80/y", True),
        ("http://a/x", "http://b/y", False),
        ("http://a/x", "http://sub.a/y", False),
        ("http://a/x", "http://a:8080/y", False),
        ("http://a:8080/x", "https://a/y", False),
        ("http://a/x", "https://a:8443/y", False),
    ],
)
def test_whom_a_secret_may_be_sent_on_to(one: str, other: str, trusted: bool) -> None:
    assert Target.parse(one).trusts(Target.parse(other)) is trusted
