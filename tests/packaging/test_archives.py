"""What is in the archives: all that builds the package, and nothing in the wheel that only its makers need."""

import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import tsengine
from tests.packaging.making import ROOT

WHEEL_BYTES_MAX = 8 << 20


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_modules_stubs_and_one_page(wheel: Path) -> None:
    names = names_in(wheel)
    code = {name for name in names if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in code} == {"tsengine"}
    assert {Path(name).suffix for name in code} == {".py", ".pyi", ".so", ".html", ".typed"}
    assert [name for name in code if name.endswith(".html")] == ["tsengine/server/docs.html"]
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_wheel_holds_every_module_of_the_tree(wheel: Path) -> None:
    names = {name.partition(".")[0] for name in names_in(wheel) if name.endswith((".py", ".so"))}
    python = {path.relative_to(ROOT).with_suffix("") for path in (ROOT / "tsengine").rglob("*.py") if "core" not in path.parts}
    compiled = {Path("tsengine/core", path.relative_to(ROOT / "ext").with_suffix("")) for path in (ROOT / "ext").rglob("*.py*")}
    headers = {Path("tsengine/core/limits")}  # a .pxd alone
    caches = {path for path in compiled if "__pycache__" in path.parts}
    assert names == {path.as_posix() for path in python | compiled - headers - caches - {Path("tsengine/core/os/faulty")}}


def test_every_compiled_module_of_the_wheel_has_its_stub(wheel: Path) -> None:
    names = names_in(wheel)
    compiled = {name.partition(".")[0] for name in names if name.endswith(".so")}
    assert compiled == {name.removesuffix(".pyi") for name in names if name.endswith(".pyi")}
    assert "tsengine/py.typed" in names


def test_the_wheel_is_small(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, unpacked {sum(entry.file_size for entry in archive.infolist()):,}")
    assert wheel.stat().st_size < WHEEL_BYTES_MAX


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        about = Parser().parsestr(archive.read(name).decode())
    needed = [line for line in about.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert about["Version"] == tsengine.__version__
    assert {line.split(">")[0] for line in needed} == {"numpy", "pyarrow", "lmdb", "msgspec", "backports-zstd"}
    assert about["License-Expression"] == "Apache-2.0"
    assert "server" in about.get_all("Provides-Extra", [])
    assert str(about.get_payload()).startswith("# tsengine")


def test_the_sdist_holds_the_sources_once_and_nothing_that_was_made(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not [name for name in names if name.startswith("tsengine/core")]
    assert not [name for name in names if Path(name).suffix in {".so", ".pyc"} or "node_modules" in name]
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "Makefile"} <= names
    assert {"ext/codec/kernels.h", "ext/limits.pxd", "tsengine/py.typed", "tests/model.py", "docs/architecture.md"} <= names
