"""The engine: the log it writes to, its writes, its fleet of devices, and what runs in the background."""
