"""Floor 3: validated points to batches."""
