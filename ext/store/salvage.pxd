"""Verify the blocks of a segment one by one, and copy the good ones; called from Python."""
