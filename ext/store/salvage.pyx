"""Verify the blocks of a segment one by one, and copy those that are good into a new one: what check and repair need.

A segment that can be opened has a good directory, so a damaged block or dictionary takes no other block with it.
"""

from libc.stdint cimport int64_t

from tsengine.core.store.points cimport WANT_ALL, Columns, PointBuffer, StringMap
from tsengine.core.store.segment cimport Segment
from tsengine.core.store.segment_writer cimport SegmentWriter

from tsengine.errors import CorruptionError


def salvage(Segment segment, SegmentWriter writer=None, progress=None):
    cdef int64_t series, block
    cdef PointBuffer points
    cdef Columns columns
    cdef bint is_good
    cdef list damage = []
    for series in range(segment.footer.counts.series_count):
        device, name, kind = segment.footer.series_device[series], segment._name(series), segment.footer.series_kind[series]
        for block in range(segment.footer.series_first_block[series], segment.footer.series_first_block[series + 1]):
            points = PointBuffer(segment.footer.series_kind[series], WANT_ALL)
            error = None
            try:
                segment.decode(block, points.kind, points, StringMap(segment.dictionary(segment.footer.dictionary[block]), points.strings))
                is_good = segment.agrees(block, points)
                if not is_good:
                    error = segment.damaged("directory", segment.footer.offset[block], "statistics that are not those of its block")
            except CorruptionError as caught:
                is_good = False
                points.clear()
                error = caught
            if error is not None:
                damage.append((device, name, segment.footer.first_time[block], segment.footer.last_time[block],
                               segment.footer.count[block] - points.count, error))
            if writer is not None and points.count:
                writer.begin_series(device, name, len(name), kind)
                if is_good:
                    writer.copy_block(segment, block)
                else:
                    points.view(0, points.count, &columns)
                    writer.add_block(&columns, points.kind, points.strings)
            if progress is not None:
                progress(segment.footer.count[block])
    return damage
