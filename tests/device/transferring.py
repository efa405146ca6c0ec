"""What tests of imports and exports share."""

from __future__ import annotations

import io
from typing import Any

from tsengine import Device, Engine
from tsengine.transfer import Format, Import, export_points

FORMATS: list[Format] = ["csv", "jsonl", "parquet", "arrow"]


def make_device(db: Engine, name: str = "device", **options: Any) -> Device:
    return db.create_device(name, **{"chunk_limit": None, **options})


def exported(device: Device, format: Format, **options: Any) -> bytes:
    file = io.BytesIO()
    export_points(device, file, format, **options)
    return file.getvalue()


def imported(db: Engine, device: Device, text: str | bytes, format: Format = "csv", **options: Any) -> Import:
    job = Import(db, device, io.BytesIO(text.encode() if isinstance(text, str) else text), format=format, **options)
    job.run()
    return job
