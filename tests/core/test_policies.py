"""Policies are checked where they are made, and name the field that is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from haulier.policies import RestartPolicy, Retention, RetryPolicy, SourcePolicy

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("kind", [SourcePolicy, RetryPolicy, RestartPolicy, Retention])
def test_each_has_defaults_and_is_frozen(kind: Any) -> None:
    made = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(made)[0].name, 1)


@pytest.mark.parametrize("field", ["delay", "delay_floor", "timeout", "stall_timeout"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (NAN, ValueError), (INF, ValueError), (True, TypeError), ("1", TypeError), ([], TypeError)],
)
def test_seconds_of_a_source(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        SourcePolicy(**{field: value})


def test_seconds_beyond_any_float() -> None:
    with pytest.raises(ValueError, match="delay"):
        SourcePolicy(delay=10**400)


@pytest.mark.parametrize("field", ["timeout", "stall_timeout"])
def test_a_time_out_of_0_would_be_none(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SourcePolicy(**{field: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "least"), [("concurrency", 1), ("max_zombies", 0), ("max_queued", 1)])
@pytest.mark.parametrize(
    ("value", "error"), [(1.0, TypeError), ("2", TypeError), (True, TypeError), (None, ValueError)]
)
def test_counts_of_a_source(field: str, least: int, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        SourcePolicy(**{field: least - 1 if value is None else value})  # type: ignore[arg-type]
    fields: dict[str, Any] = {field: least}
    assert getattr(SourcePolicy(**fields), field) == least


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("delay_from", "middle", ValueError),
        ("on_crash", "panic", ValueError),
        ("retry", None, TypeError),
        ("retry", 3, TypeError),
        ("restart", RetryPolicy(), TypeError),
        ("jitter", 0.5, TypeError),
        ("jitter", [0.5, 1.5], TypeError),
        ("jitter", (0.5,), TypeError),
        ("jitter", (0.5, "1"), TypeError),
        ("jitter", (1.5, 0.5), ValueError),
        ("jitter", (-0.5, 0.5), ValueError),
        ("jitter", (0.5, INF), ValueError),
        ("record_fields", {"key": "title"}, ValueError),
        ("record_fields", None, TypeError),
        ("record_fields", ["key"], TypeError),
        ("thread_name", "{nope}", ValueError),
        ("thread_name", "{", ValueError),
        ("thread_name", 5, TypeError),
    ],
)
def test_the_rest_of_a_source(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        SourcePolicy(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("resume_interrupted", True), ("durable", False)])
def test_at_most_once_excludes_what_would_run_a_download_again(field: str, value: bool) -> None:
    fields: dict[str, Any] = {field: value}
    assert not SourcePolicy(**fields).at_most_once
    assert SourcePolicy(at_most_once=True).durable
    with pytest.raises(ValueError, match=f"at_most_once .*{field}"):
        SourcePolicy(at_most_once=True, **fields)


def test_a_source_with_everything_at_its_bounds() -> None:
    policy = SourcePolicy(
        delay=0, delay_floor=0, jitter=(0, 0), timeout=1e-9, stall_timeout=1, delay_from="start",
        on_crash="error_queued", thread_name="dl-{target_id}-{download_id}",
        record_fields={"track_id": "target_id", "display_name": "display_name", "error": None},
    )  # fmt: skip
    assert policy.jitter == (0, 0)


@pytest.mark.parametrize("field", ["stop", "wait", "retry"])
def test_retry_takes_only_rules(field: str) -> None:
    with pytest.raises(TypeError, match=field):
        RetryPolicy(**{field: 3})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("intensity", -1, ValueError),
        ("intensity", 1.5, TypeError),
        ("intensity", True, TypeError),
        ("period", 0, ValueError),
        ("period", INF, ValueError),
        ("period", "5", TypeError),
        ("calm", -1, ValueError),
        ("calm", None, TypeError),
        ("wait", 1.0, TypeError),
    ],
)
def test_restart(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        RestartPolicy(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("max_terminal", -1, ValueError),
        ("max_terminal", None, TypeError),
        ("max_age", -1, ValueError),
        ("max_age", NAN, ValueError),
        ("max_age", "1", TypeError),
    ],
)
def test_retention(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        Retention(**{field: value})
