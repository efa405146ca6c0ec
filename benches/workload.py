"""The workload of the store and query benchmarks: one device, ten variables, one month a table. Seeded, the same every time.

Row order is that of a device's payloads (tsengine.cli.workload): ten points with one group, again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from tsengine.cli.workload import JITTER_US as JITTER_US
from tsengine.cli.workload import VARIABLES as VARIABLES
from tsengine.cli.workload import arrow_columns, make_payloads
from tsengine.cli.workload import walk as walk

NUMERIC = [name for name in VARIABLES if name != "mode"]
"""Numbers, and a boolean: what can be summed."""

FIRST_YEAR = 2023
UNTIL_US = 2**52
"""Later than everything: the end of a question about all of time."""
METADATA_SHARE = 0.01
METADATA = [f'{{"quality":{i % 8},"source":"probe-{i}"}}' for i in range(64)]


def month_bounds_us(month: int) -> tuple[int, int]:
    """First microsecond of a month of the workload (0 is the first), and of the next one."""

    def start(number: int) -> int:
        return int(datetime(FIRST_YEAR + number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

    return start(month), start(month + 1)


def month_table(month: int, payloads: int = 100_000, seed: int = 20261121) -> pa.Table:
    """Return one month: `payloads` times ten rows, in the schema of `Device.append_arrow`."""
    rng = np.random.default_rng([seed, month])
    start_us, end_us = month_bounds_us(month)
    step_us = (end_us - start_us) // payloads // 1000 * 1000
    base_us = start_us + np.arange(payloads, dtype=np.int64) * step_us
    made = make_payloads(rng, base_us, energy=month * 4_000_000)
    metadata = rng.integers(0, len(METADATA), payloads * 10)
    has_metadata = rng.random(payloads * 10) < METADATA_SHARE
    return pa.table(
        {
            **arrow_columns(made),
            "group": object_ids(rng, base_us, month, payloads),
            "metadata": pa.DictionaryArray.from_arrays(pa.array(metadata.astype(np.int32), mask=~has_metadata), METADATA),
        }
    )


def object_ids(rng: np.random.Generator, base_us: np.ndarray, month: int, payloads: int) -> pa.Array:
    """One 12-byte group a payload, like an ObjectId: seconds, five bytes of the machine, a counter of three bytes."""
    raw = np.zeros((payloads, 12), np.uint8)
    raw[:, :4] = (base_us // 1_000_000).astype(">u4").view(np.uint8).reshape(-1, 4)
    raw[:, 4:9] = np.random.default_rng(5).integers(0, 256, 5)
    counter = (month * payloads + np.arange(payloads)) % (1 << 24)
    raw[:, 9:] = counter.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    rows = np.repeat(raw, 10, axis=0)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(12), payloads * 10, [None, pa.py_buffer(rows.tobytes())])


def tables(months: int = 36, payloads: int = 100_000) -> Iterator[pa.Table]:
    """Yield the workload month by month."""
    for month in range(months):
        yield month_table(month, payloads)
