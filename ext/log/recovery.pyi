"""Types of ext/log/recovery.pyx: verify and deliver a folder of WAL files, and cut a torn tail away."""

from collections.abc import Callable

SUFFIX: str
SPARE_SUFFIX: str
DRAFT_NAME: str

def list_files(folder: str, suffix: str) -> list[tuple[int, str]]:
    """Return (first sequence, path) of the files with this suffix, ascending; other names are ignored."""

class Recovery:
    """One pass over the log of a folder; `run` does it.

    Raises:
        CorruptionError: acknowledged records are damaged or missing; nothing was changed.
    """

    files: list[tuple[int, str]]
    last_seq: int
    end_offset: int
    torn_bytes: int
    record_count: int

    def __init__(self, folder: str, applied: int, sync: bool, deliver: Callable[[int, list[bytes]], None], reach: int = 0) -> None: ...
    def run(self, *, cut: bool = True) -> None:
        """Do it; without `cut` a torn tail is only counted, and nothing on disk is changed."""
