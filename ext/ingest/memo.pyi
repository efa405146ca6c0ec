class Memo:
    """Texts of cells that were seen, and the first row of each."""
