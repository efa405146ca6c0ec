"""Bodies as devices send them, to points and records."""
