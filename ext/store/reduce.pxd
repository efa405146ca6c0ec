"""Reductions over the values of a block, for this CPU, chosen once at import. See reduce.h for what each computes."""

from libc.stdint cimport int32_t, int64_t


cdef extern from "store/reduce.h" nogil:
    ctypedef struct Reducers:
        void (*sum)(const double* values, int64_t n, double* high, double* low) noexcept nogil
        void (*range)(const double* values, int64_t n, double* low, double* high) noexcept nogil
        double (*squares)(const double* values, int64_t n, double mean) noexcept nogil
        int (*all_finite)(const double* values, int64_t n) noexcept nogil
        int (*ascends)(const int64_t* values, int64_t n) noexcept nogil
        int64_t (*between)(const double* values, int64_t n, double low, double high) noexcept nogil
        void (*integer_sum)(const int64_t* values, int64_t n, int64_t* high, int64_t* low) noexcept nogil
        void (*integer_range)(const int64_t* values, int64_t n, int64_t* low, int64_t* high) noexcept nogil
        int64_t (*integer_between)(const int64_t* values, int64_t n, int64_t low, int64_t high) noexcept nogil
        void (*word_range)(const int32_t* values, int64_t n, int32_t* low, int32_t* high) noexcept nogil
        int64_t (*word_between)(const int32_t* values, int64_t n, int32_t low, int32_t high) noexcept nogil

    void reduce_two_sum(double* high, double* low, double value)


cdef const Reducers* reducers
