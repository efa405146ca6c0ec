from tsengine.core.ingest.table import Table

def record_of(table: Table, part: int = 0) -> bytes:
    """Return the rows of a part as a record for the log; device and sequence are stamped later."""
