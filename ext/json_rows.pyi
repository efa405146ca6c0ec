"""Points as the rows of the HTTP API, in JSON."""

from tsengine.types import Point

def json_rows(points: list[Point], device: str, details: bool) -> bytes:
    """Return a JSON array with a row for each point, as GET /data shows it; absent keys are left out, never null.

    Args:
        points: as reads return them, with id and time.
        device: the device's id, a key of every row.
        details: rows have `created_at`, too.
    """
