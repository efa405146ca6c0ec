"""HTTP itself: connections with limits, the fast lane, bodies, and the log of requests."""
