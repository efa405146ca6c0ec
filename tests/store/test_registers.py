"""The register store against a dict: the same changes, reads, reopenings, replays and kills."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.store.register_model import DEVICES, T0, VARIABLES, Model, edits, filters, points, sequences
from tsengine.commands import Command, DeleteDevice, DeleteRegisters, EditRegisters, EmptyRegisters, PutDevice
from tsengine.core import batch
from tsengine.core.ingest.points import from_points
from tsengine.core.store.page import points_of_rows
from tsengine.errors import CorruptionError, StorageError
from tsengine.ids import group_id
from tsengine.rows import Row, value_text
from tsengine.store import registers as registers_module
from tsengine.store.environment import Environment
from tsengine.store.register_rows import encode, pack_group, row_key
from tsengine.store.registers import Registers
from tsengine.types import DeviceInfo, Filter, Point


def record(device: int, first_sequence: int, points: Iterable[Point], now_us: int = T0) -> bytes:
    made = from_points(list(points), now_us)
    batch.stamp(made, device, first_sequence)
    return made


def simple(device: int, first_sequence: int, count: int, variable: str = "t") -> bytes:
    return record(device, first_sequence, (Point(variable, i, time=T0 + i) for i in range(count)))


def point_of(device: int, row: Row | None) -> Point | None:
    return None if row is None else points_of_rows([row], device)[0]


def test_a_deleted_device_leaves_no_names_behind(tmp_path: Path) -> None:
    store = Registers(tmp_path / "registers")
    try:
        for seq, variable in ((1, "a"), (3, "b")):
            store.add(seq, record(2, seq, [Point(variable, None, datetime.fromtimestamp(T0 / 1e6, UTC))]))
            store.flush()
            found = store.get(2, seq)
            assert found is not None and found.variable == variable
            store.add(seq + 1, DeleteDevice(2))
            store.flush()
    finally:
        store.close()


class RegistersAgainstModel(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory()
        self.store = Registers(self.folder.name)
        self.model = Model()
        self.log: list[tuple[int, bytes | Command]] = []
        self.next_sequence = dict.fromkeys(DEVICES, 1)

    def add(self, change: bytes | Command) -> None:
        self.log.append((3 * len(self.log) + 5, change))
        self.store.add(*self.log[-1])
        self.model.apply(change)

    @rule(device=st.sampled_from(DEVICES), batch_points=st.lists(points, min_size=1, max_size=8), gap=st.integers(0, 3))
    def add_points(self, device: int, batch_points: list[Point], gap: int) -> None:
        first = self.next_sequence[device] + gap
        self.next_sequence[device] = first + len(batch_points)
        self.add(record(device, first, batch_points))

    @rule(device=st.sampled_from(DEVICES), changes=st.lists(st.tuples(sequences, edits), max_size=5))
    def edit(self, device: int, changes: list[tuple[int, dict[str, Any]]]) -> None:
        self.add(EditRegisters(device, tuple(changes)))

    @rule(device=st.sampled_from(DEVICES), gone=st.lists(sequences, max_size=15))
    def delete(self, device: int, gone: list[int]) -> None:
        self.add(DeleteRegisters(device, tuple(gone)))

    @rule(device=st.sampled_from(DEVICES), kind=st.sampled_from([EmptyRegisters, DeleteDevice]))
    def empty(self, device: int, kind: type[EmptyRegisters] | type[DeleteDevice]) -> None:
        self.add(kind(device))

    @rule(how=st.sampled_from(["flush", "sync", "reopen", "forget"]))
    def settle(self, how: str) -> None:
        if how == "flush":
            self.store.flush()
        elif how == "sync":
            self.store.sync()
        else:
            if how == "reopen":
                self.store.flush()
            self.store.close()
            self.store = Registers(self.folder.name)
            # The log gives what is not applied again, and here everything before it too.
            for seq, change in self.log:
                self.store.add(seq, change)

    @rule(
        device=st.sampled_from(DEVICES),
        filter=filters,
        order=st.sampled_from(["asc", "desc"]),
        limit=st.one_of(st.none(), st.integers(0, 5)),
        skip=st.integers(0, 4),
    )
    def query(self, device: int, filter: Filter, order: Any, limit: int | None, skip: int) -> None:
        expected = self.model.query(device, filter, order)
        piece = expected[skip : None if limit is None else skip + limit]
        assert self.store.query(device, filter, order=order, limit=limit, skip=skip) == piece
        assert self.store.points(device, filter, order=order, limit=limit, skip=skip) == points_of_rows(piece, device)
        assert self.store.sequences(device, filter, order=order, limit=limit, skip=skip) == [row.sequence for row in piece]
        assert self.store.count(device, filter) == len(expected)

    @rule(device=st.sampled_from(DEVICES), filter=filters, variable=st.sampled_from([None, *VARIABLES]), oldest=st.booleans())
    def newest(self, device: int, filter: Filter, variable: str | None, oldest: bool) -> None:
        wanted = filter if variable is None else Filter(*[(variable,), *list_fields(filter)[1:]])
        for by in ("time", "insert"):
            expected = self.model.query(device, wanted, "asc" if oldest else "desc", by)
            assert self.store.newest(device, variable, filter, oldest=oldest, by=by) == (expected[0] if expected else None)  # type: ignore[arg-type]

    @rule(device=st.sampled_from(DEVICES), sequence=sequences)
    def get(self, device: int, sequence: int) -> None:
        assert self.store.get(device, sequence) == point_of(device, self.model.devices.get(device, {}).get(sequence))

    @rule()
    def check(self) -> None:
        assert self.store.check() == []

    @invariant()
    def single_registers_are_read_before_they_are_applied(self) -> None:
        applied = self.store.applied_seq
        for device in DEVICES:
            held = self.model.devices.get(device, {})
            for sequence in range(self.next_sequence[device] + 1):
                assert self.store.get(device, sequence) == point_of(device, held.get(sequence))
            assert self.store.existing(device, range(-1, self.next_sequence[device] + 1)) == sorted(held)
        assert self.store.applied_seq == applied

    @rule()
    def counts_agree(self) -> None:
        assert self.store.devices() == {device: len(held) for device, held in self.model.devices.items() if held}
        for device in DEVICES:
            held = self.model.devices.get(device, {})
            assert self.store.count(device) == len(held)

    @rule(device=st.sampled_from(DEVICES))
    def lists(self, device: int) -> None:
        assert self.store.variables(device) == sorted({row.variable for row in self.model.devices.get(device, {}).values()})
        assert self.store.max_sequence(device) == self.model.highest.get(device)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert self.store.check() == []
            self.store.close()
            self.folder.cleanup()


def list_fields(filter: Filter) -> list[Any]:
    return [getattr(filter, name) for name in filter.__struct_fields__]


TestRegistersAgainstModel = RegistersAgainstModel.TestCase
TestRegistersAgainstModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None, print_blob=True)


# --- single facts ---------------------------------------------------------------------------------------------------


def test_changes_wait_until_a_read_of_their_device(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    store.add(1, simple(1, 1, 3))
    assert store.count(2) == 0
    assert store.applied_seq == 0
    assert store.count(1) == 3
    assert store.applied_seq == 1


def test_waiting_changes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registers_module, "PENDING_BYTES", 10_000)
    store = Registers(tmp_path)
    for seq in range(1, 100):
        store.add(seq, simple(1, seq * 10, 10))
        assert store._pending.size_bytes <= 10_000
    assert store.applied_seq > 70


def test_other_commands_are_not_kept_and_sync_moves_the_sequence(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    store.add(4, PutDevice(DeviceInfo(1, "x", "x", "mutable")))
    store.flush()
    assert store.applied_seq == 0
    store.sync(9)
    store.close()
    store = Registers(tmp_path)
    assert store.applied_seq == 9
    store.add(9, simple(1, 1, 3))
    assert store.count(1) == 0


def test_an_edit_of_time_moves_the_register_and_keeps_created(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    store.add(1, record(1, 1, [Point("t", 1.5, time=5, unit="C"), Point("t", 2.5, time=6)], now_us=77))
    store.add(
        2,
        EditRegisters(
            1, ((1, {"time": 7, "value": None}), (99, {"value": 1}), (-1, {"value": 1}), (2**64 - 1, {}), (2, {"time": None, "unknown": 1}))
        ),
    )
    assert [(row.sequence, row.time_us, row.value, row.unit, row.received_us) for row in store.query(1)] == [
        (1, 7, None, "C", 77),
        (2, 6, 2.5, None, 77),
    ]
    assert [row.sequence for row in store.query(1, Filter(variables=("t",), end_us=6))] == [2]
    assert store.check() == []


def test_several_variables_come_in_one_order_of_time(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    store.add(1, record(1, 1, [Point("abc"[i % 3], i, time=100 - i // 2) for i in range(30)]))
    some = Filter(variables=("a", "c", "none"))
    expected = sorted((row for row in store.query(1) if row.variable in "ac"), key=lambda row: (row.time_us, row.sequence))
    assert store.query(1, some, order="asc", limit=7, skip=2) == expected[2:9]
    assert store.query(1, some) == expected[::-1]


def test_a_variable_is_listed_while_it_has_registers_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    store.add(1, record(1, 1, [Point("a", 1, time=T0 - 9), Point("b", 2, time=T0 - 9)]))
    store.add(2, DeleteRegisters(1, (1,)))
    assert store.variables(1) == ["b"]
    store.add(3, simple(1, 3, 1, "c"))
    store.add(4, record(1, 4, [Point("a", 1, time=T0 + 9)]))
    assert store.variables(1) == ["a", "b", "c"]
    assert [row.variable for row in store.query(1, order="asc")] == ["b", "c", "a"]
    assert store.check() == []


def test_the_highest_sequence_outlives_its_register(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    assert store.max_sequence(1) is None
    store.add(1, simple(1, 1, 5))
    store.add(2, DeleteRegisters(1, (4, 5, -1, 2**64 - 1)))
    assert store.max_sequence(1) == 5
    store.add(3, EmptyRegisters(1))
    assert (store.max_sequence(1), store.count(1)) == (5, 0)
    store.add(4, DeleteDevice(1))
    assert store.max_sequence(1) is None


def test_a_sequence_that_exists_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    store.add(1, simple(1, 1, 5))
    store.flush()
    store.add(2, simple(1, 5, 5))
    with pytest.raises(CorruptionError, match="stored already"):
        store.count(1)
    store.close()
    store = Registers(tmp_path)
    assert (store.count(1), store.applied_seq, store.check()) == (5, 1, [])


def test_changes_wait_on_after_a_failed_flush(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    store.add(1, simple(1, 1, 5))
    store.close()
    with pytest.raises(Exception, match="closed"):
        store.flush()
    assert len(store._pending) == 1


@pytest.mark.parametrize(
    "row",
    [
        [2**63, 0, 0, 0],
        [253_402_300_800_000_000, 0, 0, 0],
        [0, 2**32, 0, 0],
        [0, 0, 0, {}],
        [0, 0, 0, 2],
        [0, 0, 0, 0, 2**63],
        [0, 0, 0, 0, None, msgspec.Raw(b"\xa2\xff\xfe")],
    ],
    ids=["time beyond int64", "time beyond the year 9999", "variable", "group", "group of a later request", "integer", "no UTF-8"],
)
def test_a_row_that_nobody_wrote_so_is_damage(tmp_path: Path, row: list[Any]) -> None:
    store = Registers(tmp_path)
    store.add(1, simple(1, 1, 5))
    store.flush()
    store._environment.write(lambda txn: txn.put(row_key(1, 1), msgspec.msgpack.encode(row), db=store._rows))
    with pytest.raises(CorruptionError, match="damaged value"):
        store.query(1)
    assert any("register 1 cannot be decoded" in problem for problem in store.check()), store.check()
    assert store.rebuild()
    assert len(store.query(1)) == 4 and store.check() == []


def test_check_finds_a_missing_key(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    store.add(1, simple(1, 1, 5))
    store.add(2, simple(2, 1, 5))
    store.flush()
    store._environment.write(lambda txn: txn.delete((1).to_bytes(4, "big"), db=store._by_time))
    problems = store.check()
    assert any("device 1: 5 of 5 registers without their time key, the first is 1" in problem for problem in problems)
    assert any("device 1: the count is 0, there are 5 registers" in problem for problem in problems)
    store._environment.write(lambda txn: txn.drop(store._rows, delete=False))
    assert any("device 2 has time keys but no registers" in problem for problem in store.check())
    with pytest.raises(CorruptionError, match="expected 5 registers, found 0"):
        store.query(2)


@pytest.mark.parametrize(
    "stored",
    [
        [2**63, 1, T0, 0, 1.5],
        [2**63 - 1, 1, T0, 0, 1.5],
        [T0, 1, -(2**63), 0, 1.5],
        [T0, 99, T0, 0, 1.5],
        [T0, 1, T0, 3, 1.5],
        [T0, 1, T0, -1, 1.5],
        [T0, 1, T0, 2.5, 1.5],
        [T0, 1, T0, 0, 1.5, None, None, None, b"[1"],
        [T0, 1, T0, 0, [1.5]],
        [T0, 1],
    ],
)
def test_a_damaged_row_is_told_however_it_is_read(tmp_path: Path, stored: list[Any]) -> None:
    store = Registers(tmp_path)
    store.add(1, simple(1, 1, 3))
    store.flush()
    store._environment.write(lambda txn: txn.put(row_key(1, 2), encode(stored), db=store._rows))
    with pytest.raises(CorruptionError):
        store.get(1, 2)
    with pytest.raises(CorruptionError):
        store.points(1, Filter(), order="desc", limit=None, skip=0)
    assert len(store.points(1, Filter(), order="desc", limit=1, skip=0)) == 1
    assert store.get(1, 1) is not None
    store.close()


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setattr(registers_module, "FORMAT_VERSION", 2)
        Registers(tmp_path).close()
    with pytest.raises(StorageError, match="format version 2 of the registers, this tsengine reads up to version 1"):
        Registers(tmp_path)


def test_a_copy_has_what_was_added(tmp_path: Path) -> None:
    store = Registers(tmp_path / "registers")
    store.add(1, simple(1, 1, 5))
    store.copy(tmp_path / "copy")
    copied = Registers(tmp_path / "copy")
    assert (copied.count(1), copied.applied_seq, copied.check()) == (5, 1, [])


def test_nobody_meets_a_full_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registers_module, "Environment", partial(Environment, map_bytes=64 << 10))
    store = Registers(tmp_path)
    for seq in range(1, 20):
        store.add(seq, simple(1, seq * 1000, 500))
        assert store.count(1) == 500 * seq
    assert store._environment.size_bytes() > 64 << 10
    assert store.check() == []


def test_full_devices_are_small(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    for number in range(50):
        made = [Point(f"v{i % 10}", i / 7, time=T0 + (number * 1000 + i) * 10**6, unit="C") for i in range(1000)]
        store.add(number + 1, record(7, 1 + number * 1000, made))
        store.flush()
    assert store.count(7) == 50_000
    assert store._environment.size_bytes() <= 9_000_000


def test_readers_see_whole_batches_while_others_add(tmp_path: Path) -> None:
    store = Registers(tmp_path)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(100):
                rows = store.query(1)
                assert len(rows) % 10 == 0
                assert len({row.sequence for row in rows}) == len(rows)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for seq in range(1, 60):
        store.add(seq, simple(1, seq * 10, 10))
    for reader in readers:
        reader.join()
    assert not failures
    assert store.count(1) == 590


def test_a_register_is_read_whole_while_its_edits_are_applied(tmp_path: Path) -> None:
    """Unit and value follow each other by turns: a read that met waiting edits and later stored ones would mix them."""
    store = Registers(tmp_path)
    store.add(1, simple(1, 1, 1))
    store.add(2, EditRegisters(1, ((1, {"unit": "0"}),)))
    stop = threading.Event()
    failures: list[Point | None] = []

    def read() -> None:
        while not stop.is_set():
            point = store.get(1, 1)
            if point is None or point.value - int(point.unit or 0) not in (0, 1):  # type: ignore[operator]
                failures.append(point)
                return

    def flush() -> None:
        while not stop.is_set():
            store.flush()

    threads = [threading.Thread(target=work) for work in (read, read, flush)]
    for thread in threads:
        thread.start()
    for number in range(1, 1_500):
        store.add(2 * number + 1, EditRegisters(1, ((1, {"value": number}),)))
        store.add(2 * number + 2, EditRegisters(1, ((1, {"unit": str(number)}),)))
        assert store.get(1, 1).unit == str(number)  # type: ignore[union-attr]
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.store.test_registers import DeleteRegisters, EditRegisters, EmptyRegisters, Registers, simple
store = Registers(Path(sys.argv[1]))
print(store.applied_seq, flush=True)
seq = store.applied_seq
while True:
    seq += 1
    store.add(seq, simple(1 + seq % 3, seq * 100, 100, f"v{seq % 5}"))
    seq += 1
    store.add(seq, EditRegisters(1 + seq % 3, tuple((n, {"time": n}) for n in range(seq * 100 - 900, seq * 100, 7))))
    seq += 1
    store.add(seq, DeleteRegisters(1 + seq % 3, tuple(range(seq * 100 - 2000, seq * 100 - 1000, 3))))
    store.flush()
    print(seq, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_store(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    seen = 0
    for round_ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path, root], cwd=root, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(10 + 7 * round_):
            seen = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        store = Registers(tmp_path)
        assert store.applied_seq >= seen, "a flushed change is gone"
        assert store.check() == []
        store.close()


# --- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2, "2"),
        (2.0, "2"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (True, "true"),
        (False, "false"),
        ("2", "2"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1.5e-7, "1.5e-7"),
        (0.00001, "0.00001"),
        (-1e-6, "-0.000001"),
        (123456789012345680000.0, "123456789012345680000"),
        (2**63 - 1, "9223372036854775807"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (float("inf"), "Infinity"),
        (float("nan"), "NaN"),
    ],
)
def test_the_text_of_a_value_is_javascripts(value: Any, text: str) -> None:
    assert value_text(value) == text


@given(st.floats(allow_nan=False))
def test_the_text_of_a_number_reads_back(value: float) -> None:
    assert float(value_text(value)) == value


def test_a_group_takes_no_room_where_it_can_be_derived() -> None:
    assert pack_group(1, 12, group_id(1, 10)) == 2
    assert pack_group(1, 9, group_id(1, 10)) == bytes.fromhex(group_id(1, 10))
    assert pack_group(2, 12, group_id(1, 10)) == bytes.fromhex(group_id(1, 10))
    assert pack_group(1, 12, "0123456789ABCDEF01234567") == "0123456789ABCDEF01234567"
    assert pack_group(1, 12, "a b c d e f a b c d e f ") == "a b c d e f a b c d e f "
    assert pack_group(10, 12, "0000000A8000000000000001") == "0000000A8000000000000001"
    assert pack_group(1, 12, "") == ""
