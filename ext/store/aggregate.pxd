"""Buckets over block statistics, decoding only blocks at the edges."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from tsengine.core.codec.integer cimport IntegerProbe
from tsengine.core.store.cells cimport BucketCells
from tsengine.core.store.direct cimport BlockNumbers, BlockSource, DirectFault
from tsengine.core.store.scan cimport BlockRef, SeriesScan
from tsengine.core.store.segment cimport SegmentFooter


cdef class Buckets(BucketCells):
    """The points of scans, dealt to buckets."""

    cdef int add_spans(self, SeriesScan scan) except -1
    cdef int add_direct(self, SeriesScan scan) except -1
    cdef bint is_dense(self, const BlockSource* source, const BlockRef* ref) noexcept nogil
    cdef DirectFault add_dense(
        self, const BlockSource* source, const BlockRef* ref, SeriesScan scan, int64_t* times, int64_t* values
    ) noexcept nogil
    cdef void add_cuts(
        self, const BlockSource* source, const BlockRef* ref, const IntegerProbe* probe, uint8_t kind, BlockNumbers* numbers,
        const int64_t* values
    ) noexcept nogil
    cdef bint has_halves(self, int64_t bucket, int64_t cut, const BlockRef* ref) noexcept nogil
    cdef void add_halves(
        self, const SegmentFooter* footer, int64_t block, int64_t bucket, BlockNumbers* numbers, int64_t cut, int64_t n
    ) noexcept nogil
    cdef void add_block(self, SeriesScan scan, const BlockRef* ref, bint all_finite, int64_t* times, int64_t* values) noexcept nogil
    cdef bint has_statistics(self, const BlockSource* source, const BlockRef* ref) noexcept nogil
    cdef void add_statistics(self, const BlockSource* source, int64_t block, uint8_t kind, int64_t bucket) noexcept nogil
    cdef void add_points(
        self, const int64_t* time, const uint64_t* sequence, const int64_t* value, int64_t n, uint8_t kind, bint all_finite
    ) noexcept nogil
    cdef void add_sparse(self, const int64_t* time, const double* values, int64_t n) noexcept nogil
