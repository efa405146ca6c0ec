"""The build says of itself what it is: the lists of requirements agree, the stubs match, and the tree holds one whole build."""

import re
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.M)


def wishes(name: str) -> set[str]:
    """Return the lines of requirements/NAME.in that name a package."""
    lines = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith(("#", "-r"))}


def pins(name: str) -> dict[str, set[str]]:
    """Return the versions of each package of requirements/NAME.txt; more than one where they depend on the Python."""
    found: dict[str, set[str]] = {}
    for package, version in PINNED.findall((ROOT / "requirements" / f"{name}.txt").read_text()):
        found.setdefault(package, set()).add(version)
    return found


def test_wishes_are_those_of_the_project() -> None:
    project = PROJECT["project"]
    assert wishes("build") == set(PROJECT["build-system"]["requires"])
    assert wishes("server") == {*project["dependencies"], *project["optional-dependencies"]["server"]}
    assert wishes("dev") == set(project["optional-dependencies"]["dev"])


@pytest.mark.parametrize("name", ["build", "server", "dev", "bench", "arcticdb"])
def test_every_pin_has_hashes_and_every_wish_a_pin(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=[\w.-]+==)", text)[1:] if text.startswith("#") else []
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    named = {re.split(r"[<>=]", wish)[0].lower() for wish in wishes(name)}
    assert named <= pins(name).keys()


def test_what_is_deployed_is_what_was_tested() -> None:
    tested = pins("dev")
    assert all(tested[package] == versions for name in ("build", "server") for package, versions in pins(name).items())


def test_what_is_measured_is_what_was_tested() -> None:
    measured = pins("bench")
    assert all(measured[package] == versions for package, versions in pins("dev").items())


def test_the_tree_holds_one_whole_build() -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = {path.with_name(path.name.removesuffix(suffix)) for path in (ROOT / "ext").rglob(f"*{suffix}")}
    assert built == {path.with_suffix("") for path in (ROOT / "ext").rglob("*.pyx")}, "run `make clean build`"


def test_the_package_is_typed() -> None:
    assert (ROOT / "tsengine" / "py.typed").exists()
