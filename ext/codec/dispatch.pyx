"""The kernels of this CPU, chosen once at import: AVX2 where the CPU has it, unless TSENGINE_CPU=baseline."""


cdef extern from "codec/dispatch.h" nogil:
    const Kernels* kernels_choose()


kernels = kernels_choose()


def cpu() -> str:
    """Name the CPU target in use: "avx2" or "baseline"."""
    return kernels.name.decode()
