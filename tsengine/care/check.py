"""Verify a store: every checksum and bound, the manifest against the files, keys against what they lead to. Changes nothing.

`check_store` looks at an open store while writes go on. `check_folder` looks at a closed one, also one that does not open: it
reads the pages of the LMDB files before it trusts LMDB with them, and finds all that is wrong, not the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tsengine import commands
from tsengine.core.log.recovery import SUFFIX as LOG_SUFFIX
from tsengine.core.log.recovery import Recovery, list_files
from tsengine.core.os.lmdb_pages import check_pages
from tsengine.core.store.salvage import salvage
from tsengine.core.store.segment import Segment
from tsengine.errors import ClosedError, CorruptionError, TsengineError
from tsengine.store.catalog import Catalog
from tsengine.store.columnar import OWN_NAME, SUFFIX
from tsengine.store.compaction import Progress
from tsengine.store.lockfile import LockFile
from tsengine.store.manifest import Manifest, SegmentEntry, entry_of
from tsengine.store.registers import Registers
from tsengine.store.unfinished import UNFINISHED_NAME, refuse_missing_log
from tsengine.types import to_datetime

if TYPE_CHECKING:
    from tsengine.engine.engine import Engine


class Report(msgspec.Struct):
    """What a check saw.

    Attributes:
        problems: one sentence each; empty = the store is sound.
        notes: what is no problem but may be good to know: leftovers of a crash, which the next open removes.
        segments, points, registers, records: how many segments, points in them, registers, and records of the log were read.
    """

    problems: list[str]
    notes: list[str] = []
    segments: int = 0
    points: int = 0
    registers: int = 0
    records: int = 0

    @property
    def is_sound(self) -> bool:
        return not self.problems


class Stores(NamedTuple):
    """The LMDB environments of a closed store; None = missing, or too damaged to be opened."""

    catalog: Catalog | None
    registers: Registers | None
    manifest: Manifest | None

    @property
    def applied(self) -> list[int]:
        """The applied sequence of each that is open."""
        return [store.applied_seq for store in self if store is not None]


def check_store(engine: Engine, progress: Progress | None = None) -> Report:
    """Read everything that an open store has on disk while writes and reads go on."""
    report = Report([])
    with engine.columnar.keeping_files():
        live = engine.columnar.view.segments
        check_segments([segment.entry for segment in live], engine.columnar.path_of, report, progress)
    with engine.columnar.maintenance:  # nothing may be trimmed meanwhile
        try:
            oldest = min(engine.catalog.applied_seq, engine.registers.applied_seq, engine.columnar.manifest.applied_seq)
            for _ in engine.log.read(oldest + 1):
                report.records += 1
        except ClosedError:  # meanwhile: that is no problem of the store
            raise
        except TsengineError as error:
            report.problems.append(text_of(error))
    with engine.holding_catalog():
        check_keys(Stores(engine.catalog, engine.registers, engine.columnar.manifest), report)
    return report


def check_folder(path: Path, progress: Progress | None = None) -> Report:
    """Read everything of a closed store.

    Raises:
        BusyError: it is open. StorageError: no access.
    """
    lock = LockFile(path / "lock")
    try:
        return check_closed(path, progress)
    finally:
        lock.close()


def check_closed(path: Path, progress: Progress | None = None) -> Report:
    """Read everything of a store whose lock the caller holds."""
    report = Report([])
    if (path / UNFINISHED_NAME).exists():
        report.problems.append(f"{path / UNFINISHED_NAME}: {(path / UNFINISHED_NAME).read_text(errors='replace').strip()}")
    with ExitStack() as opened:
        stores = open_stores(path, report.problems, opened)
        if stores.manifest is not None:
            try:
                entries = stores.manifest.segments()
            except TsengineError as error:
                report.problems.append(text_of(error))
            else:
                check_segments(entries, lambda id: segment_path(path, id), report, progress)
                report.notes += [f"{left} is not in the manifest" for left in leftovers(path, entries)]
        check_keys(stores, report)
        check_log(path, stores, report)
    return report


def open_stores(path: Path, problems: list[str], opened: ExitStack) -> Stores:
    """Open the environments of a closed store whose pages are in order; say why the others are not."""

    def open_one(name: str, kind: type[Catalog] | type[Registers] | type[Manifest]) -> Catalog | Registers | Manifest | None:
        file = path / name / "data.mdb"
        found = check_pages(file) if file.exists() else [f"{file} is missing"]
        problems.extend(found)
        if found:
            return None
        try:
            store = kind(path / name)
        except TsengineError as error:
            problems.append(text_of(error))
            return None
        opened.callback(store.close)
        return store

    catalog, registers, manifest = (open_one("catalog", Catalog), open_one("registers", Registers), open_one("manifest", Manifest))
    assert not isinstance(catalog, Registers | Manifest)
    assert not isinstance(registers, Catalog | Manifest)
    assert not isinstance(manifest, Catalog | Registers)
    return Stores(catalog, registers, manifest)


def check_segments(entries: list[SegmentEntry], path_of: Callable[[int], Path], report: Report, progress: Progress | None) -> None:
    """Decode every block of the segments, and compare each with what the manifest says of it."""
    total = sum(entry.point_count for entry in entries)
    done = 0

    def count(points: int) -> None:
        nonlocal done
        done += points
        if progress is not None:
            progress(min(done, total), total)

    for entry in entries:
        path = path_of(entry.id)
        if not path.exists():
            report.problems.append(f"{path} is missing; {text_of_entry(entry)}")
            continue
        try:
            segment = Segment(path, entry.id, entry.last_log_seq)
        except TsengineError as error:
            report.problems.append(f"{text_of(error)}; {text_of_entry(entry)}")
            continue
        for device, variable, first_us, last_us, points, damage in salvage(segment, None, count):
            report.problems.append(f"{text_of(damage)}; {text_of_block(device, variable, first_us, last_us, points)}")
        report.segments += 1
        report.points += segment.point_count
        if entry_of(segment, entry.id, entry.first_log_seq, entry.last_log_seq, entry.tier) != entry:
            report.problems.append(f"{path}: the manifest tells of another size, number of points, devices or times")


def leftovers(path: Path, entries: Iterable[SegmentEntry]) -> list[Path]:
    """Return the segment files of a closed store that its manifest does not list."""
    folder = path / "segments"
    live = {segment_path(path, entry.id).name for entry in entries}
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in found if OWN_NAME.fullmatch(file.name) and file.name not in live)


def check_keys(stores: Stores, report: Report) -> None:
    """Verify each environment by itself, then that what belongs to a device belongs to one that exists."""
    devices: set[int] | None = None
    try:
        if stores.registers is not None:
            report.problems += stores.registers.check()
        if stores.catalog is not None:
            report.problems += stores.catalog.check()
            devices = {info.number for info in stores.catalog.devices(order="number")}
        if stores.registers is not None:
            counts = stores.registers.devices()
            report.registers = sum(counts.values())
            report.problems += strays(stores, stores.registers, devices, counts, "registers")
        if stores.manifest is not None:
            report.problems += strays(stores, stores.manifest, devices, stores.manifest.next_sequences(), "a next sequence")
            stores.manifest.tombstones()
            newest = max((entry.id for entry in stores.manifest.segments()), default=0)
            if newest >= stores.manifest.next_segment_id:
                report.problems.append(f"the next segment's number, {stores.manifest.next_segment_id}, is taken")
    except ClosedError:
        raise
    except TsengineError as error:
        report.problems.append(text_of(error))


def strays(stores: Stores, store: Registers | Manifest, devices: set[int] | None, found: Iterable[int], what: str) -> Iterator[str]:
    """Yield the devices that a store knows and the catalog does not, unless a delete is still on its way to the store."""
    if devices is not None and stores.catalog is not None and store.applied_seq >= stores.catalog.applied_seq:
        yield from (f"device {device} has {what}, but is not in the catalog" for device in sorted(set(found) - devices))


def check_log(path: Path, stores: Stores, report: Report) -> None:
    """Read the log of a closed store as far as some store needs it."""
    folder = path / "wal"
    files = list_files(str(folder), LOG_SUFFIX) if folder.is_dir() else []
    if not files:
        if stores.catalog is not None:
            try:
                refuse_missing_log(folder, stores.catalog.log_reach)
            except CorruptionError as error:
                report.problems.append(text_of(error))
        return
    applied = min(stores.applied) if None not in stores else files[0][0] - 1

    def count(first_seq: int, records: list[bytes]) -> None:
        report.records += len(records)
        for record in records:
            if record[:1] == bytes((commands.RECORD_COMMAND,)):
                commands.decode(record)

    try:
        recovery = Recovery(str(folder), applied, False, count, (stores.catalog.log_reach or 0) if stores.catalog is not None else 0)
        recovery.run(cut=False)
    except TsengineError as error:
        report.problems.append(text_of(error))
        return
    if recovery.torn_bytes:
        report.notes.append(f"the log ends with {recovery.torn_bytes} bytes of a write that did not finish; nobody was told that it had")


def segment_path(path: Path, id: int) -> Path:
    return path / "segments" / f"{id:016x}{SUFFIX}"


def text_of(error: TsengineError) -> str:
    """Return an error's text without the advice to run what is running."""
    return str(error).removesuffix("; run `tsengine check` on the store")


def text_of_entry(entry: SegmentEntry) -> str:
    """Return what the manifest knows of a segment's content."""
    first, last = entry.first_device, entry.last_device
    devices = f"device {first}" if first == last else f"devices {first} to {last}"
    return f"{entry.point_count:,} points of {devices} from {time_of(entry.first_us)} to {time_of(entry.last_us)}"


def text_of_block(device: int, variable: bytes, first_us: int, last_us: int, points: int) -> str:
    """Return which points a damaged block held."""
    name = variable.decode("utf-8", "replace")
    return f"{points:,} points of device {device}, variable {name!r}, from {time_of(first_us)} to {time_of(last_us)}"


def time_of(time_us: int) -> str:
    return to_datetime(time_us).isoformat().replace("+00:00", "Z")
