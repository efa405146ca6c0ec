"""Identifiers: how a point's id and an automatic group are derived from (device number, sequence), and random ids.

A point's id is 24 hex characters: 8 for the device's number and 16 for the point's sequence. An automatic group has the
same form with the top bit of the sequence set, so the two never meet. Neither is stored.
"""

import os
import struct
import time
import uuid
from binascii import unhexlify

GROUP_MARK = 1 << 63
_POINT = struct.Struct(">IQ")

AUTHORIZATION_PREFIX = "at"
"""What the text of an authorization token begins with; 32 hexadecimal digits follow."""


def point_id(device: int, sequence: int) -> str:
    """Return the 24-hex id of one point."""
    return f"{device:08x}{sequence:016x}"


def group_id(device: int, first_sequence: int) -> str:
    """Return the 24-hex automatic group of the request whose first point has this sequence."""
    return f"{device:08x}{first_sequence | GROUP_MARK:016x}"


def parse_point_id(text: str) -> tuple[int, int] | None:
    """Return (device, sequence) of a point's id, or None when the text cannot be one."""
    try:
        device, sequence = _POINT.unpack(unhexlify(text))
    except (ValueError, struct.error):
        return None
    return (device, sequence) if sequence < GROUP_MARK else None


def new_id() -> str:
    """Return a fresh 24-hex id for a device or a parameter: seconds, then 8 random bytes."""
    return f"{int(time.time()) & 0xFFFFFFFF:08x}{os.urandom(8).hex()}"


def new_token() -> str:
    """Return a fresh secret: a random UUID, 122 random bits."""
    return str(uuid.uuid4())


def new_authorization() -> str:
    """Return a fresh authorization token: `at` and 32 hexadecimal digits, 128 random bits."""
    return f"{AUTHORIZATION_PREFIX}{os.urandom(16).hex()}"
