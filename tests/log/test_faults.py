"""The log when the disk refuses: full, failing syncs, the n-th call of any kind. Faults are made by ext/os/faulty."""

import errno
import os
import resource
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tsengine.core.os.faulty import NAMES, Faults
from tsengine.errors import ClosedError, CorruptionError, StorageError, StorageFullError, TsengineError
from tsengine.log import LocalLog

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def test_a_failed_sync_fails_the_log_until_it_is_reopened(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal")
    told = []
    log.add_listener(lambda applied, error: told.append((applied, error)))
    log.wait(log.append(b"good"))
    doubtful = log.append(b"in doubt")
    with Faults("fdatasync", nth=1, error=errno.EIO), pytest.raises(StorageError, match="reopen") as caught:
        log.wait(doubtful)
    assert caught.value.errno == errno.EIO and caught.value.__cause__ is not None
    assert told[0] == (1, None) and told[1][0] == 1 and isinstance(told[1][1], StorageError)
    # The disk is well again, the log is not.
    for call in (lambda: log.append(b"x"), lambda: log.wait(doubtful), lambda: log.is_done(doubtful), log.nudge):
        with pytest.raises(StorageError, match="reopen"):
            call()
    log.wait(1)
    assert list(log.read(1)) == [(1, b"good")] and state.records == {1: b"good"}
    with Faults() as calls:
        log.close()
        assert calls.count("pwrite") == calls.count("fdatasync") == calls.count("fsync") == 0
    with pytest.raises(ClosedError):
        log.append(b"x")
    log, again = open_log(tmp_path / "wal")
    assert again.records == {1: b"good", 2: b"in doubt"}  # it was never acknowledged, so it may be there
    log.wait(log.append(b"third"))


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize("torn", [False, True])
def test_a_full_disk_refuses_the_group_and_the_log_goes_on(tmp_path, open_log, crash, error, torn):
    log, state = open_log(tmp_path / "wal")
    told = []
    log.add_listener(lambda applied, error: told.append((applied, error)))
    log.wait(log.append(b"good"))
    with Faults("pwrite", nth=1, error=error, torn=torn, forever=True):
        for _ in range(3):
            refused = [log.append(b"refused" * 100) for _ in range(3)]
            assert refused == [2, 3, 4]
            with pytest.raises(StorageFullError) as caught:
                log.wait(refused[1])
            assert caught.value.errno == error and str(tmp_path) in caught.value.filename
            with pytest.raises(StorageFullError):
                log.wait(refused[0])
            assert log.last_seq == 1
    assert [applied for applied, _ in told] == [1, 1, 1, 1]
    killed = crash(tmp_path / "wal")
    accepted = log.append(b"accepted")
    assert accepted == 2
    log.wait(accepted)
    log.wait(log.append(b"and more" * 500))
    # The same number, another promise.
    for ticket in refused:
        with pytest.raises(StorageFullError):
            log.wait(ticket)
        with pytest.raises(StorageFullError):
            log.is_done(ticket)
    assert log.is_done(accepted)
    log.close()
    log, again = open_log(tmp_path / "wal")
    assert again.records == state.records == {1: b"good", 2: b"accepted", 3: b"and more" * 500}
    log, again = open_log(killed)
    assert again.records == {1: b"good"}


def test_a_barrier_taken_before_a_refusal_raises(tmp_path, open_log):
    log, _ = open_log(tmp_path / "wal")
    log.append(b"unwaited")
    barrier = log.last_seq
    with Faults("pwrite", nth=1, error=errno.ENOSPC, forever=True), pytest.raises(StorageFullError):
        log.wait(log.append(b"second"))
    log.append(b"x")
    log.wait(log.append(b"y"))
    with pytest.raises(StorageFullError):
        log.wait(barrier)


def test_a_refused_frame_that_cannot_be_cut_off_is_cut_off_later(tmp_path, open_log, crash):
    log, state = open_log(tmp_path / "wal")
    log.wait(log.append(b"good"))
    with (
        Faults(("pwrite", "ftruncate"), nth=1, error=errno.ENOSPC, torn=True, forever=True),
        pytest.raises(StorageFullError),
    ):
        log.wait(log.append(b"refused" * 1000))
    killed = crash(tmp_path / "wal")
    log.wait(log.append(b"next"))
    log, again = open_log(crash(tmp_path / "wal"))
    assert again.records == state.records == {1: b"good", 2: b"next"}
    log, again = open_log(killed)
    assert again.records == {1: b"good"} and log.recovered.torn_bytes > 0


def test_zeros_ahead_are_not_worth_a_refusal(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal")
    with Faults("pwrite", nth=1, error=errno.ENOSPC) as calls:  # the first call writes zeros ahead
        log.wait(log.append(b"fits"))
        assert calls.count("pwrite") == 2
    assert state.records == {1: b"fits"}


def test_short_writes_and_reads_are_continued(tmp_path, open_log):
    with Faults(("pwrite", "pread"), nth=1, forever=True):
        log, state = open_log(tmp_path / "wal")
        for i in range(20):
            log.wait(log.append(bytes([i]) * 3000))
        log.close()
        _, again = open_log(tmp_path / "wal")
    assert again.records == state.records


def test_a_signal_during_a_write_is_no_failure(tmp_path, open_log):
    with Faults("pwrite", nth=2, error=errno.EINTR) as calls:
        log, state = open_log(tmp_path / "wal")
        log.wait(log.append(b"a"))
        assert calls.matched > 2
    assert state.records == {1: b"a"}


def test_no_descriptor_for_the_next_file_refuses_and_goes_on(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal", file_bytes=1024)
    log.wait(log.append(b"a" * 600))
    with Faults("open", nth=1, error=errno.EMFILE, forever=True), pytest.raises(StorageError) as caught:
        log.wait(log.append(b"b" * 600))
    assert caught.value.errno == errno.EMFILE
    assert log.append(b"c" * 600) == 2
    log.wait(log.last_seq)
    log.close()
    _, again = open_log(tmp_path / "wal")
    assert again.records == state.records == {1: b"a" * 600, 2: b"c" * 600}


def test_an_apply_that_fails_fails_the_log_and_replay_does_it_again(tmp_path, open_log):
    log = LocalLog(tmp_path / "wal")

    def apply(first_seq: int, records: list[bytes]) -> None:
        if b"bad" in records:
            raise ZeroDivisionError("store")

    log.start(0, apply)
    log.wait(log.append(b"good"))
    with pytest.raises(StorageError) as caught:
        log.wait(log.append(b"bad"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (log.durable_seq, log.applied_seq) == (2, 1)
    with pytest.raises(StorageError):
        log.append(b"x")
    log.close()
    _, state = open_log(tmp_path / "wal", 1)
    assert state.records == {2: b"bad"}


def test_many_threads_on_a_disk_that_is_full_at_times(tmp_path, open_log):
    """Every record is acknowledged and there, or refused and not there."""
    log, state = open_log(tmp_path / "wal", file_bytes=256 << 10)
    accepted: list[bytes] = []
    refused: list[bytes] = []

    def write(number: int) -> None:
        for i in range(200):
            record = b"%d/%d" % (number, i) * 20
            try:
                log.wait(log.append(record))
                accepted.append(record)
            except StorageFullError:
                refused.append(record)

    workers = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        with Faults("pwrite", nth=3, error=errno.ENOSPC, torn=True) as calls:
            while calls.matched < 6 and any(worker.is_alive() for worker in workers):
                workers[0].join(0.001)
    for worker in workers:
        worker.join()
    assert refused and accepted
    assert sorted(accepted) == sorted(state.records.values())
    log.close()
    _, again = open_log(tmp_path / "wal")
    assert again.records == state.records


def run_workload(folder: Path, applied: dict[int, bytes], acknowledged: dict[int, bytes], trimmed: list[int]) -> None:
    """Write, trim, rotate, recycle and reopen; keeps what was acknowledged, and up to where it is not needed any more."""

    def apply(first_seq: int, records: list[bytes]) -> None:
        applied.update(enumerate(records, first_seq))

    for session in range(2):
        log = LocalLog(folder, file_bytes=1500)
        try:
            log.start(max(acknowledged, default=0), apply)
            for i in range(12):
                record = b"%d-%d " % (session, i) * 80
                seq = log.append(record)
                log.wait(seq)
                acknowledged[seq] = record
                if i == 11:
                    trimmed.append(seq)
                    log.trim(seq)
        finally:
            log.close()


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_nth_call_fails(tmp_path, name, error, forever):
    nth = 0
    while True:
        nth += 1
        folder = tmp_path / f"{nth}"
        acknowledged: dict[int, bytes] = {}
        trimmed = [0]
        with Faults(name, nth=nth, error=error, forever=forever, torn=True) as calls:
            try:
                run_workload(folder, {}, acknowledged, trimmed)
            except TsengineError as caught:
                assert not isinstance(caught, CorruptionError)
            reached = calls.matched >= nth
        found: dict[int, bytes] = {}
        first_seq = max(len(acknowledged), trimmed[-1] + 1)
        log = LocalLog(folder, file_bytes=1500)
        log.start(first_seq - 1, lambda first, records, found=found: found.update(enumerate(records, first)))
        for seq, record in acknowledged.items():
            assert seq < first_seq or found[seq] == record
        assert len(found) <= len(acknowledged) - first_seq + 2  # at most one in doubt
        log.wait(log.append(b"alive"))
        log.close()
        shutil.rmtree(folder)
        if not reached:
            break
    assert nth > 1


def test_a_file_size_limit_is_a_full_disk(tmp_path, open_log):
    log, state = open_log(tmp_path / "wal")
    log.wait(log.append(b"a"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, limits[1]))
    try:
        with pytest.raises(StorageFullError) as caught:
            log.wait(log.append(bytes(3 << 20)))
        assert caught.value.errno == errno.EFBIG
        log.wait(log.append(b"b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.wait(log.append(bytes(3 << 20)))
    log.close()
    _, again = open_log(tmp_path / "wal")
    assert again.records == state.records == {1: b"a", 2: b"b", 3: bytes(3 << 20)}


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_really_full(small_disk, open_log):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    log, state = open_log(small_disk / "wal", file_bytes=512 << 10)
    accepted = 0
    with pytest.raises(StorageFullError):
        while True:
            log.wait(log.append(b"%06d" % accepted * 2000))
            accepted += 1
    assert accepted > 50 and log.last_seq == log.applied_seq == accepted
    assert len(list(log.read(1))) == accepted
    with pytest.raises(StorageFullError):
        log.wait(log.append(bytes(64 << 10)))
    ballast.unlink()
    log.wait(log.append(bytes(64 << 10)))
    log.trim(accepted)
    log.wait(log.append(bytes(64 << 10)))
    log.close()
    _, again = open_log(small_disk / "wal", accepted)
    assert list(again.records) == [accepted + 1, accepted + 2]
    assert len(state.records) == accepted + 2


def test_close_and_open_on_a_full_disk(small_disk, open_log):
    log, state = open_log(small_disk / "wal")
    log.wait(log.append(b"a"))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(StorageFullError):
        log.wait(log.append(bytes(2 << 20)))
    log.close()
    log, again = open_log(small_disk / "wal")
    assert again.records == state.records == {1: b"a"}
    ballast.unlink()
    log.wait(log.append(bytes(2 << 20)))
