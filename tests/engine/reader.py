"""A second reader of a whole store, in plain Python, written from docs/format/ alone; nothing of the engine is imported.

LMDB and MessagePack are read by their own packages, segments by tests/store/reader.py. It reads stores that are whole: what is
damaged ends it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import msgspec

from tests.store.reader import TABLE, Reader, require

MARK = 1 << 63
unpack = msgspec.msgpack.decode


class Point(NamedTuple):
    """A point as anybody should see it; its device's number and sequence are its id."""

    device: int
    variable: str
    value: Any
    time_us: int
    sequence: int
    unit: str | None
    group: str
    location: tuple[float, float] | None
    metadata: bytes | None


class Environment:
    """All databases of one LMDB folder: name -> [(key, value)]."""

    def __init__(self, folder: Path, store: str) -> None:
        self.databases: dict[str, list[tuple[bytes, bytes]]] = {}
        with lmdb.open(str(folder), readonly=True, lock=False, max_dbs=16) as environment, environment.begin() as txn:
            for name, _ in txn.cursor():
                handle = environment.open_db(name, txn=txn, create=False)
                self.databases[name.decode()] = list(txn.cursor(handle))
        meta = dict(self["meta"])
        require(unpack(meta[b"format"]) == [store, 1], f"{store} of version 1")
        self.applied = int.from_bytes(meta.get(b"applied", b""), "big")

    def __getitem__(self, name: str) -> list[tuple[bytes, bytes]]:
        return self.databases[name]


