"""The official JavaScript client against a real server: js/drive.mjs has the cases, each of which is a test here.

`make test` installs the client with npm into js/node_modules, exactly as package-lock.json has it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server.server_process import Server

FOLDER = Path(__file__).parent / "js"
NODE_MIN = 20
NODE = shutil.which("node")
CASES = re.findall(r'^  async "(.+)"\(\) \{$', (FOLDER / "drive.mjs").read_text(), re.MULTILINE)


def why_not() -> str | None:
    """Return why the client cannot run here, or None."""
    if NODE is None:
        return "node is not installed"
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < NODE_MIN:
        return f"node {version.strip()} is older than {NODE_MIN}"
    if not (FOLDER / "node_modules" / "@tago-io" / "sdk").exists():
        return "the JavaScript client is not installed: npm ci --prefix tests/server/js"
    return None


REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


def drive(*arguments: str) -> list[str]:
    assert NODE is not None
    done = subprocess.run([NODE, "drive.mjs", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def outcomes(server: Server) -> dict[str, str | None]:
    """What went wrong in each case; None = nothing."""
    return {outcome["name"]: outcome["error"] for outcome in map(json.loads, drive(server.url, server.account))}


def test_every_case_is_a_test() -> None:
    assert drive("names") == CASES and len(CASES) >= 19


@pytest.mark.parametrize("name", CASES)
def test_the_javascript_client(outcomes: dict[str, str | None], name: str) -> None:
    assert outcomes[name] is None, outcomes[name]
