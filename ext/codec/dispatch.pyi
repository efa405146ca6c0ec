"""The kernels of this CPU, chosen once at import."""

def cpu() -> str:
    """Name the CPU target in use: "avx2" or "baseline"."""
