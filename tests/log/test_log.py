"""The log without faults: append, wait, replay, read, trim, modes, close."""

import signal
import threading
from pathlib import Path

import pytest

from tsengine.core.os.faulty import Faults
from tsengine.errors import ClosedError, InputError, LimitError, NotFoundError
from tsengine.log import LocalLog

RECORDS = [b"", b"x", b"1234567", b"12345678", b"123456789", bytes(range(256)) * 9]


def write_all(log: LocalLog, records: list[bytes]) -> None:
    for record in records:
        log.wait(log.append(record))


def test_replay_gives_back_what_was_appended(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal")
    write_all(log, RECORDS)
    assert list(state.records.values()) == RECORDS
    assert (log.last_seq, log.durable_seq, log.applied_seq) == (6, 6, 6)
    assert list(log.read(1)) == list(enumerate(RECORDS, 1))
    log.close()

    log, state = open_log(tmp_path / "wal")
    assert list(state.records.values()) == RECORDS
    assert log.recovered.records == 6 and log.recovered.torn_bytes == 0
    log.wait(log.append(b"after"))
    assert state.records[7] == b"after"


def test_replay_begins_after_what_was_applied(tmp_path, open_log):
    log, _ = open_log(tmp_path / "wal")
    for record in RECORDS:
        log.append(record)
    log.wait(log.last_seq)
    log.close()
    for applied in range(7):
        log, state = open_log(tmp_path / "wal", applied)
        assert list(state.records.values()) == RECORDS[applied:]
        assert log.last_seq == 6
        log.close()


def test_replay_after_a_kill(tmp_path, open_log, crash):
    log, _ = open_log(tmp_path / "wal")
    write_all(log, RECORDS)
    log, state = open_log(crash(tmp_path / "wal"))
    assert list(state.records.values()) == RECORDS
    assert log.recovered.torn_bytes == 0


def test_many_files_with_large_records(tmp_path, open_log):
    records = [bytes([i]) * (700_000 + 13 * i) for i in range(12)]
    log, _ = open_log(tmp_path / "wal", file_bytes=2 << 20)
    for i, record in enumerate(records):
        log.append(record)
        if i % 3 == 2:
            log.wait(log.last_seq)
    log.close()
    assert len(list((tmp_path / "wal").glob("*.wal"))) > 3
    log, state = open_log(tmp_path / "wal", file_bytes=2 << 20)
    assert list(state.records.values()) == records
    assert [seq for seq, _ in log.read(5)] == list(range(5, 13))


def test_record_larger_than_the_buffer_and_the_pending_bound(tmp_path, open_log):
    large = bytes(3 << 20) + b"end"
    log, state = open_log(tmp_path / "wal")
    seqs = [log.append(large) for _ in range(30)]  # 90 MiB: append has to commit in between
    assert 0 < log.applied_seq < 30
    log.wait(seqs[-1])
    log.close()
    log, state = open_log(tmp_path / "wal")
    assert all(record == large for record in state.records.values()) and len(state.records) == 30


def test_record_above_the_limit(tmp_path, open_log):
    log, _ = open_log(tmp_path / "wal", durability="memory")
    with pytest.raises(LimitError):
        log.append(bytes((256 << 20) + 1))
    assert log.append(b"") == 1


def test_one_group_is_one_write_and_one_sync(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal")
    log.wait(log.append(b"first allocates"))
    with Faults() as calls:
        for i in range(1000):
            log.append(b"%d" % i)
        log.wait(log.last_seq)
        assert (calls.count("pwrite"), calls.count("fdatasync"), calls.matched) == (1, 1, 2)
    assert state.group_count == 2


@pytest.mark.parametrize("durability", ["sync", "os", "memory"])
def test_group_commit_with_many_threads(tmp_path, open_log, durability):
    threads, each = 24, 150
    log, state = open_log(tmp_path / "wal", durability=durability, file_bytes=1 << 20)
    given: list[list[tuple[int, bytes]]] = [[] for _ in range(threads)]
    told: list[int] = []
    log.add_listener(lambda applied, error: told.append(applied))

    def write(number: int) -> None:
        for i in range(each):
            record = b"%d/%d" % (number, i) * (1 + (number * i) % 40)
            seq = log.append(record)
            log.wait(seq)
            assert log.applied_seq >= seq and log.is_done(seq)
            given[number].append((seq, record))

    with Faults() as calls:
        workers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        syncs = calls.count("fdatasync")
    assert dict(pair for pairs in given for pair in pairs) == state.records
    assert state.seq == threads * each
    for pairs in given:
        assert [seq for seq, _ in pairs] == sorted(seq for seq, _ in pairs) and len(pairs) == each
    assert syncs == (state.group_count if durability == "sync" else 0)
    assert len(told) == state.group_count and told == sorted(told)
    log.close()
    if durability != "memory":
        log, again = open_log(tmp_path / "wal")
        assert again.records == state.records


def test_nudge_commits_without_a_waiter(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal")
    news = threading.Condition()

    def tell(applied: int, error: BaseException | None) -> None:
        with news:
            news.notify_all()

    log.add_listener(tell)
    for i in range(300):
        seq = log.append(b"%d" % i)
        log.nudge()
        if i % 50 == 0:
            with news:
                assert news.wait_for(lambda seq=seq: log.is_done(seq), timeout=30)
    with news:
        assert news.wait_for(lambda: log.is_done(seq), timeout=30)
    assert state.seq == 300
    log.remove_listener(tell)
    log.close()


def test_a_failing_listener_harms_nobody(tmp_path, open_log, monkeypatch):
    seen = []
    monkeypatch.setattr("sys.unraisablehook", seen.append)
    log, state = open_log(tmp_path / "wal")
    log.add_listener(lambda applied, error: 1 // 0)
    log.wait(log.append(b"a"))
    log.wait(log.append(b"b"))
    assert state.seq == 2
    assert [hook.exc_type for hook in seen] == [ZeroDivisionError, ZeroDivisionError]


def test_apply_may_append_but_not_wait(tmp_path):
    log = LocalLog(tmp_path / "wal")
    errors = []

    def apply(first_seq: int, records: list[bytes]) -> None:
        if records == [b"cause"]:
            seq = log.append(b"effect")
            for forbidden in (lambda: log.wait(seq), log.close):
                try:
                    forbidden()
                except InputError as error:
                    errors.append(error)

    log.start(0, apply)
    log.wait(log.append(b"cause"))
    log.wait(log.last_seq)
    assert len(errors) == 2
    assert [record for _, record in log.read(1)] == [b"cause", b"effect"]
    log.close()


def test_a_waiter_can_be_interrupted(tmp_path):
    log, entered, release = LocalLog(tmp_path / "wal"), threading.Event(), threading.Event()

    def apply(first_seq: int, records: list[bytes]) -> None:
        entered.set()
        release.wait(60)

    log.start(0, apply)
    first = log.append(b"slow")
    leader = threading.Thread(target=log.wait, args=(first,))
    leader.start()
    entered.wait(60)
    second = log.append(b"second")
    with pytest.raises(KeyboardInterrupt):
        threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        log.wait(second)
    release.set()
    leader.join()
    log.wait(second)
    log.close()


def test_read_is_a_snapshot_and_survives_trim(tmp_path, open_log):
    log, _ = open_log(tmp_path / "wal", file_bytes=4096)
    for i in range(100):
        log.wait(log.append(b"%d" % i * 60))
    reading = log.read(1)
    assert next(reading) == (1, b"0" * 60)
    log.append(b"later")
    log.wait(log.last_seq)
    assert [seq for seq, _ in log.read(101)] == [101]
    assert list(log.read(102)) == []
    log.trim(90)
    with pytest.raises(NotFoundError):
        list(log.read(1))
    with pytest.raises(NotFoundError):
        list(reading)
    assert [seq for seq, _ in log.read(91)] == list(range(91, 102))


def test_trim_and_recycling_bound_the_disk(tmp_path, open_log):
    folder, file_bytes = tmp_path / "wal", 64 << 10
    log, state = open_log(folder, file_bytes=file_bytes)
    names, most_bytes = set(), 0
    for i in range(3000):
        log.wait(log.append(b"%04d" % i * 100))
        if i % 100 == 99:
            log.trim(log.applied_seq - 50)
            names |= {path.name for path in folder.iterdir()}
            most_bytes = max(most_bytes, sum(path.stat().st_size for path in folder.iterdir()))
    # Live, two spares, each with up to 1 MiB of zeros.
    assert most_bytes <= 6 * (file_bytes + (1 << 20))
    assert len(names) > 15 and len(list(folder.glob("*.spare"))) <= 2
    assert log.size_bytes == sum(path.stat().st_size for path in folder.glob("*.wal"))
    log.close()
    log, again = open_log(folder, state.seq - 50, file_bytes=file_bytes)
    assert again.records == {seq: record for seq, record in state.records.items() if seq > state.seq - 50}


@pytest.mark.parametrize("newest", [3, 9])
def test_trim_after_an_open_that_began_a_new_file(tmp_path, open_log, newest):
    """The last file was full, or the log had lost its tail."""
    log, _ = open_log(tmp_path / "wal", file_bytes=1024)
    write_all(log, [bytes(200), bytes(200), bytes(600)])
    log.close()
    log, state = open_log(tmp_path / "wal", 3, newest=newest, file_bytes=1024 if newest == 9 else 500)
    state.seq = newest
    log.wait(log.append(b"a"))
    log.trim(newest)
    assert [path.name for path in (tmp_path / "wal").glob("*.wal")] == [f"{newest + 1:020}.wal"]
    assert log.size_bytes == sum(path.stat().st_size for path in (tmp_path / "wal").glob("*.wal"))


def test_trim_never_takes_the_file_in_use(tmp_path, open_log):
    log, _ = open_log(tmp_path / "wal")
    log.wait(log.append(b"a"))
    log.trim(1 << 40)
    assert list(log.read(1)) == [(1, b"a")]


def test_close_keeps_what_was_not_trimmed_and_nothing_else(tmp_path, open_log):
    folder = tmp_path / "wal"
    log, _ = open_log(folder, file_bytes=1 << 20)
    for _ in range(20):
        log.wait(log.append(bytes(400_000)))
    log.trim(19)
    log.close()
    assert list(folder.glob("*.spare")) == []
    assert 400_000 < sum(path.stat().st_size for path in folder.iterdir()) < 1_300_000
    log, state = open_log(folder, 19, file_bytes=1 << 20)
    assert state.records == {20: bytes(400_000)}
    log.trim(20)
    log.close()
    (left,) = folder.iterdir()
    assert left.stat().st_size < 100
    log, state = open_log(folder, 20)
    assert state.records == {} and log.append(b"next") == 21


def test_foreign_names_are_ignored_and_drafts_removed(tmp_path, open_log):
    folder = tmp_path / "wal"
    folder.mkdir()
    for name in ("lost+found", "1.wal", "00000000000000000001.wal.bak", "x" * 20 + ".wal"):
        (folder / name).write_bytes(b"not ours")
    (folder / "next.tmp").write_bytes(b"half")
    log, _ = open_log(folder)
    log.wait(log.append(b"a"))
    log.close()
    assert not (folder / "next.tmp").exists() and (folder / "1.wal").read_bytes() == b"not ours"


def test_files_are_private(tmp_path, open_log):
    open_log(tmp_path / "wal")
    assert (tmp_path / "wal").stat().st_mode & 0o777 == 0o700
    assert next((tmp_path / "wal").glob("*.wal")).stat().st_mode & 0o777 == 0o600


def test_memory_mode_writes_nothing_and_continues_after_the_stores(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal", 41, durability="memory")
    log.wait(log.append(b"a"))
    assert state.records == {42: b"a"} and list(log.read(1)) == [] and log.size_bytes == 0
    log.trim(42)
    log.close()
    assert not (tmp_path / "wal").exists()


def test_os_mode_does_not_sync_until_close(tmp_path, open_log, crash):
    log, state = open_log(tmp_path / "wal", durability="os")
    with Faults() as calls:
        for i in range(50):
            log.wait(log.append(b"%d" % i))
        assert calls.count("fdatasync") == calls.count("fsync") == 0
        _, killed = open_log(crash(tmp_path / "wal"), durability="os")
        log.close()
        assert calls.count("fsync") > 0
    assert killed.records == state.records


def test_a_log_that_lost_its_tail_continues_after_the_stores(tmp_path, open_log):
    log, _ = open_log(tmp_path / "wal", durability="os")
    for i in range(1, 11):
        log.wait(log.append(b"%d" % i))
    log.close()
    # One store had applied 20 before the power cut, another 5.
    log, state = open_log(tmp_path / "wal", 5, newest=20)
    assert list(state.records) == [6, 7, 8, 9, 10]
    state.seq = 20
    assert log.append(b"21") == 21
    log.wait(log.last_seq)
    assert [seq for seq, _ in log.read(4)] == [4, 5, 6, 7, 8, 9, 10, 21]
    log.close()
    delivered: list[tuple[int, list[bytes]]] = []
    log = LocalLog(tmp_path / "wal")
    log.start(5, lambda first_seq, records: delivered.append((first_seq, records)))
    assert delivered == [(6, [b"6", b"7", b"8", b"9", b"10"]), (21, [b"21"])]
    log.close()


def test_after_close(tmp_path, open_log):
    log, _ = open_log(tmp_path / "wal")
    log.append(b"nobody waits")
    log.nudge()
    log.close()
    log.close()
    log.wait(1)  # it was committed by close
    for call in (lambda: log.append(b"x"), lambda: log.wait(2), log.nudge, lambda: log.read(1), lambda: log.trim(1)):
        with pytest.raises(ClosedError):
            call()
    with pytest.raises(ClosedError):
        log.start(0, print)
    with pytest.raises(ClosedError):
        LocalLog(tmp_path / "other").append(b"not started")
    _, state = open_log(tmp_path / "wal")
    assert state.records == {1: b"nobody waits"}


def test_bad_arguments(tmp_path, open_log):
    with pytest.raises(InputError):
        LocalLog(tmp_path, durability="maybe")  # type: ignore[arg-type]
    log, _ = open_log(tmp_path / "wal")
    with pytest.raises(InputError):
        log.wait(1)
    with pytest.raises(TypeError):
        log.append(bytearray(b"x"))  # type: ignore[arg-type]


def test_close_while_many_write(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal")
    acknowledged: list[bytes] = []
    started = threading.Barrier(9)

    def write(number: int) -> None:
        started.wait()
        for i in range(100_000):
            record = b"%d/%d" % (number, i)
            try:
                log.wait(log.append(record))
            except ClosedError:
                return
            acknowledged.append(record)

    workers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    started.wait()
    while state.seq < 200:
        log.wait(log.append(b"mine"))
        acknowledged.append(b"mine")
    log.close()
    for worker in workers:
        worker.join()
    _, again = open_log(tmp_path / "wal")
    assert again.records == state.records
    assert sorted(acknowledged) == sorted(state.records.values())


def test_the_folder_may_be_given_as_text(tmp_path, open_log):
    log, _ = open_log(str(Path(tmp_path) / "wal"))
    log.wait(log.append(b"a"))
