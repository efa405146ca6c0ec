from collections.abc import Mapping, Sequence
from typing import Any

from tsengine.core.places import Places
from tsengine.types import Point

def points_of_registers(device: int, keys: Sequence[bytes], rows: Sequence[Any], places: Places, names: Mapping[int, str]) -> list[Point]:
    """Return stored rows of one device as Points.

    Args:
        keys: one a row; its last eight bytes are the sequence.
        rows: as msgspec decoded them: of the type that the places are of.
        places: of the fields of a stored row, in the order of the format.
        names: number of a variable -> its name.

    Raises:
        msgspec.ValidationError: a row holds what no register can.
    """
