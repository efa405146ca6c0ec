"""Floor 3: blocks, memtables and segments."""
