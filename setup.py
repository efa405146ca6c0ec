"""Compile every ext/**/*.pyx into tsengine.core.*; all compiler settings live here.

TSENGINE_CHECKED=1 builds with bounds checks, overflow checks and assertions (see `make build-checked`).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CHECKED = os.environ.get("TSENGINE_CHECKED") == "1"

DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "cdivision": True,
    "nonecheck": CHECKED,
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "overflowcheck": False,
}

# No fused multiply-add behind our back and no -march: encoded bytes must be the same on every CPU.
COMPILE_ARGS = ["-std=gnu11", "-O3", "-fopenmp-simd", "-ffp-contract=off", "-fno-strict-aliasing", "-fvisibility=hidden"]
if CHECKED:
    COMPILE_ARGS += ["-DTSENGINE_CHECKED=1", "-UNDEBUG"]


def extension(source: Path) -> Extension:
    module = ".".join(source.with_suffix("").parts[1:])
    return Extension(
        f"tsengine.core.{module}",
        [source.as_posix()],
        include_dirs=["ext"],
        depends=[header.as_posix() for header in Path("ext").rglob("*.h")],
        extra_compile_args=COMPILE_ARGS,
    )


setup(
    ext_modules=cythonize(
        [extension(source) for source in sorted(Path("ext").rglob("*.pyx"))],
        include_path=["."],
        compiler_directives=DIRECTIVES,
        nthreads=int(os.environ.get("TSENGINE_BUILD_JOBS", "0")),
    )
)
