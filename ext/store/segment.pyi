from os import PathLike

from tsengine.core.os.mapping import Mapping

class Segment:
    """A sealed file, open for reading; CorruptionError if its footer is damaged."""

    file: Mapping
    id: int
    last_log_seq: int
    path: str
    size_bytes: int
    month: int
    point_count: int
    block_count: int
    series_count: int

    def __init__(self, path: str | PathLike[str], id: int = 0, last_log_seq: int = 0) -> None: ...
    def device_series(self, device: int) -> list[tuple[bytes, int]]: ...
    def device_bounds(self, device: int) -> tuple[int, int] | None: ...
    def devices(self) -> list[int]: ...
    def device_blocks(self, device: int) -> list[tuple[int, int, int]]: ...
    def time_bounds(self) -> tuple[int, int]: ...
    def verify(self) -> None: ...
