"""Limits of the Python floors, each with its unit and the reason for its value.

Sizes that the compiled core shares are in ext/limits.pxd.
"""

REGISTERS_PER_DEVICE = 50_000
"""Registers of one mutable device (TagoIO's hard cap)."""

POINTS_PER_CHUNK = 1_000_000
"""Default points of one chunk of an immutable device (TagoIO)."""

POINTS_PER_DEVICE = 36_000_000
"""Default points of one immutable device (TagoIO)."""

RETENTION_MAX = {"day": 31, "week": 26, "month": 36, "quarter": 36}
"""Most periods a TagoIO device may retain, by chunk period."""

NAME_CHARS_MIN, NAME_CHARS_MAX = 3, 100
"""Length of a device's or a token's name, characters."""

TAGS_PER_DEVICE = 30
PARAMETERS_PER_DEVICE = 60
"""Entries of one device (TagoIO)."""

EDIT_ITEMS = 25
"""Registers of one edit over HTTP (TagoIO)."""

QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX = 15, 10_000
"""Rows of one answer over HTTP."""

BATCH_POINTS = 1_048_576
"""Points of one batch, as in ext/limits.pxd."""

BULK_POINTS = 250_000
"""Points from which a call goes straight into segments: as many as make a segment of some hundred kilobytes."""

BULK_POINTS_PER_DEVICE = 64
"""Points that each device of such a call has on average at least: with fewer, blocks would be too short to be worth a file."""

LOAD_ROWS = 8_388_608
"""Rows of a table that go into one set of segments: 32 to 72 MiB of row numbers beside the table."""

BODY_BYTES = 10 * 1024 * 1024
"""Largest HTTP request body, bytes; `tsengine serve --max-body` changes it."""

HEAD_BYTES = 64 * 1024
"""Largest line and headers of an HTTP request, bytes; neither uvicorn nor its parser has a limit of its own."""

CONNECTIONS = 16_384
"""Most open HTTP connections, as far as the process may open files; an idle one takes some kilobytes."""

STALLED_S = 20
"""How long a client may keep the server waiting in the middle of a request or an answer, seconds."""

IDLE_S = 75
"""How long a connection may be silent between requests: longer than a minute, so that a device that sends once a minute keeps it."""

COLUMN_OBJECTS = 10_000
"""Objects of columns in one body: each costs some microseconds, as much as ten items."""

ARROW_INFLATED_BYTES = 64 * 1024 * 1024
"""What the compressed buffers of an Arrow body may hold together: the columns of a full batch, 1,048,576 points, and their texts."""

TOPIC_BYTES = 1_024
"""Longest MQTT topic or filter, bytes: it becomes metadata of each point, and is kept for each connection."""

MQTT_PACKET_BYTES = 1024 * 1024
"""Largest MQTT packet, bytes; `tsengine serve --mqtt-max-packet` changes it."""

MQTT_CONNECTIONS = 20_000
"""MQTT connections at a time; `tsengine serve --mqtt-connections` changes it."""

MEMORY_MB = 256
"""Default memory for points that are not sealed yet, all devices together, MiB."""

COMPACTION_MB_PER_S = 64
"""Default pace of merges in the background, MiB read and written a second: a small part of what a disk gives, and more than
what a core re-encodes."""

CLOCK_TRUST_S = 600
"""Default time that the wall clock and the monotonic clock must have agreed before anything expired is dropped, seconds."""

DEVICES_IN_MEMORY = 100_000
"""Devices whose counts and description are kept in memory, about 1.3 kB each; of others they are read again when needed."""

FILE_BYTES = 200 * 1024 * 1024
"""Largest file that is uploaded or imported over HTTP, bytes (TagoIO's CSV import); `tsengine serve --max-file` changes it."""

FILES_BYTES = 10 * 1024**3
"""All files of a server together, bytes; `tsengine serve --max-files` changes it."""

UPLOADS, UPLOADS_BYTES, UPLOAD_PARTS = 64, 1024**3, 10_000
"""Open uploads in parts, bytes of all of them, and parts of one (as in S3)."""

UPLOAD_IDLE_S = 86_400
"""Time after which an upload that nothing was added to is given up, seconds."""

COPY_BYTES = 1024 * 1024
"""Bytes of a file that are in memory at a time while it is copied, sent or received."""

IMPORT_ROWS = 1_000_000
"""Rows of a CSV file that is imported over HTTP (TagoIO)."""

JOBS_WAITING, JOBS_KEPT = 100, 200
"""Jobs of a server that wait, and finished ones whose outcome is kept."""
