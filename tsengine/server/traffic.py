"""What the server has answered so far: requests, points and bytes as plain numbers, which /metrics reads when it is asked.

One `Traffic` a server, written by the event loop alone. Noting a request costs about a microsecond; it makes no object but the first time
that a route gives a status.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram's buckets, seconds: half of a commit on a fast disk to the longest wait for room."""

OTHER_ROUTE = "other"
"""The route of a request that has none. Only known paths and methods get numbers of their own, or clients could make any number of them."""

METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"))


class Tally:
    """The requests of one route, method and status: `counts[i]` took at most BOUNDS_S[i] and more than the bound before."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.seconds = 0.0


class Traffic:
    """The numbers of one server.

    Attributes:
        tallies: by (route, method, status).
        errors: refused requests by kind: the class of the engine's error, or the name of the status.
        points: stored by requests and publishes of any form.
        mqtt_connections: open now.
        received_bytes: bodies that points came in, before they are inflated. sent_bytes: bodies of answers.
    """

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str, int], Tally] = {}
        self.errors: Counter[str] = Counter()
        self.points = 0
        self.mqtt_connections = 0
        self.received_bytes = 0
        self.sent_bytes = 0

    def add(self, route: str, method: str, status: int, seconds: float, sent_bytes: int) -> None:
        """Note an answered request."""
        tally = self.tallies.get((route, method, status))
        if tally is None:
            key = (route, method if method in METHODS else "other", status)
            tally = self.tallies.setdefault(key, Tally())
        tally.counts[bisect_left(BOUNDS_S, seconds)] += 1
        tally.seconds += seconds
        self.sent_bytes += sent_bytes
