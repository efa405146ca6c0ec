def cells(data: bytes, is_packed: bool) -> list[tuple[int, bytes]] | None:
    """Return kind and bytes of each cell of a JSON or MessagePack array, None where it is malformed."""
