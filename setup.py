"""List the extensions (every ext/**/*.pyx becomes tsengine.core.*) and how they are compiled; all compiler settings live here.

Environment:
    TSENGINE_CHECKED=1   bounds checks, initialised checks and assertions on (`make build-checked`).
    TSENGINE_SANITIZED=1 AddressSanitizer and UndefinedBehaviorSanitizer on (`make test-asan`).
    TSENGINE_THREADS=1   ThreadSanitizer on (`make test-tsan`).
    TSENGINE_FUZZED=1    as TSENGINE_SANITIZED, and each branch calls __sanitizer_cov_trace_pc of tests/fuzz/coverage.c (`make fuzz`).
    TSENGINE_ANNOTATE=1  write the annotated HTML beside the translated C (`make annotate`).
    TSENGINE_COMPILE=0   no extensions: link the Python files only, the caller compiles by himself (`make build`).

Translated C and objects go to build/KIND-KEY, where the key is made of every setting below. So the kinds never share a file,
a changed setting never meets an old object, and going from one kind to the other and back compiles nothing.
"""

import os
import sys
import zlib
from pathlib import Path

import Cython
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

if sys.byteorder != "little" or sys.maxsize < 2**63 - 1:
    sys.exit("tsengine needs a 64-bit little-endian machine: it maps whole files, and reads little-endian numbers where they lie in them")
if os.name != "posix":
    sys.exit("tsengine runs on Linux and macOS; on Windows use it in WSL")

CHECKED = os.environ.get("TSENGINE_CHECKED") == "1"
FUZZED = os.environ.get("TSENGINE_FUZZED") == "1"
SANITIZED = FUZZED or os.environ.get("TSENGINE_SANITIZED") == "1"
THREADS = os.environ.get("TSENGINE_THREADS") == "1"
ANNOTATE = os.environ.get("TSENGINE_ANNOTATE") == "1"
COMPILE = os.environ.get("TSENGINE_COMPILE") != "0"

DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "cdivision": True,
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "overflowcheck": False,
}

# No fused multiply-add behind our back and no -march: encoded bytes must be the same on every CPU.
COMPILE_ARGS = ["-std=gnu11", "-fopenmp-simd", "-ffp-contract=off", "-fno-strict-aliasing", "-fvisibility=hidden"]
LINK_ARGS = []
if CHECKED:
    KIND = "checked"
    COMPILE_ARGS += ["-O1", "-g", "-DTSENGINE_CHECKED=1", "-UNDEBUG"]
elif SANITIZED:
    KIND = "sanitized"
    LINK_ARGS = ["-fsanitize=address,undefined"]
    # Copying or sorting nothing at NULL is what empty tables do; every libc takes it, and the next C allows it.
    COMPILE_ARGS += [
        "-O1",
        "-g1",
        "-fno-omit-frame-pointer",
        "-fno-sanitize-recover=undefined",
        *LINK_ARGS,
        "-fno-sanitize=nonnull-attribute",
    ]
    if FUZZED:
        KIND = "fuzzed"
        COMPILE_ARGS += ["-fsanitize-coverage=trace-pc"]
elif THREADS:
    KIND = "threads"
    LINK_ARGS = ["-fsanitize=thread"]
    COMPILE_ARGS += ["-O1", "-g1", "-fno-omit-frame-pointer", *LINK_ARGS]
else:
    KIND = "normal"
    COMPILE_ARGS += ["-O3", "-g0"]

KEY = zlib.crc32(repr((Cython.__version__, sorted(DIRECTIVES.items()), COMPILE_ARGS)).encode())
BUILD = Path("build", f"{KIND}-{KEY:08x}")
JOBS = os.cpu_count() or 1

# Compiled in the tree, where tests need it; of no use to who installs the package.
FOR_TESTS = {"tsengine.core.os.faulty"}


class BuildPackage(build):
    """Take out of the folder of the package what the sources have no longer, so that no wheel holds it."""

    def run(self) -> None:
        compiled = set(self.get_finalized_command("build_ext").get_outputs())
        for path in Path(self.build_lib).rglob("*"):
            if path.is_file() and path.as_posix() not in compiled:
                path.unlink()
        super().run()


class BuildExtensions(build_ext):
    """Translate what changed, in one process per CPU, before the C compiler starts; note which kind was put into the tree."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if not self.inplace:
            self.extensions = [extension for extension in self.extensions if extension.name not in FOR_TESTS]

    def run(self) -> None:
        translated = cythonize(
            self.extensions,
            build_dir=BUILD.as_posix(),
            include_path=["."],
            compiler_directives=DIRECTIVES,
            annotate=ANNOTATE,
            force=ANNOTATE,
            nthreads=JOBS,
        )
        sources = {extension.name: extension.sources for extension in translated}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        super().run()
        if self.inplace:
            for other in Path("build").glob("in-tree-*"):
                other.unlink()
            Path("build", f"in-tree-{KIND}").touch()


def extension(source: Path) -> Extension:
    module = ".".join(source.with_suffix("").parts[1:])
    return Extension(
        f"tsengine.core.{module}",
        [source.as_posix()],
        include_dirs=["ext"],
        depends=sorted(header.as_posix() for header in Path("ext").rglob("*.h")),
        extra_compile_args=COMPILE_ARGS,
        extra_link_args=LINK_ARGS,
    )


if __name__ == "__main__":
    if not Path("tsengine", "core").exists():  # a source archive holds no links
        Path("tsengine", "core").symlink_to("../ext")
    setup(
        ext_modules=[extension(source) for source in sorted(Path("ext").rglob("*.pyx"))] if COMPILE else [],
        cmdclass={"build": BuildPackage, "build_ext": BuildExtensions},
        options={"build": {"build_base": BUILD.as_posix()}, "build_ext": {"parallel": JOBS}},
    )
