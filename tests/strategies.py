"""Hypothesis: points as callers give them, with odd floats, odd text, equal and late times, and times on chunk borders."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tsengine.core.calendar import TIMES, period_of, start_of

TIME_MIN_US, TIME_MAX_US = TIMES
PERIODS = (None, "day", "week", "month", "quarter")
JANUARY_2024_US = 1_704_067_200_000_000

QUICK = settings(
    # Half of what hypothesis takes by default, or all that a longer profile asks for.
    max_examples=50 if settings.default.max_examples == 100 else settings.default.max_examples,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

FLOAT_BITS = (
    0x0000000000000000,  # 0.0
    0x8000000000000000,  # -0.0
    0x0000000000000001,  # smallest subnormal
    0x800FFFFFFFFFFFFF,  # largest negative subnormal
    0x7FEFFFFFFFFFFFFF,  # largest
    0x7FF0000000000000,  # infinity
    0xFFF0000000000000,
    0x7FF8000000000000,  # NaN
    0xFFF8000000000001,  # NaN with sign and payload
    0x7FFFFFFFFFFFFFFF,
)


def float_of_bits(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


floats = st.one_of(
    st.sampled_from(FLOAT_BITS).map(float_of_bits),
    st.floats(allow_nan=False),
    st.integers(-10_000, 10_000).map(lambda n: n / 100),
)

integers = st.one_of(st.sampled_from((0, 1, -1, 2**53, -(2**53) - 1, 2**63 - 1, -(2**63))), st.integers(-(2**63), 2**63 - 1))

texts = st.one_of(
    st.sampled_from(("", "on", "off", "Grüße", "\x00", "😀" * 3, "x" * 6144, "é" * 3072)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)

values = st.one_of(floats, integers, st.booleans(), texts, st.none())

variables = st.sampled_from(("t", "temperature", "état", "t2", "状態", "z" * 100))

units = st.one_of(st.none(), st.sampled_from(("", "°C", "kWh", "%", "u" * 25)))

groups = st.one_of(
    st.none(),
    st.sampled_from(("0123456789abcdef01234567", "0" * 24, "f" * 24, "0123456789ABCDEF01234567", "trip 7", "g" * 100, "é" * 100)),
)

locations = st.one_of(
    st.none(),
    st.sampled_from(((0.0, 0.0), (-0.0, -0.0), (90, 180), (-90, -180), (-27.5969, -48.5495))),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
)

metadatas = st.one_of(st.none(), st.sampled_from(({}, {"color": "red"}, {"a": [1, {"b": None}]}, {"k": "ü" * 2000}, {"n": 1.5})))


def border_times(period: str | None) -> st.SearchStrategy[int]:
    """Times within a few months, many of them on the first or last microsecond of a chunk or of a month."""
    starts = [start_of(month, "month") for month in range(period_of(JANUARY_2024_US, "month") - 1, period_of(JANUARY_2024_US, "month") + 3)]
    if period is not None:
        first = period_of(JANUARY_2024_US, period)
        starts += [start_of(first + n, period) for n in range(4)]
    return st.one_of(
        st.tuples(st.sampled_from(starts), st.sampled_from((-1, 0, 1))).map(sum),
        st.integers(JANUARY_2024_US, JANUARY_2024_US + 40 * 86_400_000_000),
        st.integers(0, 20).map(lambda n: JANUARY_2024_US + n * 1_000_000),
    )


any_times = st.one_of(st.sampled_from((TIME_MIN_US, TIME_MAX_US, 0, -1)), st.integers(TIME_MIN_US, TIME_MAX_US))


def points(times: st.SearchStrategy[int], names: st.SearchStrategy[str] = variables) -> st.SearchStrategy[dict[str, Any]]:
    """Points as dicts, as `append_many` takes them."""
    return st.fixed_dictionaries(
        {"variable": names, "value": values, "time": times},
        optional={"unit": units, "group": groups, "location": locations, "metadata": metadatas},
    )


def batches(times: st.SearchStrategy[int], max_batches: int = 6, max_points: int = 12) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    return st.lists(st.lists(points(times), min_size=1, max_size=max_points), min_size=1, max_size=max_batches)
