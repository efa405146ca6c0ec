"""What is done with a folder of WAL files before the first append: verify, deliver, and tell a torn tail from damage.

A frame that does not verify ends the log. If nothing behind it proves that it had been on disk, it is the write that a
crash cut off: it was never acknowledged and is cut away, so that its bytes can never be read again. If a good frame
or file behind it says by `synced_seq` that it had been on disk, acknowledged records are damaged: CorruptionError, and
nothing on disk is changed. Everything read is synced before it is delivered, because after a kill it may be in
memory only.
"""

import os

from libc.stdint cimport int64_t

from tsengine.core.log.frame cimport FILE_HEADER_BYTES, FrameWalker

from tsengine.core.os.file import close_file, open_file, remove_file, storage_error, sync_file, sync_folder, truncate_file
from tsengine.errors import CorruptionError

cdef enum:
    # Records are delivered in groups of about this size, so that a store can apply many in one transaction.
    REPLAY_RECORDS = 4096
    REPLAY_BYTES = 4 << 20

SUFFIX = ".wal"
SPARE_SUFFIX = ".spare"
DRAFT_NAME = "next.tmp"


def list_files(str folder, str suffix):
    cdef list found = []
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise storage_error(error.errno, "list the folder", folder) from error
    for name in names:
        digits = name.removesuffix(suffix)
        if name.endswith(suffix) and len(digits) == 20 and digits.isascii() and digits.isdigit():
            found.append((int(digits), os.path.join(folder, name)))
    return sorted(found)


cdef class Recovery:
    def __init__(self, str folder, int64_t applied, bint sync, deliver, int64_t reach=0):
        self.folder = folder
        self.reach = reach
        self.sync = sync
        self.deliver = deliver
        self.files = list_files(folder, SUFFIX)
        self.last_seq = applied
        self.delivered_seq = applied
        self.group = []

    def run(self, *, bint cut=True):
        cdef FrameWalker walker
        cdef int64_t index, expected = self.delivered_seq + 1
        if not self.files:
            return
        if self.files[0][0] > expected:
            raise CorruptionError("log: a WAL file is missing", file=self.files[0][1], expected=f"sequence {expected}",
                                  found=f"{self.files[0][0]}")
        index = max(i for i, (first_seq, _) in enumerate(self.files) if first_seq <= expected)
        walker = self.open(index)
        while True:
            self.walk(walker)
            self.last_seq = walker.next_seq - 1
            self.end_offset = walker.offset
            index += 1
            if index == len(self.files):
                following = None
                break
            following = self.open(index)
            if following.previous_seq != self.last_seq:
                break
            walker = following
        self.flush()
        if self.last_seq < self.reach and expected <= self.reach:
            raise CorruptionError("log: its end is missing", file=walker.path, offset=walker.offset, expected=f"sequence {self.reach}",
                                  found=f"{self.last_seq}, the last one")
        if following is not None or walker.size_bytes > walker.offset:
            self.judge(walker, index, cut)
        walker.close()

    cdef FrameWalker open(self, int64_t index):
        first_seq, path = self.files[index]
        cdef FrameWalker walker = FrameWalker(path, first_seq)
        if self.sync and walker.size_bytes > FILE_HEADER_BYTES:      # a header was on disk before its file got its name
            walker.sync()
        return walker

    cdef int walk(self, FrameWalker walker) except -1:
        cdef int64_t first_seq = walker.next_seq
        while (records := walker.next_frame()) is not None:
            for record in records:
                if first_seq > self.delivered_seq:
                    self.add(first_seq, record)
                first_seq += 1
        return 0

    cdef int add(self, int64_t seq, bytes record) except -1:
        if self.group and (seq != self.group_seq + len(self.group) or self.group_bytes + len(record) > REPLAY_BYTES
                           or len(self.group) >= REPLAY_RECORDS):
            self.flush()
        if not self.group:
            self.group_seq = seq
        self.group.append(record)
        self.group_bytes += len(record)
        return 0

    cdef int flush(self) except -1:
        if self.group:
            records, self.group, self.group_bytes = self.group, [], 0
            self.deliver(self.group_seq, records)
            self.record_count += len(records)
            self.delivered_seq = self.group_seq + len(records) - 1
        return 0

    cdef int judge(self, FrameWalker walker, int64_t index, bint cut) except -1:
        # The log ends at the walker's place, but bytes or files follow.
        cdef int64_t seq = walker.next_seq
        cdef FrameWalker later
        proof = walker.find_witness(seq)
        where = f"{walker.path} at byte {proof}" if proof >= 0 else ""
        for number in range(index, len(self.files)):
            later = FrameWalker(self.files[number][1], self.files[number][0])
            if later.synced_seq >= seq or later.find_witness(seq) >= 0:
                where = where or later.path
            self.torn_bytes += later.size_bytes
            later.close()
        if where:
            raise CorruptionError(f"log at sequence {seq}", file=walker.path, offset=walker.offset,
                                  expected=f"a frame, since {where} says that it was on disk", found="none that verifies")
        self.torn_bytes += walker.count_torn_bytes()
        if not cut:
            return 0
        # Newest first: after a crash in between the same tail is found again, only shorter.
        while len(self.files) > index:
            remove_file(self.files.pop()[1])
            sync_folder(self.folder)
        fd = open_file(walker.path, write=True)
        try:
            truncate_file(fd, walker.offset, walker.path)
            sync_file(fd, walker.path)
        finally:
            close_file(fd, walker.path)
        return 0
