from typing import Any

import numpy as np

def from_points(points: list[Any], now_us: int, wire: bool = False) -> bytes:
    """Return the record of these points, in their order; InputError names index and field."""

def from_columns(
    time: np.ndarray,
    variable: np.ndarray,
    names: list[str],
    kind: np.ndarray,
    value: np.ndarray,
    texts: list[str],
    received_us: int,
    unit: np.ndarray | None = None,
    units: list[str] | None = None,
    groups: tuple[np.ndarray, list[str]] | None = None,
    lat: np.ndarray | None = None,
    lng: np.ndarray | None = None,
    metadata: np.ndarray | None = None,
    metadatas: list[Any] | None = None,
    group_bytes: np.ndarray | None = None,
) -> bytes:
    """Return the record of whole columns; a column of one cell holds for every point."""

def merge_values(kind: np.ndarray, value: np.ndarray, cells: np.ndarray, valid: np.ndarray, code: int) -> int:
    """Take the cells of one column of values where they are valid; return the first row that has a value already, or -1."""
