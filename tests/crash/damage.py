"""Damage to one file of a closed store: what a bad disk, a bad copy or a bad hand may do to it."""

from __future__ import annotations

import os
import random
from pathlib import Path

PAGE_BYTES = 4096
KINDS = ("bit", "page", "cut", "removed", "swapped", "longer")


def files_of(folder: Path) -> dict[str, list[Path]]:
    """Files that hold something, by what they are."""
    found = {
        "log": sorted((folder / "wal").glob("*.wal")),
        "segment": sorted((folder / "segments").glob("*.seg")),
        "environment": sorted(folder.glob("*/data.mdb")),
        "rest": sorted([*folder.glob("*/lock.mdb"), *(folder / "wal").glob("*.spare"), folder / "lock", folder / "reserve"]),
    }
    return {kind: [path for path in paths if path.exists()] for kind, paths in found.items() if paths}


def damage(folder: Path, dice: random.Random) -> str:
    """Do one thing to one file; return what, for a message."""
    files = files_of(folder)
    group = dice.choice(list(files))
    path = dice.choice(files[group])
    kind = dice.choice(KINDS)
    size = path.stat().st_size
    if size == 0:
        kind = "longer"
    what = f"{kind} of {path.relative_to(folder)}"
    data = bytearray(path.read_bytes()) if kind in ("bit", "page") else bytearray()
    match kind:
        case "bit":
            place = dice.randrange(size)
            data[place] ^= 1 << dice.randrange(8)
            what += f" at {place} of {size}"
        case "page":
            place = dice.randrange(size) // PAGE_BYTES * PAGE_BYTES
            end = min(size, place + PAGE_BYTES)
            data[place:end] = bytes(end - place)
            what += f" at {place} of {size}"
        case "cut":
            length = dice.choice((0, dice.randrange(size), size - 1, size // PAGE_BYTES // 2 * PAGE_BYTES))
            os.truncate(path, length)
            what += f" to {length} of {size}"
        case "removed":
            path.unlink()
        case "swapped":
            others = [other for other in files[group] if other != path]
            if not others:
                return damage(folder, dice)
            other = dice.choice(others)
            third = path.with_name("third")
            path.rename(third)
            other.rename(path)
            third.rename(other)
            what += f" with {other.relative_to(folder)}"
        case "longer":
            with path.open("ab") as file:
                file.write(dice.randbytes(dice.randrange(1, 5000)))
    if kind in ("bit", "page"):
        path.write_bytes(data)
    return what
