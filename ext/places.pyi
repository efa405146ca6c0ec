"""Where the objects of a Struct type have their fields."""

class Places:
    """Where the objects of one type have the fields of these names, at most ten; `kind` is None if one is missing or computed."""

    kind: type | None

    def __init__(self, kind: type, names: tuple[str, ...]) -> None: ...
