"""The shapes that cross the public border: a point, a device, and what a read may ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from tsengine.core.calendar import to_datetime as to_datetime
from tsengine.where import Where

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Value = float | int | bool | str | None
DeviceNumber = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
Order = Literal["asc", "desc"]
DeviceType = Literal["immutable", "mutable"]
Period = Literal["day", "week", "month", "quarter"]


class Location(NamedTuple):
    """A place: degrees, latitude -90..90 and longitude -180..180."""

    lat: float
    lng: float


class Point(msgspec.Struct, omit_defaults=True, kw_only=False):
    """One time, one variable, one value, with optional unit, group, location and metadata.

    Given to `append_many` (every field but `variable` may be absent) and returned by every read.

    Attributes:
        variable: 1 to 100 characters, lowercased when stored, none of `* ? ! < > . - = $` nor a space.
        value: float, int (int64), bool, text of at most 6,144 bytes, or None.
        time: datetime (without a zone it is UTC), int64 microseconds since 1970 UTC, numpy.datetime64 or ISO 8601 text;
            None = now. Reads return an aware UTC datetime.
        unit: at most 25 characters.
        group: at most 100 characters; None = the automatic group that one call shares.
        location: `Location` or (lat, lng); a dict with lat and lng, or GeoJSON, is accepted too.
        metadata: a dict that is JSON, at most 10,240 bytes as such and 100 objects and arrays inside each other.
        id: 24 hex characters, set by reads; ignored by appends.
        created_at: when the store received the point, set by reads; ignored by appends. Immutable devices keep whole seconds.
    """

    variable: str
    value: Value = None
    time: Any = None
    unit: str | None = None
    group: str | None = None
    location: Any = None
    metadata: dict[str, Any] | None = None
    id: str | None = None
    created_at: datetime | None = None


class Tag(msgspec.Struct, frozen=True):
    """A label of a device."""

    key: str
    value: str


class Parameter(msgspec.Struct):
    """A configuration parameter of a device: a key and a text, and whether the device has fetched it."""

    id: str
    key: str
    value: str
    sent: bool = False


NO_DEVICE = 0
"""Device number of a token that belongs to no device; devices count from 1."""


class Token(msgspec.Struct):
    """A secret that lets a device, or a gateway that speaks for every device, speak.

    Attributes:
        token: the secret itself; shown again in listings, as TagoIO does.
        device: number of the device it belongs to; NO_DEVICE: an authorization token, which is good for every device.
        permission: "full", "read" or "write"; read cannot write and write cannot read.
        expire_us: when it ends, microseconds UTC; None = never.
        created_us: when it was made, microseconds UTC.
    """

    token: str
    device: DeviceNumber
    name: str
    permission: Literal["full", "read", "write"] = "full"
    serial: str | None = None
    expire_us: int | None = None
    created_us: int = 0


class Message(msgspec.Struct, frozen=True):
    """What the server says to a device now, on one of its topics; nothing is stored.

    Attributes:
        device: number of the device.
    """

    device: int
    topic: str
    payload: bytes


class DeviceInfo(msgspec.Struct):
    """What the catalog knows of a device.

    Attributes:
        number: the store's own number of the device, never used again after it is deleted.
        id: 24 hex characters.
        chunk_period, chunk_retention: length of a chunk, and how many periods before the current one are kept
            (None = for ever). Immutable devices only.
        chunk_limit, point_limit: most points of one chunk and of the device; None = no limit. For a mutable device
            point_limit is its number of registers.
        created_us, updated_us: microseconds UTC.
        extra: fields that the store keeps for its owner and never reads (JSON values).
    """

    number: DeviceNumber
    id: str
    name: str
    type: DeviceType
    chunk_period: Period | None = None
    chunk_retention: int | None = None
    chunk_limit: int | None = None
    point_limit: int | None = None
    serial: str | None = None
    tags: tuple[Tag, ...] = ()
    active: bool = True
    visible: bool = True
    description: str | None = None
    created_us: int = 0
    updated_us: int = 0
    extra: dict[str, Any] = {}


class Chunk(msgspec.Struct, frozen=True):
    """One period of an immutable device that holds points: `id` is `<from>_<to>` in Unix seconds, `end` is inclusive."""

    id: str
    start: datetime
    end: datetime
    count: int


class Filter(msgspec.Struct, frozen=True):
    """Which points a read or a delete means. None = no condition; several conditions must all hold.

    Attributes:
        variables: any of these names (lowercase).
        groups: any of these groups.
        values: any of these, compared as text (`2` matches the number 2 and the text "2"; `true` matches the boolean).
        ids: any of these sequences (mutable devices only).
        start_us, end_us: inclusive bounds, int64 microseconds.
        having: only points that have a value, or a location.
        units: any of these units.
        where: comparisons with the value.
    """

    variables: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    values: tuple[str, ...] | None = None
    ids: tuple[int, ...] | None = None
    start_us: int | None = None
    end_us: int | None = None
    having: Literal["value", "location"] | None = None
    units: tuple[str, ...] | None = None
    where: Where | None = None
