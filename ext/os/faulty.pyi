"""Types of ext/os/faulty.pyx: file calls that fail on demand. For tests only."""

from collections.abc import Iterable
from types import TracebackType

NAMES: tuple[str, ...]

class Faults:
    """Make the n-th of the chosen file calls fail while this is entered; count all calls.

    Args:
        calls: names out of NAMES that are numbered together; all of them by default.
        nth: 1 is the first; 0 only counts.
        error: errno to return; 0 makes the read or write short instead.
        forever: every later chosen call fails as well.
        torn: a failing (or deadly) pwrite stores half of its bytes first.
        deadly: kill the process (SIGKILL) instead.
    """

    def __init__(
        self,
        calls: Iterable[str] | str = ...,
        *,
        nth: int = 0,
        error: int = 0,
        forever: bool = False,
        torn: bool = False,
        deadly: bool = False,
    ) -> None: ...
    def __enter__(self) -> Faults: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> None: ...
    @property
    def matched(self) -> int:
        """Chosen calls so far."""

    def count(self, name: str) -> int:
        """Calls of one name so far."""
