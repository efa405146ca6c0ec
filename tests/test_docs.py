"""The examples of README.md and docs/ run as they stand and print what the pages show; links lead somewhere.

A page is one program, run from top to bottom in an empty folder; of recipes.md each section is one. Its fenced blocks:

- `python` runs, all blocks in one namespace. One that begins with the comment `# NAME.py` is saved under that name instead.
- `sh` runs in one bash, in which `tsengine` and `python` are those under test. A server in the background is waited for.
- `text` is what the block before it prints; `...` stands for anything.

The ports 8080 and 1883 become free ones. What is indented, or fenced as another language, is only shown.
"""

import contextlib
import doctest
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tsengine import errors

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTIONAL = {"duckdb", "polars"}  # of requirements/bench.txt, which not every machine has
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
LISTENS = re.compile(r"(listens|running) on http")
DONE, ENDED = "this block is done", "this shell has ended"


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of the first line of code in its page


class Example(NamedTuple):
    page: Path
    title: str
    blocks: list[Block]


def examples() -> Iterator[Example]:
    """Yield what runs as one program: a page with blocks that run, or a section of the recipes."""
    for page in PAGES:
        text = page.read_text()
        blocks = [Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in FENCE.finditer(text)]
        heads = [(text.count("\n", 0, found.start()) + 1, found[1]) for found in re.finditer(r"^## (.*)", text, re.M)]
        parts = heads if page.name == "recipes.md" else [(0, "page")]
        for (start, title), (end, _) in zip(parts, [*parts[1:], (len(text), "")], strict=True):
            own = [block for block in blocks if start < block.line <= end]
            if any(block.language in ("python", "sh") for block in own):
                yield Example(page, title, own)


class Shell:
    """A bash that keeps its variables and its servers from block to block."""

    def __init__(self, folder: Path) -> None:
        bin = folder / ".bin"
        bin.mkdir()
        for name, command in (("tsengine", f"{sys.executable} -m tsengine"), ("python", sys.executable)):
            (bin / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (bin / name).chmod(0o755)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            ["bash", "-eo", "pipefail"],
            cwd=folder,
            env={**os.environ, "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(f"trap 'echo {ENDED}' EXIT\n")  # a server may outlive it and keep the pipe open

    def run(self, code: str) -> str:
        """Run a block and return what it printed; a command that fails ends the shell."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{{\n{code}\n}} </dev/null\nprintf '\\n%s\\n' '{DONE}'\n")
        self.process.stdin.flush()
        waits_for = {DONE, *(["server"] if re.search(r"(serve|server\.py)\b.*&$", code, re.M) else [])}
        printed = []
        for line in self.process.stdout:
            printed.append(line)
            if line.strip() == ENDED:
                break
            waits_for -= {DONE} if line.strip() == DONE else {"server"} if LISTENS.search(line) else set()
            if not waits_for:
                return "".join(line for line in printed if line.strip() != DONE)
        raise AssertionError(f"a command failed:\n{code}\n{''.join(printed)}")

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.communicate()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def run_python(page: Path, block: Block, names: dict[str, Any], folder: Path) -> str:
    """Run a block, or save it if it is a file, and return what it printed."""
    if saved := re.match(r"# (\w+\.py)\n", block.code):
        (folder / saved[1]).write_text(block.code)
        return ""
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.code, str(page), "exec", dont_inherit=True)
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("example", list(examples()), ids=lambda example: f"{example.page.name}-{example.title}")
def test_examples_run(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "curl" in "".join(block.code for block in example.blocks if block.language == "sh") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    monkeypatch.chdir(tmp_path)
    ports = {port: free_port() for port in ("8080", "1883")}
    names, shell, printed = {"__name__": "example"}, Shell(tmp_path), ""
    try:
        for block in example.blocks:
            block = block._replace(code=re.sub(r"8080|1883", lambda found: ports[found[0]], block.code))
            if block.language == "python":
                printed = run_python(example.page, block, names, tmp_path)
            elif block.language == "sh":
                printed = shell.run(block.code)
            elif block.language == "text":
                flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
                is_same = doctest.OutputChecker().check_output(block.code, printed, flags)
                assert is_same, f"{example.page}:{block.line} shows\n{block.code}\nprinted was\n{printed}"
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed (make bench-peers)")
    finally:
        shell.close()


def test_the_recipes_are_found() -> None:
    assert sum(example.page.name == "recipes.md" for example in examples()) >= 15


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}
    missing = [page.name for page in PAGES if page.is_relative_to(index.parent) and page != index and page not in listed]
    assert not missing


def test_operations_names_every_error() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.TsengineError)]
    assert [name for name in names if f"`{name}" not in text] == []


def messages() -> Iterator[str]:
    """Yield the longest constant part of each message with which the sources say that a store cannot go on."""
    raised = re.compile(r'(?:Busy|Closed|Storage|StorageFull)Error\(\s*(?:[\w. ]+,\s*)?((?:f?"[^"\n]*"\s*)+)')
    for path in (path for folder in ("tsengine", "ext") for path in sorted((ROOT / folder).rglob("*.py*"))):
        if path.suffix in (".py", ".pyx") and "core" not in path.parts:
            for found in raised.finditer(path.read_text()):
                text = "".join(re.findall(r'"([^"\n]*)"', found[1]))
                yield max(re.split(r"\{[^}]*\}", text), key=len)


def test_operations_explains_every_message() -> None:
    """Of each message some words that are its own are on the page: half of its longest constant part."""
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "operations.md").read_text())
    found = list(messages())
    assert len(found) > 25
    unknown = [
        part for part in found if not any(part[i : i + len(part) // 2].strip() in text for i in range(len(part) - len(part) // 2 + 1))
    ]
    assert not unknown
