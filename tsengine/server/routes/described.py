"""The shapes that only the description knows: data items as they may be sent, and the fields of answers that are built as dicts.

Requests are not decoded with these; the tests hold every answer of a real server against them. A field that may be left out is Unset.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tsengine.limits import QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX
from tsengine.server.routes.queries import FUNCTIONS, INTERVALS, ORDERS, QUERIES
from tsengine.server.routing import Query
from tsengine.types import Parameter, Tag

Id = Annotated[str, Meta(pattern="^[0-9a-f]{24}$", description="24 hexadecimal digits")]
Instant = Annotated[str, Meta(description="UTC with milliseconds, 2026-11-21T02:00:00.000Z", examples=["2026-11-21T02:00:00.000Z"])]
Value = str | float | bool


class DataItem(msgspec.Struct, omit_defaults=True):
    """One point as it is sent. Unknown fields are ignored, null counts as absent."""

    variable: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^*?!<>.\-=$\s\x00-\x1f\x7f]+$", examples=["temperature"])]
    value: Annotated[Value | None, Meta(description="Text of at most 6144 bytes", examples=[21.5])] = None
    unit: Annotated[str, Meta(max_length=25, examples=["C"])] | None = None
    group: Annotated[str, Meta(max_length=100)] | None = None
    serie: Annotated[str | float | None, Meta(description="Old name of group")] = None
    time: Annotated[str | float | None, Meta(description="ISO 8601, or Unix milliseconds; absent = now")] = None
    location: dict[str, Any] | None = None
    metadata: Annotated[dict[str, Any] | None, Meta(description="At most 10240 bytes as JSON, 100 levels")] = None


class Account(msgspec.Struct, forbid_unknown_fields=True):
    """The account, as GET /info shows it."""

    name: str
    type: Literal["profile"]
    permission: Literal["full"]
    expire_time: str
    ref_id: Id
    created_at: None


class Gateway(msgspec.Struct, forbid_unknown_fields=True):
    """An authorization token, as GET /info shows it."""

    name: str
    type: Literal["network"]
    permission: Literal["full", "read", "write"]
    expire_time: str
    ref_id: Id
    created_at: Instant


class Bucket(msgspec.Struct, forbid_unknown_fields=True):
    """Where a device's data lies: the device itself, under another name."""

    id: Id
    name: str


class DeviceRow(msgspec.Struct, forbid_unknown_fields=True):
    """A device; a list shows the fields that were asked for."""

    id: Id | UnsetType = UNSET
    profile: Id | UnsetType = UNSET
    bucket: Bucket | Id | UnsetType = UNSET
    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    type: Literal["mutable", "immutable"] | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    visible: bool | UnsetType = UNSET
    serie_number: str | UnsetType | None = UNSET
    tags: list[Tag] | UnsetType = UNSET
    connector: str | UnsetType | None = UNSET
    network: str | UnsetType | None = UNSET
    connector_parse: bool | UnsetType = UNSET
    payload_decoder: str | UnsetType | None = UNSET
    created_at: Instant | UnsetType | None = UNSET
    updated_at: Instant | UnsetType | None = UNSET
    last_input: Instant | UnsetType | None = UNSET
    last_output: Instant | UnsetType | None = UNSET
    inspected_at: Instant | UnsetType | None = UNSET
    last_retention: Instant | UnsetType | None = UNSET
    rpm: float | UnsetType | None = UNSET
    data_retention: str | UnsetType = UNSET
    chunk_period: Literal["day", "week", "month", "quarter"] | UnsetType | None = UNSET
    chunk_retention: int | UnsetType | None = UNSET
    configuration_params: list[Parameter] | UnsetType = UNSET


class CreatedDevice(msgspec.Struct, forbid_unknown_fields=True):
    """A new device, and its token named Default."""

    device_id: Id
    bucket_id: Id
    token: str


class CreatedToken(msgspec.Struct, forbid_unknown_fields=True):
    """A new token of a device."""

    token: str
    permission: Literal["full", "read", "write"]
    expire_time: str
    expire_date: str


class CreatedAuthorization(msgspec.Struct, forbid_unknown_fields=True):
    """A new authorization token."""

    name: str
    token: str
    permission: Literal["full", "read", "write"]
    expire_time: str
    expire_date: str


class TokenRow(msgspec.Struct, forbid_unknown_fields=True):
    """A token in a list, with the fields that were asked for."""

    token: str | UnsetType = UNSET
    device_id: Id | UnsetType = UNSET
    network_id: str | UnsetType | None = UNSET
    name: str | UnsetType = UNSET
    permission: Literal["full", "read", "write"] | UnsetType = UNSET
    serie_number: str | UnsetType | None = UNSET
    last_authorization: Instant | UnsetType | None = UNSET
    expire_time: str | UnsetType = UNSET
    created_at: Instant | UnsetType | None = UNSET


