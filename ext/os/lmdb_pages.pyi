from collections.abc import Mapping
from os import PathLike

LEAVES_PAGES_MAX: int

def check_pages(path: str | PathLike[str]) -> list[str]:
    """Return what is wrong with the structure of an LMDB file that nobody writes to, one sentence for each tree; empty = nothing."""

def require_pages(path: str | PathLike[str], databases: Mapping[str, int]) -> set[str]:
    """Return the names of the databases of a file that LMDB can be trusted with; CorruptionError if it cannot."""
