"""Bring a damaged, closed store back to where it opens and everything in it is whole, and say what that cost.

What can be proved is kept: records of the log and blocks of segments whose checksums hold, and rows, from which keys are made
again. The rest is told line by line. Nothing is destroyed: every original goes to `damaged/TIME/` in the store first.

Order: the keys of catalog and registers, then segments, then the log. Each step may be interrupted; the next repair goes on.
While the log is exchanged, the store is marked as unfinished, so that nobody opens it without one.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from tsengine import commands
from tsengine.care.backup import write_mark
from tsengine.care.check import (
    Report,
    Stores,
    check_closed,
    leftovers,
    open_stores,
    segment_path,
    text_of,
    text_of_block,
    text_of_entry,
    time_of,
)
from tsengine.care.log_salvage import Salvage, find_records, payloads, write_log
from tsengine.clock import ManualClock, SystemClock
from tsengine.core import batch
from tsengine.core.log.recovery import SUFFIX, Recovery, list_files
from tsengine.core.os.file import close_file, open_file, remove_file, rename_file, sync_file, sync_folder
from tsengine.core.store.salvage import salvage
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.errors import CorruptionError, StorageError
from tsengine.store.catalog import Catalog
from tsengine.store.compaction import Progress
from tsengine.store.environment import make_folder
from tsengine.store.lockfile import LockFile
from tsengine.store.manifest import Manifest, SegmentEntry, entry_of
from tsengine.store.registers import Registers
from tsengine.store.unfinished import UNFINISHED_NAME
from tsengine.types import to_datetime

MARK = "a repair was interrupted; run `tsengine check --repair` again"


class Action(msgspec.Struct, omit_defaults=True):
    """One thing that was done or found.

    Attributes:
        action: "repaired": made whole again. "kept": an original is in `damaged/` now. "lost": could not be saved.
            "left": not repaired.
        text: says it in words.
        device, variable, start, end, points: what was lost of a segment, where that is known.
    """

    action: Literal["repaired", "kept", "lost", "left"]
    text: str
    device: int | None = None
    variable: str | None = None
    start: str | None = None
    end: str | None = None
    points: int | None = None


class Repair(msgspec.Struct):
    """What a repair did, and a check of the store after it."""

    actions: list[Action]
    check: Report


def repair_folder(path: Path, progress: Progress | None = None, clock: SystemClock | ManualClock | None = None) -> Repair:
    """Repair a closed store; a sound one is not touched.

    Raises:
        BusyError: it is open. StorageFullError, StorageError: the repair is unfinished; run it again.
    Durability: on disk on return.
    """
    lock = LockFile(path / "lock")
    try:
        stamp = to_datetime((clock or SystemClock()).now_us()).strftime("%Y%m%dT%H%M%SZ")
        aside = path / "damaged" / stamp
        while aside.exists():
            aside = aside.with_name(f"{aside.name}+")
        repairer = _Repairer(path, aside)
        repairer.run()
        return Repair(repairer.actions, check_closed(path, progress))
    finally:
        lock.close()


class _Repairer:
    def __init__(self, path: Path, aside: Path) -> None:
        self.actions: list[Action] = []
        self._path = path
        self._aside = aside

    def run(self) -> None:
        mark = self._path / UNFINISHED_NAME
        if mark.exists() and mark.read_text(errors="replace").strip() != MARK:
            self._say("left", f"{self._path} is not repaired: {mark.read_text(errors='replace').strip()}")
            return
        if mark.exists():
            self._finish_exchange()
        problems: list[str] = []
        with ExitStack() as opened:
            stores = open_stores(self._path, problems, opened)
            for problem in problems:
                self._say("left", f"{problem}; restore a backup")
            if stores.catalog is not None:
                self._rebuild(stores.catalog, "catalog")
            if stores.registers is not None:
                self._rebuild(stores.registers, "registers")
            if stores.manifest is not None:
                self._repair_segments(stores.manifest)
            if stores.catalog is not None and stores.registers is not None and stores.manifest is not None:
                self._repair_log(stores, stores.catalog)

    # --- keys --------------------------------------------------------------------------------------------------------

    def _rebuild(self, store: Catalog | Registers, name: str) -> None:
        try:
            problems = store.check()
        except CorruptionError as error:
            problems = [text_of(error)]
        if not problems:
            return
        copy = self._room(name)
        store.copy(copy)
        self._say("kept", f"a copy of the {name} as they were is in {copy}")
        lost = store.rebuild()
        for text in lost:
            self._say("lost", f"{name}: {text}")
        self._say("repaired", f"the keys of the {name} were made again: {'; '.join(problems)}")

    # --- segments ----------------------------------------------------------------------------------------------------

    def _repair_segments(self, manifest: Manifest) -> None:
        try:
            entries = manifest.segments()
        except CorruptionError as error:
            self._say("left", f"{text_of(error)}; restore a backup")
            return
        for left in leftovers(self._path, entries):
            kept = self._room("segments") / left.name
            rename_file(left, kept)
            self._sync(kept.parent, left.parent)
            self._say("kept", f"{left}, which the manifest does not list, is {kept} now")
        for entry in entries:
            self._repair_segment(manifest, entry)

    def _repair_segment(self, manifest: Manifest, entry: SegmentEntry) -> None:
        path = segment_path(self._path, entry.id)
        if not path.exists():
            manifest.commit(remove=[entry.id])
            self._lose_entry(entry, f"{path} is missing")
            return
        try:
            segment = Segment(path, entry.id, entry.last_log_seq)
        except CorruptionError as error:
            self._keep_segment(path)
            manifest.commit(remove=[entry.id])
            remove_file(path)
            self._lose_entry(entry, text_of(error))
            return
        damage = salvage(segment)
        if damage:
            self._keep_segment(path)
            fresh = self._rewrite(segment, entry, manifest.next_segment_id)
            manifest.commit(remove=[entry.id], add=[fresh] if fresh is not None else ())
            remove_file(path)
            for device, variable, first_us, last_us, points, fault in damage:
                if points:
                    text = f"{text_of_block(device, variable, first_us, last_us, points)}: {text_of(fault)}"
                    name = variable.decode("utf-8", "replace")
                    self._say("lost", text, device=device, variable=name, first_us=first_us, last_us=last_us, points=points)
            whole = 0 if fresh is None else fresh.point_count
            self._say("repaired", f"{path} was written again with the {whole:,} points that are whole")
            return
        described = entry_of(segment, entry.id, entry.first_log_seq, entry.last_log_seq, entry.tier)
        if described != entry:
            manifest.commit(remove=[entry.id], add=[described])
            self._say("repaired", f"the manifest says of {path} what is in it")

    def _rewrite(self, segment: Segment, entry: SegmentEntry, id: int) -> SegmentEntry | None:
        """Write the good blocks of a segment as a new one; None if there is none."""
        path = segment_path(self._path, id)
        draft = path.with_name(path.name + ".tmp")
        if draft.exists():
            remove_file(draft)
        writer = SegmentWriter(draft, segment.month)
        try:
            salvage(segment, writer)
            if not writer.point_count:
                writer.abort()
                return None
            writer.finish()
        except BaseException:
            writer.abort()
            raise
        rename_file(draft, path)
        sync_folder(path.parent)
        return entry_of(Segment(path, id, entry.last_log_seq), id, entry.first_log_seq, entry.last_log_seq, entry.tier)

    def _keep_segment(self, path: Path) -> None:
        """Give the file a second name in `damaged/` before the manifest lets go of the first."""
        kept = self._room("segments") / path.name
        try:
            os.link(path, kept)
        except OSError:  # a file system without hard links
            _copy(path, kept)
        sync_folder(kept.parent)
        self._say("kept", f"{path} is {kept} now")

    def _lose_entry(self, entry: SegmentEntry, why: str) -> None:
        device = entry.first_device if entry.first_device == entry.last_device else None
        text = f"{text_of_entry(entry)}: {why}"
        self._say("lost", text, device=device, first_us=entry.first_us, last_us=entry.last_us, points=entry.point_count)

    # --- the log -----------------------------------------------------------------------------------------------------

    def _repair_log(self, stores: Stores, catalog: Catalog) -> None:
        folder = self._path / "wal"
        applied, newest = min(stores.applied), max(stores.applied)
        if not folder.is_dir() or not list_files(str(folder), SUFFIX):
            if catalog.log_reach is not None:
                catalog.note_log_reach(None)
                self._say("lost", f"{folder} holds no file of the log: what was acknowledged last and is nowhere else is gone")
            return
        try:
            Recovery(str(folder), applied, False, lambda first_seq, records: None, catalog.log_reach or 0).run(cut=False)
            return
        except CorruptionError as error:
            damage = error
        found = find_records(folder)
        fresh = self._path / "wal.new"
        shutil.rmtree(fresh, ignore_errors=True)
        write_log(fresh, found, applied, newest)
        self._tell_log(found, applied, catalog)
        catalog.note_log_reach(0)
        mark = self._path / UNFINISHED_NAME
        write_mark(mark, MARK)
        self._exchange(self._room() / "wal")
        remove_file(mark)
        self._sync(self._path)
        saved = sum(1 for seq in found.records if seq > applied)
        self._say("repaired", f"the log was written again with the {saved:,} records that are whole: {text_of(damage)}")

    def _tell_log(self, found: Salvage, applied: int, catalog: Catalog) -> None:
        end, reach = max([applied, *found.records]), catalog.log_reach or 0
        for first, last in [*found.lost(applied), *([(end + 1, reach)] if end < reach else [])]:
            self._say("lost", f"records {first} to {last} of the log: {last - first + 1} writes, or changes of devices or registers")
        known = {info.number for info in catalog.devices(order="number")}
        orphans: dict[int, int] = {}
        deleted: set[int] = set()
        for record in payloads(found, catalog.applied_seq):
            if record[0] == commands.RECORD_POINTS:
                device = batch.device_of(record)
                if device not in known:
                    orphans[device] = orphans.get(device, 0) + batch.count_of(record)
                continue
            match commands.decode(record):
                case commands.PutDevice(info):
                    known.add(info.number)
                case commands.DeleteDevice(device):
                    deleted.add(device)
                case commands.ConvertDevice(old, info):
                    known.add(info.number)
                    deleted.add(old)
        for device, points in orphans.items():
            if device not in deleted:
                text = f"{points:,} points in the log of device {device}, whose creation is lost"
                self._say("lost", text, device=device, points=points)

    def _exchange(self, aside: Path) -> None:
        """Put the new log in the place of the damaged one; the store is marked as unfinished."""
        folder = self._path / "wal"
        rename_file(folder, aside)
        self._sync(aside.parent, self._path)
        rename_file(self._path / "wal.new", folder)
        self._sync(self._path)
        self._say("kept", f"{folder} is {aside} now")

    def _finish_exchange(self) -> None:
        """Go on where a repair was interrupted: the new log was complete before the store was marked."""
        if not (self._path / "wal").exists() and (self._path / "wal.new").exists():
            rename_file(self._path / "wal.new", self._path / "wal")
            self._sync(self._path)
            self._say("repaired", "the exchange of the log that was interrupted is done")
        remove_file(self._path / UNFINISHED_NAME)
        self._sync(self._path)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _room(self, *names: str) -> Path:
        """Return a folder of this repair in `damaged/`, made if it is missing."""
        folder = self._path / "damaged"
        for name in ("", self._aside.name, *names):
            folder = folder / name
            make_folder(folder)
        return folder

    def _sync(self, *folders: Path) -> None:
        for folder in folders:
            sync_folder(folder)

    def _say(
        self,
        action: Literal["repaired", "kept", "lost", "left"],
        text: str,
        *,
        device: int | None = None,
        variable: str | None = None,
        first_us: int | None = None,
        last_us: int | None = None,
        points: int | None = None,
    ) -> None:
        start = None if first_us is None else time_of(first_us)
        end = None if last_us is None else time_of(last_us)
        self.actions.append(Action(action, text, device, variable, start, end, points))


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise StorageError(error.errno, f"cannot copy {source} to {target}: {error.strerror}") from error
    fd = open_file(target, write=True)
    try:
        sync_file(fd, target)
    finally:
        close_file(fd, target)
