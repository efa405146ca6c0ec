"""Arrow streams: what is accepted are the rows that pyarrow shows, and has no more compressed bytes than it claims."""

from __future__ import annotations

from tsengine import arrow, arrow_sizes

MODULES = (arrow, arrow_sizes)
NOW_US = 1_795_262_400_000_000
