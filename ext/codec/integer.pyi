"""Blocks of int64 values to bytes and back. Nothing of it is visible to Python; see doors.pyx."""
