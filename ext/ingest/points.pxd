"""Validated points and whole columns to batches."""
