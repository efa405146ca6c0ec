"""Notices to the log of the program that embeds the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger


def logger(name: str) -> Logger:
    """Return the logger of a module; logging is imported with the first notice, which most processes never have."""
    from logging import getLogger  # takes as long as the opening of a store

    return getLogger(name)
