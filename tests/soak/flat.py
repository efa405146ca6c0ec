"""Whether a line is flat: what it holds in the end is not above what it held before, but for some slack."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

SLACK_SHARE = 0.15


def grows(values: Sequence[float], slack: float) -> float:
    """Return by how much the median of the last quarter is above that of the first, if that is more than 15 % and the slack; else 0.

    Medians, because a seal, a merge or a backup makes a line jump for a moment.
    """
    part = max(1, len(values) // 4)
    first, last = median(values[:part]), median(values[-part:])
    return last - first if last - first > max(slack, SLACK_SHARE * first) else 0.0
