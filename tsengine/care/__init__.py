"""Care of a store: copies of it, checks of it, and its repair."""
