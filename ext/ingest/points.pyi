from typing import Any

def from_points(points: list[Any], now_us: int, wire: bool = False) -> bytes:
    """Return the record of these points, in their order; InputError names index and field."""
