"""InfluxDB 1.x over HTTP: a server of its own for each folder, line protocol in, InfluxQL out.

It takes part where `influxd` is installed (apt-get install influxdb). Booleans are 0 and 1, as it cannot add them up.
"""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benches.workload import NUMERIC, VARIABLES

FUNCTIONS = {"avg": "mean", "sum": "sum", "min": "min", "max": "max", "count": "count"}
LINES = 10_000
"""Lines of a request, the size that its manual recommends for HTTP is 5,000 to 10,000."""
START_S = 60


def installed() -> str:
    """Return what `influxd version` says, or raise ImportError."""
    if shutil.which("influxd") is None:
        raise ImportError("influxd is not installed (apt-get install influxdb)")
    text = subprocess.run(["influxd", "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v(1\.\d[\w.~-]*)", text)
    if found is None:
        raise ImportError(f"influxd is not of 1.x but: {text.strip()[:60]}")
    return found[1]


VERSION = installed()

SETTINGS = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  index-version = "tsi1"
  query-log-enabled = false
  cache-max-memory-size = "4g"
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
[monitor]
  store-enabled = false
[logging]
  level = "error"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Store:
    settings = f"{VERSION} over HTTP, line protocol, {LINES:,} lines a request, its log fsynced before each answer"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        file = self.folder / "influxdb.conf"
        file.write_text(SETTINGS.format(folder=self.folder, rpc=free_port(), http=port))
        self.server = subprocess.Popen(["influxd", "run", "-config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        until = time.monotonic() + START_S
        while True:
            try:
                self.call("GET", "/ping")
                break
            except ConnectionError:
                self.http.close()
                if time.monotonic() > until or self.server.poll() is not None:
                    raise
                time.sleep(0.01)

    def create(self) -> None:
        self.open()
        self.rows("CREATE DATABASE bench", method="POST")

    def close(self) -> None:
        self.http.close()
        self.server.terminate()
        self.server.wait(600)

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        self.http.request(method, path, body)
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"InfluxDB answers {answer.status}: {text[:200]!r}")
        return text

    def rows(self, sql: str, method: str = "GET") -> list[list[Any]]:
        """Return the rows of all series of an answer; times are microseconds."""
        answer = msgspec.json.decode(self.call(method, f"/query?{urlencode({'db': 'bench', 'epoch': 'u', 'q': sql})}"))
        (result,) = answer["results"]
        if "error" in result:
            raise RuntimeError(result["error"])
        return [[*series.get("tags", {}).values(), *row] for series in result.get("series", ()) for row in series["values"]]

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            lines = line_protocol(table)
            for low in range(0, len(lines), LINES):
                self.call("POST", "/write?db=bench&precision=u", "\n".join(lines[low : low + LINES]).encode())

    def count(self) -> int:
        return sum(row[1] + row[2] for row in self.rows("SELECT count(value), count(value_text) FROM points"))

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        found = self.rows(f"SELECT value FROM points WHERE variable = '{variable}' AND {between(start_us, end_us)}")
        times, values = zip(*found, strict=True)
        return np.array(times, np.int64), np.array(values, np.float64)

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        wanted = ", ".join(f"{FUNCTIONS[name]}(value)" for name in functions)
        grouped = f"GROUP BY time({every_us}u) fill(none)" if every_us else ""
        found = self.rows(f"SELECT {wanted} FROM points WHERE variable = '{variable}' AND {between(start_us, end_us)} {grouped}")
        return list(zip(*(row[1:] for row in found), strict=True))

    def totals(self) -> dict[str, float]:
        return {name: total for name, _, total in self.rows("SELECT sum(value) FROM points GROUP BY variable") if name in NUMERIC}

    def count_above(self, variable: str, bound: float) -> int:
        return self.rows(f"SELECT count(value) FROM points WHERE variable = '{variable}' AND value > {bound}")[0][1]

    def newest(self, limit: int, skip: int) -> list[int]:
        return [row[0] for row in self.rows(f"SELECT * FROM points ORDER BY time DESC LIMIT {limit} OFFSET {skip}")]

    def last(self) -> dict[str, Any]:
        found = self.rows("SELECT last(value), last(value_text) FROM points GROUP BY variable")
        last = {name: value if value is not None else text for name, _, value, text in found}
        return {name: last[name] for name in VARIABLES}

    def drop_month(self, start_us: int, end_us: int) -> None:
        self.rows(f"DELETE FROM points WHERE {between(start_us, end_us)}", method="POST")


def between(start_us: int, end_us: int) -> str:
    return f"time >= {start_us}u AND time < {end_us}u"


def line_protocol(table: pa.Table) -> list[str]:
    """Return a line a point: variable and unit are tags, the rest are fields."""
    names = ("variable", "time", "value", "value_bool", "value_text", "unit", "group", "metadata")
    columns = {name: table.column(name) for name in names}
    columns["time"] = columns["time"].cast(pa.int64())
    columns["value"] = pc.coalesce(columns["value"], columns["value_bool"].cast(pa.float64()))
    del columns["value_bool"]
    lines = []
    for variable, time_us, value, text, unit, group, metadata in zip(*(column.to_pylist() for column in columns.values()), strict=True):
        tags = f"points,unit={unit},variable={variable}" if unit else f"points,variable={variable}"
        field = f"value={value!r}" if text is None else f'value_text="{text}"'
        extra = "" if metadata is None else ',metadata="' + metadata.replace('"', '\\"') + '"'
        lines.append(f'{tags} {field},group="{group.hex()}"{extra} {time_us}')
    return lines


STORE = {"InfluxDB": Store}