def crc_from(seed: int, data: bytes) -> int:
    """CRC-32C that goes on from another one."""
    crc = seed ^ 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def records_of(folder: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (sequence, payload) of each record of the log."""
    for path in sorted(folder.glob("*.wal")):
        data = path.read_bytes()
        magic, version, crc, first_seq, _, _, salt, _ = struct.unpack_from("<8sIIqqq8sI", data)
        require((magic, version, first_seq) == (b"tsenWAL\n", 1, int(path.stem)), "file header")
        require(crc == crc_from(0, data[:12] + bytes(4) + data[16:64]), "file header's checksum")
        seed, at, expected = crc_from(0, salt), 64, first_seq
        while at + 40 <= len(data):
            magic, crc, seq, _, body_bytes, count, _ = struct.unpack_from("<4sIqqqII", data, at)
            if magic != b"WFRM" or crc != crc_from(seed, data[at + 8 : at + 40]) or seq != expected:
                break
            at, end = at + 40, at + 40 + body_bytes
            for _ in range(count):
                length, crc, seq = struct.unpack_from("<IIq", data, at)
                payload = data[at + 16 : at + 16 + length]
                require(crc == crc_from(seed, data[at + 8 : at + 16] + data[at : at + 4] + payload), "record's checksum")
                yield seq, payload
                at += 16 + length + -length % 8
            require(at == end, "length of a frame")
            expected += count


class Batch:
    """The columns of one batch."""

    def __init__(self, record: bytes) -> None:
        _, version, present, constant, _, self.device, count, self.first = struct.unpack_from("<BBHHHIIq", record)
        require(version == 1, "batch of version 1")
        strings, string_bytes = struct.unpack_from("<II", record, 48)
        self.columns: list[list[Any] | None] = []
        at = 64
        for column, cell in enumerate(("q", "I", "B", "8s", "I", "16s", "2d", "I")):
            if not present >> column & 1:
                self.columns.append(None)
                continue
            cells = 1 if constant >> column & 1 else count
            size = struct.calcsize(f"<{cell}") * cells
            found: list[tuple[Any, ...]] = list(struct.iter_unpack(f"<{cell}", record[at : at + size]))
            values: list[Any] = [value if cell == "2d" else value[0] for value in found]
            self.columns.append(values * count if cells < count else values)
            at += size + -size % 8
        offsets = struct.unpack_from(f"<{strings + 1}I", record, at)
        at += 4 * (strings + 1) + -4 * (strings + 1) % 8
        require(at + string_bytes + -string_bytes % 8 == len(record), "length of a batch")
        self.strings = [record[at + start : at + end] for start, end in pairwise(offsets)]
        self.count = count

    def points(self) -> Iterator[Point]:
        time, variable, kind, value, unit, group, location, metadata = self.columns
        assert time and variable and kind and value
        for i in range(self.count):
            place = location[i] if location else None
            yield Point(
                self.device, self.strings[variable[i]].decode(), self.value(kind[i], value[i]), time[i], self.first + i,
                self.strings[unit[i] - 1].decode() if unit and unit[i] else None,
                self.group(group[i] if group else bytes(16)),
                place if place is not None and place[0] == place[0] else None,
                self.strings[metadata[i] - 1] if metadata and metadata[i] else None,
            )  # fmt: skip

    def value(self, kind: int, cell: bytes) -> Any:
        number = int.from_bytes(cell, "little", signed=True)
        return (None, struct.unpack("<d", cell)[0], number, bool(number), self.strings[number].decode() if kind == 4 else None)[kind]

    def group(self, cell: bytes) -> str:
        high, low, form = struct.unpack("<QII", cell)
        if form == 2:
            return self.strings[low].decode()
        return f"{high:016x}{low:08x}" if form == 1 else f"{self.device:08x}{self.first | MARK:016x}"


def packed_group(device: int, sequence: int, group: int | bytes | str) -> str:
    """The text of a group as a row of the registers has it."""
    if isinstance(group, int):
        return f"{device:08x}{sequence - group | MARK:016x}"
    return group.hex() if isinstance(group, bytes) else group


class Store:
    """Everything in a store: `devices` (maps by number), `tokens`, `parameters` (by device), `points` (by device)."""

    def __init__(self, path: Path) -> None:
        self.catalog, self.manifest, self.registers = (Environment(path / name, name) for name in ("catalog", "manifest", "registers"))
        self.devices = {int.from_bytes(key, "big"): unpack(value) for key, value in self.catalog["devices"]}
        self.tokens = [unpack(value) for _, value in self.catalog["tokens"]]
        self.parameters = {int.from_bytes(key, "big"): unpack(value) for key, value in self.catalog["parameters"]}
        self._points: list[tuple[int, Point]] = []  # with the log sequence up to which each was logged
        self._drops = [struct.unpack(">IQQQ", key) for key, _ in self.manifest["tombstones"]]
        self._drops = [(device, start - MARK, end - MARK, seq) for device, start, end, seq in self._drops]
        self._rows = dict(self._read_rows())
        self._read_segments(path / "segments")
        for seq, record in records_of(path / "wal"):
            if record[0] == 2:
                self._apply(seq, *unpack(record[1:]))
            else:
                self._add(seq, Batch(record))

    def points(self, device: int) -> list[Point]:
        """Return the points of a device by time and sequence."""
        found = [point for (number, _), point in self._rows.items() if number == device]
        for seq, point in self._points:
            hidden = any(d == device and start <= point.time_us <= end and seq < drop for d, start, end, drop in self._drops)
            if point.device == device and not hidden:
                found.append(point)
        return sorted(found, key=lambda point: (point.time_us, point.sequence))

    def _read_segments(self, folder: Path) -> None:
        for _, value in self.manifest["segments"]:
            id, _, size, _, _, _, _, _, _, last_log_seq, _ = unpack(value)[:11]
            data = (folder / f"{id:016x}.seg").read_bytes()
            require(len(data) == size, "size of a segment")
            for p in Reader(data).points():
                self._points.append(
                    (last_log_seq, Point(p.device, p.variable, p.value, p.time_us, p.sequence, p.unit, p.group, p.location, p.metadata))
                )

    def _read_rows(self) -> Iterator[tuple[tuple[int, int], Point]]:
        names = dict(self.registers["names"])
        for key, value in self.registers["rows"]:
            device, sequence = struct.unpack(">IQ", key)
            row = unpack(value)
            time_us, variable, _, group, value, unit, lat, lng, metadata = row + [None] * (9 - len(row))
            name = names[struct.pack(">II", device, variable)].decode()
            place = None if lat is None else (lat, lng)
            yield (
                (device, sequence),
                Point(device, name, value, time_us, sequence, unit, packed_group(device, sequence, group), place, metadata),
            )

    def _add(self, seq: int, batch: Batch) -> None:
        type = self.devices.get(batch.device, {}).get("type")
        if type == "immutable" and seq > self.manifest.applied:
            self._points += [(seq, point) for point in batch.points()]
        elif type == "mutable" and seq > self.registers.applied:
            self._rows.update({(point.device, point.sequence): point for point in batch.points()})

    def _apply(self, seq: int, tag: str, *fields: Any) -> None:
        """Give a command to each of the three that has not applied it yet."""
        if seq > self.catalog.applied:
            self._apply_to_catalog(tag, *fields)
        if seq > self.manifest.applied and tag in ("drop_points", "delete_device", "convert_device"):
            self._drops.append((*fields, seq) if tag == "drop_points" else (fields[0], -MARK, MARK, seq))
        if seq > self.registers.applied:
            if tag in ("empty_registers", "delete_device", "convert_device"):
                self._rows = {key: point for key, point in self._rows.items() if key[0] != fields[0]}
            elif tag == "delete_registers":
                for sequence in fields[1]:
                    self._rows.pop((fields[0], sequence), None)
            elif tag == "edit_registers":
                for sequence, changes in fields[1]:
                    if (fields[0], sequence) in self._rows:
                        self._edit(fields[0], sequence, dict(changes))

    def _apply_to_catalog(self, tag: str, *fields: Any) -> None:
        if tag == "put_device":
            self.devices[fields[0]["number"]] = fields[0]
        elif tag == "convert_device":
            del self.devices[fields[0]]
            new = fields[1]["number"]
            self.devices[new] = fields[1]
            self.parameters[new] = self.parameters.pop(fields[0], [])
            self.tokens = [{**token, "device": new} if token["device"] == fields[0] else token for token in self.tokens]
        elif tag == "delete_device":
            self.devices.pop(fields[0], None)
            self.parameters.pop(fields[0], None)
            self.tokens = [token for token in self.tokens if token["device"] != fields[0]]
        elif tag == "put_token":
            self.tokens.append(fields[0])
        elif tag == "delete_token":
            self.tokens = [token for token in self.tokens if token["token"] != fields[0]]
        elif tag in ("put_parameters", "delete_parameter"):
            known = {parameter["id"]: parameter for parameter in self.parameters.get(fields[0], [])}
            known.update({parameter["id"]: parameter for parameter in fields[1]} if tag == "put_parameters" else {fields[1]: None})
            self.parameters[fields[0]] = [parameter for parameter in known.values() if parameter is not None]

    def _edit(self, device: int, sequence: int, changes: dict[str, Any]) -> None:
        if "time" in changes:
            changes["time_us"] = changes.pop("time")
        if changes.get("location"):
            changes["location"] = tuple(changes["location"])
        if "group" in changes and changes["group"] is None:
            changes["group"] = packed_group(device, sequence, 0)
        if isinstance(changes.get("metadata"), str):
            changes["metadata"] = changes["metadata"].encode()
        self._rows[device, sequence] = self._rows[device, sequence]._replace(**changes)
