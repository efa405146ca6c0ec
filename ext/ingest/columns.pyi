from typing import Any

def from_columns(objects: list[Any], now_us: int, is_packed: bool) -> bytes:
    """Return the record of objects whose attributes are columns or constants, as msgspec.Raw; empty bytes if they have no rows."""
