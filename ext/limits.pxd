# Sizes that the file formats and the compiled core agree on. Each says its unit and its reason.

cdef enum:
    # Points in one block. A power of two so that packed lanes fill whole words; 1,024 keeps a decoded block in L1.
    BLOCK_POINTS = 1024

    # Text of one value, UTF-8 bytes (TagoIO: "max 6kB").
    TEXT_VALUE_BYTES = 6144
    # Name of a variable, characters; all of them ASCII or other letters, so at most 4 bytes each.
    VARIABLE_CHARS = 100
    UNIT_CHARS = 25
    GROUP_CHARS = 100
    # Metadata of one point as JSON, bytes (TagoIO: "10 kB").
    METADATA_BYTES = 10240

    # Points of one batch. A batch is one record of the log and is applied whole, so it has to fit in memory several times.
    BATCH_POINTS = 1048576
    # Bytes of one batch (one record of the log).
    BATCH_BYTES = 268435456

# The kind of a value. Stored in batches and segments: never renumber.
cdef enum:
    KIND_NONE = 0       # a point without a value (a location alone, for example)
    KIND_NUMBER = 1     # float64
    KIND_INTEGER = 2    # int64
    KIND_BOOLEAN = 3
    KIND_TEXT = 4
    KIND_COUNT = 5

# The form of a group. Stored in batches and segments: never renumber.
cdef enum:
    GROUP_AUTO = 0      # derived: the sequence of the request's first point
    GROUP_HEX = 1       # 24 lowercase hexadecimal characters, kept as 12 bytes
    GROUP_TEXT = 2      # anything else

# A location is absent where the latitude is NaN.
