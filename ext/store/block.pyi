class BlockEncoder:
    """Encodes one block after another into its own buffer; used from compiled code only."""
