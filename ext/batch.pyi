from tsengine.rows import Row

def rows(record: bytes) -> list[Row]:
    """Return the points of a record as Rows in insertion order; CorruptionError if it is damaged."""

def device_of(record: bytes) -> int:
    """Return the number of the device the record belongs to."""

def count_of(record: bytes) -> int:
    """Return how many points the record holds."""

def first_sequence_of(record: bytes) -> int:
    """Return the sequence of the record's first point; the others follow by one."""

def time_bounds_of(record: bytes) -> tuple[int, int]:
    """Return the smallest and the largest time of the record, microseconds."""

def period_counts(record: bytes, period: str | None) -> dict[int, int]:
    """Return how many points of the record lie in each period: number of the period -> points."""

def stamp(record: bytes, device: int, first_sequence: int) -> None:
    """Write the device's number and the first sequence into a fresh record that nobody else has seen."""
