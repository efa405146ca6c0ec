"""Measured data: a year of hourly temperatures goes in, the process is killed, and every bit of it is there."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest

import tsengine

WRITER = """
import sys, time
import pyarrow as pa
import tsengine
db = tsengine.open(sys.argv[1])
device = db.create_device("weather", serial="SF", chunk_limit=None)
with pa.ipc.open_file(sys.argv[2]) as file:
    print(device.append_arrow(file.read_all()), flush=True)
while True:
    time.sleep(60)
"""


def measured() -> pa.Table:
    """The rows of sf_temps.csv that ships with vega-datasets: temperature and time, hourly, 2010."""
    spec = importlib.util.find_spec("vega_datasets")
    if spec is None or spec.origin is None:
        pytest.skip("vega-datasets is not installed")
    table = csv.read_csv(
        Path(spec.origin).parent / "_data" / "sf-temps.csv",
        convert_options=csv.ConvertOptions(timestamp_parsers=["%Y/%m/%d %H:%M:%S"]),
    )
    names = {name.lower(): name for name in table.column_names}
    times = table.column(names["date"]).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    count = table.num_rows
    return pa.table(
        {
            "variable": pa.array(["temperature"] * count).dictionary_encode(),
            "time": times,
            "value": table.column(names["temp"]).cast(pa.float64()),
            "unit": pa.array(["F"] * count).dictionary_encode(),
        }
    )


def test_measured_data_survives_a_kill_bit_for_bit(tmp_path: Path) -> None:
    table = measured()
    assert table.num_rows > 8_000
    with pa.ipc.new_file(tmp_path / "measured.arrow", table.schema) as file:
        file.write_table(table)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "data"), str(tmp_path / "measured.arrow")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert int(writer.stdout.readline()) == table.num_rows
        os.kill(writer.pid, signal.SIGKILL)
    times = table.column("time").cast(pa.int64()).to_numpy()
    values = table.column("value").to_numpy()
    order = np.argsort(times, kind="stable")
    with tsengine.open(tmp_path / "data") as db:
        device = db.device("SF")
        for _ in range(2):  # from the log, then from segments
            stored_times, stored_values = device.read("temperature")
            assert (stored_times == times[order]).all()
            assert (stored_values.view(np.int64) == values[order].view(np.int64)).all()
            db.compact()
        assert device.scan(["temperature"], columns=["unit"]).read_all().column("unit").unique().to_pylist() == ["F"]
        months = device.aggregate("temperature", ["count", "min", "max", "avg"], every="1mo").to_pylist()
        assert len(months) == 12
        assert sum(month["count"] for month in months) == table.num_rows
        assert min(month["min"] for month in months) == values.min()
