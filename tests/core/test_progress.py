"""Speed and time remaining."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulier.progress import Meter


def test_a_steady_rate_is_found_at_the_first_sample() -> None:
    meter = Meter(1_000, 10.0)
    assert meter.speed == 0
    assert meter.remaining(1_000, 5_000) is None
    assert meter.sample(2_000, 10.5) == 2_000
    assert meter.sample(3_000, 11.0) == 2_000
    assert meter.remaining(3_000, 5_000) == 1.0


def test_a_burst_counts_for_three_tenths() -> None:
    meter = Meter(0, 0.0)
    meter.sample(100, 1.0)
    assert meter.sample(1_200, 2.0) == pytest.approx(100 + 0.3 * 1_000)


def test_a_stall_lets_the_speed_fade() -> None:
    meter = Meter(0, 0.0)
    meter.sample(100, 1.0)
    assert 0 < meter.sample(100, 2.0) < 100


def test_no_time_no_sample() -> None:
    meter = Meter(0, 5.0)
    meter.sample(100, 6.0)
    assert meter.sample(1_000, 6.0) == 100
    assert meter.sample(1_000, 4.0) == 100


def test_a_transfer_that_begins_again_has_no_negative_speed() -> None:
    assert Meter(1_000, 0.0).sample(10, 1.0) == 0


def test_nothing_remains_of_what_is_complete() -> None:
    meter = Meter(0, 0.0)
    meter.sample(100, 1.0)
    assert meter.remaining(100, 100) is None
    assert meter.remaining(200, 100) is None


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 800).map(lambda eighths: eighths / 8)), min_size=1))
def test_the_speed_is_never_beyond_the_fastest_sample(samples: list[tuple[int, float]]) -> None:
    meter, transferred, now = Meter(0, 0.0), 0, 0.0
    fastest = max(more / later for more, later in samples)
    for more, later in samples:
        transferred, now = transferred + more, now + later
        assert 0 <= meter.sample(transferred, now) <= fastest * 1.000001
