"""Floor 4: the stores behind the log: catalog, columnar store, register store."""