class FileRow(msgspec.Struct, forbid_unknown_fields=True):
    """A file in a list: its name within the folder, and bytes."""

    filename: str
    size: int
    last_modified: Instant
    is_public: bool


class FileList(msgspec.Struct, forbid_unknown_fields=True):
    """A page of a folder; usage and total are megabytes of all files."""

    files: list[FileRow]
    folders: list[str]
    usage: float
    total: float
    pagination_token: str | UnsetType = UNSET


class Scheduled(msgspec.Struct, forbid_unknown_fields=True):
    """An export that was queued as a job."""

    file_address: str
    status: Literal["scheduled"]
    job: Id
    chunk_id: str | UnsetType = UNSET


class JobRow(msgspec.Struct, forbid_unknown_fields=True):
    """An export or import; `rows` are points written or stored so far, `message` says why it failed."""

    id: Id
    type: Literal["backup", "restore"]
    state: Literal["queued", "running", "done", "failed"]
    message: str
    rows: int
    file_address: str
    chunk_id: str | None
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class StatisticsRow(msgspec.Struct, forbid_unknown_fields=True):
    """Points of the month so far, at the end of an hour, day or month."""

    time: Instant
    device_input: int
    device_output: int


class ChunkRow(msgspec.Struct, forbid_unknown_fields=True):
    """One period of an immutable device that holds points; `to` is inclusive."""

    amount: int
    id: Annotated[str, Meta(pattern="^-?[0-9]+_-?[0-9]+$", description="From and to in Unix seconds")]
    from_: str = msgspec.field(name="from")
    to: str


Name = Annotated[str, Meta(max_length=100)]
Whole = Annotated[int, Meta(ge=0, le=QUERY_ROWS_MAX)]

RANGE = (
    Query("variables", list[str], "Only these variables; with it, qty and skip count for each variable"),
    Query("groups", list[str], "Only these groups"),
    Query("values", list[str], "Only these values, compared as text"),
    Query("ids", list[str], "Only these ids; mutable devices"),
    Query("start_date", str, "Not before this: a date, or a span such as `1 day` before now"),
    Query("end_date", str, "Not after this, likewise"),
    Query("timezone", str, "IANA zone of dates without one; UTC when absent"),
    Query("qty", Whole, f"Rows, {QUERY_ROWS_DEFAULT} when absent"),
    Query("skip", Annotated[int, Meta(ge=0, le=2**53)], "Rows to leave out first"),
    Query("ordination", Literal[tuple(ORDERS)], "Order by time; descending when absent"),
)
"""Which points a query means."""

READ = (
    Query("query", Literal[tuple(QUERIES)], "What is asked; rows when absent"),
    *RANGE,
    Query("details", bool, "Rows show created_at, too"),
    Query("interval", Literal[tuple(INTERVALS)], "Width of a bucket, for query=aggregate"),
    Query("function", Literal[FUNCTIONS["aggregate"] + FUNCTIONS["conditional"]], "For query=aggregate and query=conditional"),
    Query("value", str, "The number compared with, for query=conditional; otherwise as values"),
)
"""Everything that GET on data understands."""

PAGE = (
    Query("page", Annotated[int, Meta(ge=1, le=10**9)], "1 when absent"),
    Query("amount", Whole, "Rows of a page, 20 when absent"),
    Query("fields", list[str], "Fields to show"),
    Query("orderBy", str, "A field, then `,asc` or `,desc`"),
)
"""Pages of lists."""

SENT = (Query("sent_status", bool, "Only parameters that were (not) fetched by the device"),)

LISTED_DEVICES = (
    *PAGE,
    Query("serial", str, "Only the device with this serial number"),
    Query("filter[id]", Id, "Only the device with this id"),
    Query("filter[name]", str, "Only devices of this name; `*` stands for any text"),
    Query("filter[type]", Literal["mutable", "immutable"], "Only devices of this type"),
    Query("filter[active]", bool, "Only devices that are (not) active"),
    Query("filter[visible]", bool, "Only devices that are (not) visible"),
    Query("filter[tags][0][key]", str, "Only devices with such a tag"),
    Query("filter[tags][0][value]", str, "The value of that tag"),
    Query("filter[last_input]", str, "Only devices that sent since this date or span"),
    Query("filter[created_at]", str, "Only devices made since then"),
    Query("filter[updated_at]", str, "Only devices edited since then"),
)
