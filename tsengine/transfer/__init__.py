"""Points in and out of files: CSV, JSON lines, Parquet and Arrow; streaming, exact both ways, resumable on the way in.

What an export writes is read back bit for bit: the kind of each value is written down (`type` in CSV and JSON lines, one
column for each kind in Parquet and Arrow). The formats are described in docs/cli.md.
"""

from tsengine.transfer.cells import BadRow, Format, format_of
from tsengine.transfer.exporting import export_points
from tsengine.transfer.importing import Import, check_import
from tsengine.transfer.tagoio import export_tagoio

__all__ = ["BadRow", "Format", "Import", "check_import", "export_points", "export_tagoio", "format_of"]
