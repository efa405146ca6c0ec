"""Types of ext/log/frame.pyx: read a WAL file frame by frame."""

class FrameWalker:
    """Reads one WAL file from its beginning; every byte that it returns was verified.

    Raises:
        CorruptionError: the file header is damaged or not of `first_seq`. StorageError: it is of a newer version.
    """

    path: str
    offset: int
    """Where the next frame begins, bytes."""
    next_seq: int
    """The sequence that the next frame must begin with."""

    def __init__(self, path: str, first_seq: int) -> None: ...
    @property
    def previous_seq(self) -> int:
        """The last sequence of the log before this file."""

    @property
    def synced_seq(self) -> int:
        """Everything up to here was on disk when the file was made."""

    @property
    def is_recycled(self) -> bool: ...
    @property
    def size_bytes(self) -> int: ...
    def next_frame(self) -> list[bytes] | None:
        """Return the records of the next frame and step over it (a witness has none); None where no good frame follows."""

    def find_witness(self, seq: int) -> int:
        """Look from here on for a good frame which proves that `seq` had been on disk; its offset, or -1. Cost: reads the rest."""

    def count_torn_bytes(self) -> int:
        """Count the bytes from here on that belong to a write which did not finish."""

    def sync(self) -> None: ...
    def close(self) -> None: ...
