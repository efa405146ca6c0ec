"""How a source archive, a wheel and an environment that holds nothing else are made; once a run, for all tests that look at them.

The wheel is always built from the unpacked source archive, which shows that this one is complete. `make test` lends it what is
compiled already and links the packages it needs from the environment of the tests, so that no network is needed and it takes
seconds. With TSENGINE_DIST=FOLDER (`make wheels`) the archives in FOLDER are tried, and pip gets what they need.
"""

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
DIST = os.environ.get("TSENGINE_DIST")
PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command, away from the tree; what it printed is in the failure."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    ended = subprocess.run(command, cwd=cwd, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ended.returncode == 0, f"{' '.join(map(str, command))}\n{ended.stdout}"
    return ended.stdout


def make_sdist(folder: Path) -> Path:
    if DIST is None:
        shutil.rmtree(ROOT / "tsengine.egg-info", ignore_errors=True)  # its list of files would be taken for part of the wish
        run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, cwd=ROOT)
    return next(Path(DIST or folder).resolve().glob("tsengine-*.tar.gz"))


def make_wheel(sdist: Path, folder: Path) -> Path:
    if DIST is None:
        shutil.unpack_archive(sdist, folder)
        (tree,) = folder.iterdir()
        for kind in (ROOT / "build").glob("normal-*"):
            shutil.copytree(kind, tree / "build" / kind.name, ignore=shutil.ignore_patterns("temp.*"))
        run(*PIP, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, tree, cwd=folder)
    return next(Path(DIST or folder).resolve().glob("tsengine-*.whl"))


def make_environment(wheel: Path, folder: Path, extra: str = "") -> Path:
    """Install the wheel, and what it and the extra need and nothing else; return the environment's Python."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    if DIST is None:
        run(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
        (site,) = folder.glob("lib/python*/site-packages")
        (installed,) = Distribution.discover(name="tsengine", path=[str(site)])
        link_requirements(installed, site, extra)
    else:
        run(*PIP, "--python", python, "install", "--only-binary", ":all:", f"tsengine[{extra}] @ {wheel.as_uri()}", cwd=folder)
    return python


def link_requirements(wanting: Distribution, site: Path, extra: str = "") -> None:
    """Link what a package requires into another environment, and what that requires in turn."""
    for requirement in map(Requirement, wanting.requires or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        wanted = distribution(requirement.name)
        assert requirement.specifier.contains(wanted.version, prereleases=True), requirement
        places = {file.parts[0] for file in wanted.files or [] if file.parts[0] not in ("..", "__pycache__")}
        new = [place for place in places if not (site / place).exists()]
        for place in new:
            (site / place).symlink_to(wanted.locate_file(place))
        if new:
            for asked in requirement.extras or {""}:
                link_requirements(wanted, site, asked)
