class Condition:
    """Args:
    device: number of the device whose points are read.
    numbers: (low, high, accepts NaN, any of these or None, none of these): inclusive bounds; None = no number counts.
    integers: (low, high, any of these or None, none of these).
    booleans: which of them count.
    texts: (any of these or None, none of these).
    tests_value: whether the four above are asked for at all; without it points without a value count, too.
    groups, units: any of these; has_location: only points with one.
    """

    want: int

    def __init__(
        self,
        device: int = 0,
        *,
        tests_value: bool = False,
        numbers: tuple[float, float, bool, frozenset[float] | None, frozenset[float]] | None = None,
        integers: tuple[int, int, frozenset[int] | None, frozenset[int]] | None = None,
        booleans: tuple[bool, ...] = (),
        texts: tuple[frozenset[str] | None, frozenset[str]] | None = None,
        groups: frozenset[str] | None = None,
        units: frozenset[str] | None = None,
        has_location: bool = False,
    ) -> None: ...
