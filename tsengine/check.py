"""Verify a store: every checksum and bound, the manifest against the files, secondary keys against rows. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tsengine.errors import TsengineError

if TYPE_CHECKING:
    from tsengine.engine import Engine


class Report(msgspec.Struct):
    """What a check saw.

    Attributes:
        problems: one sentence each; empty = the store is sound.
        segments, points, records: how many segments, points in them, and records of the log were read.
    """

    problems: list[str]
    segments: int = 0
    points: int = 0
    records: int = 0

    @property
    def is_sound(self) -> bool:
        return not self.problems


def check_store(engine: Engine) -> Report:
    """Read everything that is on disk as it is now; the log is not trimmed meanwhile, everything else goes on."""
    report = Report([])
    with engine.columnar.maintenance, engine.columnar.keeping_files():
        for live in engine.columnar.view.segments:
            try:
                segment = live.open()
                segment.verify()
            except TsengineError as error:
                report.problems.append(str(error))
                continue
            report.segments += 1
            report.points += segment.point_count
            if segment.point_count != live.entry.point_count or segment.size_bytes != live.entry.size_bytes:
                report.problems.append(f"{live.path}: the manifest tells of another size or number of points")
        try:
            oldest = min(engine.catalog.applied_seq, engine.registers.applied_seq, engine.columnar.manifest.applied_seq)
            for _ in engine.log.read(oldest + 1):
                report.records += 1
        except TsengineError as error:
            report.problems.append(str(error))
    report.problems += engine.registers.check()
    report.problems += engine.catalog.check()
    return report
