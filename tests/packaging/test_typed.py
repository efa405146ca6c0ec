"""What a user's type checker sees of the installed package: the types it should find, and the mistakes it should refuse."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.making import ROOT, run

PROGRAM = ROOT / "tests" / "packaging" / "typed" / "embedding.py"


def node_major() -> int:
    try:
        return int(subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip("v\n").split(".")[0])
    except (OSError, subprocess.CalledProcessError):
        return 0


def test_mypy_reads_the_installed_package(library: Path, tmp_path: Path) -> None:
    shutil.copy(PROGRAM, tmp_path)
    cache = ROOT / "build" / "mypy-installed"
    run(sys.executable, "-m", "mypy", "--strict", "--python-executable", library, "--cache-dir", cache, PROGRAM.name, cwd=tmp_path)


@pytest.mark.skipif(node_major() < 18, reason="pyright needs node 18 or newer: apt-get install nodejs")
def test_pyright_reads_the_installed_package(library: Path, tmp_path: Path) -> None:
    shutil.copy(PROGRAM, tmp_path)
    settings = {"typeCheckingMode": "standard", "reportUnnecessaryTypeIgnoreComment": "error", "reportMissingModuleSource": "none"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    run(Path(sys.executable).with_name("pyright"), "--pythonpath", library, cwd=tmp_path)
