"""The export of a device's points in TagoIO's CSV columns, with a column `type` so that an import gives every point back bit for bit."""

from __future__ import annotations

import csv
import io
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from tsengine.transfer.exporting import cells_of, exact_batches, time_texts, unit_texts, value_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tsengine.device import Device, Time

COLUMNS = ("variable", "value", "group", "unit", "location", "metadata", "time", "id", "type")

ROWS_AT_ONCE = 1_000
"""Rows that are written in one call, which keeps all other threads of Python from running."""


def export_tagoio(
    device: Device,
    file: BinaryIO,
    *,
    start: Time = None,
    end: Time = None,
    headers: bool = True,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write points to an open binary file as CSV, variable by variable, ascending in time; return how many.

    Args:
        headers: begin with a line of the columns' names; without it nothing can import the file.
        progress: called with the points written so far, a batch at a time.

    Cost: holds one record batch of some 65,000 points at a time (of a mutable device all of its registers).
    """
    done = 0
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    try:
        writer = csv.writer(text)
        if headers:
            writer.writerow(COLUMNS)
        for batch in exact_batches(device, None, start, end, with_id=True):
            cells = {name: cells_of(batch.column(name)) for name in ("variable", "group", "unit", "metadata", "id", "lat", "lng")}
            values, types = value_texts(batch)
            cells |= {"time": time_texts(batch), "value": values, "type": types, "unit": unit_texts(cells["unit"])}
            cells["location"] = [location_text(lat, lng) for lat, lng in zip(cells["lat"], cells["lng"], strict=True)]
            rows = zip(*(cells[name] for name in COLUMNS), strict=True)
            while some := list(islice(rows, ROWS_AT_ONCE)):
                writer.writerows(some)
            done += batch.num_rows
            if progress is not None:
                progress(done)
        text.flush()
    finally:
        text.detach()
    return done


def location_text(lat: Any, lng: Any) -> str | None:
    """Return a place as GeoJSON."""
    return None if lat is None else msgspec.json.encode({"type": "Point", "coordinates": [lng, lat]}).decode()
