"""Types of ext/log/folder.pyx; its methods are for wal.pyx, only `read` is visible to Python."""

from collections.abc import Iterator

class WalFolder:
    """The files of one log; one thread at a time writes."""

    def __init__(self, path: str, sync: bool, file_bytes: int) -> None: ...
    def read(self, from_seq: int, last_seq: int) -> Iterator[tuple[int, bytes]]:
        """Return the records of a range of sequences, verified.

        Raises:
            NotFoundError: they were trimmed.
        """
