"""Statistics of one block. Nothing of it is visible to Python."""
