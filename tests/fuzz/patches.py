"""Inputs that are changes to a file which is too large to be one: each a page, a place in it, a length, and the bytes that go there."""

from __future__ import annotations

import struct

HEAD = struct.Struct("<BHB")
PAGE_BYTES = 4096
PATCH_BYTES = 16
PATCHES_MAX = 32


def patched(base: bytes, data: bytes) -> bytes:
    """Return a file with the changes that an input is; what is cut short is left out."""
    changed = bytearray(base)
    at = 0
    for _ in range(PATCHES_MAX):
        if at + HEAD.size > len(data):
            break
        page, offset, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        new = data[at : at + length % PATCH_BYTES + 1]
        at += len(new)
        place = page % (len(base) // PAGE_BYTES) * PAGE_BYTES + offset % (PAGE_BYTES - PATCH_BYTES)
        changed[place : place + len(new)] = new
    return bytes(changed)


def patch(place: int, new: bytes) -> bytes:
    """Return the input that changes bytes at one place."""
    return HEAD.pack(place // PAGE_BYTES, place % PAGE_BYTES, len(new) - 1) + new
