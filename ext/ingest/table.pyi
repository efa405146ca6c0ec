from typing import Any

class Column:
    """One column in the caller's memory; see the source for the cells."""

    def __init__(self, data: Any, valid: Any = None, first: int = 0, texts: list[Any] | None = None, is_constant: bool = False) -> None: ...

class Table:
    """Whole columns of points, checked; InputError names the column and the row."""

    count: int
    received_us: int
    part_count: int

    def __init__(
        self,
        received_us: int,
        time: Column,
        variable: Column,
        *,
        count: int,
        number: Column | None = None,
        number_kind: int = ...,
        integer: Column | None = None,
        boolean: Column | None = None,
        text: Column | None = None,
        unit: Column | None = None,
        group: Column | None = None,
        metadata: Column | None = None,
        lat: Column | None = None,
        lng: Column | None = None,
        device: Column | None = None,
    ) -> None: ...
    def __len__(self) -> int: ...
    def devices(self) -> list[str | None]:
        """Return the text of each code of the device column, None where no row uses it."""

    def assign(self, numbers: list[int | None]) -> None:
        """Say which device each code is, by number; rows of one device become one part."""

    def part_device(self, part: int) -> int: ...
    def part_size(self, part: int) -> int: ...
    def time_bounds(self, part: int) -> tuple[int, int]: ...
    def period_counts(self, part: int, period: str | None) -> dict[int, int]: ...
    def months(self) -> list[int]: ...
