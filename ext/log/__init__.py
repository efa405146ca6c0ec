"""Floor 2: the write-ahead log."""
