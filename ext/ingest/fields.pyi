def to_time_us(time: object) -> int:
    """Return int64 microseconds of a datetime (without a zone it is UTC), int microseconds, numpy.datetime64 or ISO text."""
