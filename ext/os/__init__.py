"""Floor 0: the one place that talks to the operating system's files."""
