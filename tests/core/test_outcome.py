"""What comes of an attempt."""

from __future__ import annotations

import pytest
import tenacity

from haulier._engine.core.outcome import BackOff, Failed, PutBack, StoppedEarly, judge, text_of
from haulier.errors import DownloadCancelled, PermanentError, Throttled
from haulier.policies import RetryPolicy, SourcePolicy

ONCE = SourcePolicy()
TWICE = SourcePolicy(retry=RetryPolicy(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_fixed(5)))


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "text"), [(ValueError("boom"), "boom"), (ValueError(), "ValueError"), (Unspeakable(), "Unspeakable")]
)
def test_an_exception_says_something_in_any_case(error: Exception, text: str) -> None:
    assert text_of(error) == text


class Spoken(Exception):
    """Its text is a str of a class of its own, as of a lazy translation."""

    class Text(str):
        __slots__ = ()

        def encode(self, *_: object) -> bytes:
            raise RuntimeError("not yet")

        def __radd__(self, _: object) -> str:
            raise RuntimeError("not yet")

    def __str__(self) -> str:
        return self.Text("boom" * 2000)


@pytest.mark.parametrize("character", ["x", "é", "語", "😀", "\ud800"])
@pytest.mark.parametrize("before", ["", "worker crash: "])
def test_a_long_text_is_cut_and_says_so(character: str, before: str) -> None:
    size = len(character.encode("utf-8", "surrogatepass"))
    fits = (4096 - len(before)) // size
    assert text_of(OSError(character * fits), before) == before + character * fits
    count = fits + 1
    text = text_of(OSError(character * count), before)
    mark = f"… (cut: {count - text.count(character):,} more characters)"
    assert text == before + character * text.count(character) + mark
    slack = len(f"{count:,}") - len(mark.split()[2])  # there was room for the number of all characters
    assert 4096 - size < len(text.encode("utf-8", "surrogatepass")) + slack <= 4096


def test_the_mark_counts_what_is_missing() -> None:
    text = text_of(ValueError("y" * 1_000_000))
    kept = text.index("…")
    assert text == "y" * kept + f"… (cut: {1_000_000 - kept:,} more characters)"
    assert len(text.encode()) == 4096 - (len("1,000,000") - len(f"{1_000_000 - kept:,}"))


def test_a_text_that_is_a_str_of_its_own_class_becomes_a_plain_one() -> None:
    text = text_of(Spoken())
    assert type(text) is str
    assert text.startswith("boomboom")
    assert len(text.encode()) <= 4096


def test_a_failure_for_good() -> None:
    assert judge(ONCE, 1, None, OSError("reset"), 0, 0) == Failed("reset", "OSError")
    assert judge(TWICE, 2, None, OSError("reset"), 0, 0) == Failed("reset", "OSError")
    assert judge(TWICE, 1, None, PermanentError("404"), 0, 0) == Failed("404", "PermanentError")


def test_a_failure_with_another_attempt() -> None:
    assert judge(TWICE, 1, None, OSError("reset"), 0, 0) == BackOff(5.0, "reset", "OSError")


def test_an_empty_result_leaves_the_error_to_the_impl() -> None:
    assert judge(ONCE, 1, None, None, 0, 0) == Failed(None, None)
    assert judge(TWICE, 1, None, None, 0, 0) == BackOff(5.0, None, None)


def test_a_path_succeeds() -> None:
    assert judge(ONCE, 1, "a.bin", None, 0, 0) is None
    assert judge(TWICE, 1, "a.bin", None, 0, 0) is None


@pytest.mark.parametrize("wait_s", [0.0, 5.0])
def test_the_retry_policy_may_reject_a_path(wait_s: float) -> None:
    """A wait of 0 s included: two named tuples with equal fields are equal, whatever their names."""
    wait = tenacity.wait_fixed(wait_s)
    retry = tenacity.retry_if_result(lambda path: path == "login.html")
    picky = SourcePolicy(retry=RetryPolicy(stop=tenacity.stop_after_attempt(2), wait=wait, retry=retry))
    why = ("the retry policy rejects the result 'login.html'", "RetryError")
    assert judge(picky, 1, "login.html", None, 0, 0) == BackOff(wait_s, *why)
    assert isinstance(judge(picky, 1, "login.html", None, 0, 0), BackOff)
    assert judge(picky, 2, "login.html", None, 0, 0) == Failed(*why)
    assert judge(picky, 1, "a.bin", None, 0, 0) is None


def test_a_rejected_path_is_cut_as_well() -> None:
    picky = SourcePolicy(retry=RetryPolicy(retry=tenacity.retry_if_result(lambda _: True)))
    outcome = judge(picky, 1, "<html>" * 10_000, None, 0, 0)
    assert isinstance(outcome, Failed)
    assert outcome.error is not None
    assert outcome.error.startswith("the retry policy rejects the result '<html>")
    assert len(outcome.error.encode()) <= 4096


def test_the_retry_policy_sees_the_result_and_the_times() -> None:
    seen = []

    def retry(state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None
        seen.append((state.attempt_number, state.outcome.result(), state.seconds_since_start, state.idle_for))
        return False

    judge(SourcePolicy(retry=RetryPolicy(retry=retry)), 3, "a.bin", None, 30.0, 12.0)
    assert seen == [(3, "a.bin", 30.0, 12.0)]


def test_throttled_is_no_failure_whatever_the_retry_policy_says() -> None:
    assert judge(ONCE, 1, None, Throttled(retry_after=9), 0, 0) == PutBack(9.0)


def test_an_impl_that_saw_the_cancel_has_stopped() -> None:
    assert judge(TWICE, 1, None, DownloadCancelled(), 0, 0) == StoppedEarly()


@pytest.mark.parametrize(
    ("retry_after", "error"),
    [(-1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), (True, TypeError), ("1", TypeError)],
)
def test_throttled_takes_only_seconds(retry_after: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="retry_after"):
        Throttled(retry_after)


def test_throttled_says_how_long() -> None:
    assert str(Throttled(2.5)) == "throttled for 2.5 s"
    assert str(Throttled(2, "429")) == "429"
