"""The wheel in an environment of its own does what it promises, with no more packages than it names."""

from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.packaging.making import ROOT, run

SMOKE = ROOT / "tests" / "packaging" / "smoke.py"


def test_the_library_needs_only_what_it_names(library: Path, tmp_path: Path) -> None:
    (site,) = library.parents[1].glob("lib/python*/site-packages")
    allowed = {"tsengine", "numpy", "pyarrow", "lmdb", "msgspec", "backports.zstd", "backports-zstd", "pip", "typing_extensions"}
    assert {found.metadata["Name"] for found in distributions(path=[str(site)])} <= allowed
    assert run(library, "-I", SMOKE, cwd=tmp_path).count(": ok") == 2


def test_the_server_needs_only_its_extra(server: Path, tmp_path: Path) -> None:
    assert run(server, "-I", SMOKE, "server", cwd=tmp_path).count(": ok") == 2


@pytest.mark.parametrize("module", ["tsengine.server.run", "tsengine.mqtt.listener", "tsengine.cli.app"])
def test_the_server_imports_every_module(server: Path, tmp_path: Path, module: str) -> None:
    """Also what is imported only when a route, a command or a chart asks for it."""
    package = module.rpartition(".")[0]
    code = (
        f"import importlib, pkgutil, {package} as package\n"
        "for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)"
    )
    run(server, "-I", "-c", code, cwd=tmp_path)
