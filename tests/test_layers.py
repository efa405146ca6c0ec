"""The sources keep the house rules: imports go down the floors, nothing is left half done, nothing names the machine it was made on."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The floors, lowest first. A module imports from lower floors, and from its own only what its line names (* = all of it).
# A name with a dot at the end is a package whose modules may import each other. A module may be listed before it exists.
FLOORS: list[dict[str, str]] = [
    {
        "tsengine.errors": "",
        "tsengine.limits": "",
        "tsengine.where": "tsengine.errors",
        "tsengine.types": "tsengine.core.calendar tsengine.errors tsengine.where",
        "tsengine.clock": "",
        "tsengine.ids": "",
        "tsengine.notices": "",
        "tsengine.rows": "tsengine.types",
        "tsengine.commands": "tsengine.errors tsengine.types",
        "tsengine.core": "",
        "tsengine.core.limits": "",
        "tsengine.core.calendar": "tsengine.errors",
        "tsengine.core.places": "",
        "tsengine.core.json_rows": "tsengine.types tsengine.core.places",
        "tsengine.core.os": "",
        "tsengine.core.os.arena": "tsengine.errors",
        "tsengine.core.os.mapping": "tsengine.errors",
        "tsengine.core.os.lmdb_pages": "tsengine.errors tsengine.core.os.mapping",
        "tsengine.core.os.file": "tsengine.errors",
        "tsengine.core.os.faulty": "tsengine.errors tsengine.core.os.file",
    },
    {
        "tsengine.core.codec": "",
        "tsengine.core.codec.compress": "",
        "tsengine.core.codec.crc32c": "",
        "tsengine.core.codec.dispatch": "",
        "tsengine.core.codec.fields": "",
        "tsengine.core.codec.plan": "tsengine.core.codec.dispatch",
        "tsengine.core.codec.integer": "tsengine.core.codec.dispatch tsengine.core.codec.fields tsengine.core.codec.plan",
        "tsengine.core.codec.number": "tsengine.core.codec.dispatch tsengine.core.codec.fields tsengine.core.codec.integer",
        "tsengine.core.codec.doors": "tsengine.core.codec.fields tsengine.core.codec.integer tsengine.core.codec.number",
        "tsengine.core.codec.strings": "",
    },
    {
        "tsengine.core.batch": "",
        "tsengine.core.log": "",
        "tsengine.core.log.frame": "",
        "tsengine.core.log.recovery": "tsengine.core.log.frame",
        "tsengine.core.log.folder": "tsengine.core.log.frame tsengine.core.log.recovery",
        "tsengine.core.log.wal": "tsengine.core.batch tsengine.core.log.frame tsengine.core.log.recovery tsengine.core.log.folder",
    },
    {
        "tsengine.core.ingest": "",
        "tsengine.core.ingest.fields": "",
        "tsengine.core.ingest.decimal": "",
        "tsengine.core.ingest.memo": "",
        "tsengine.core.ingest.cell": "tsengine.core.ingest.decimal",
        "tsengine.core.ingest.points": "tsengine.core.ingest.fields",
        "tsengine.core.ingest.columns": "tsengine.core.ingest.cell tsengine.core.ingest.fields tsengine.core.ingest.memo",
        "tsengine.core.ingest.line": "tsengine.core.ingest.decimal tsengine.core.ingest.fields tsengine.core.ingest.memo",
        "tsengine.core.ingest.table": "tsengine.core.ingest.fields",
        "tsengine.core.ingest.rows": "tsengine.core.ingest.table",
        "tsengine.core.store": "",
        "tsengine.core.store.points": "",
        "tsengine.core.store.statistics": "tsengine.core.store.points",
        "tsengine.core.store.block": "tsengine.core.store.points tsengine.core.store.statistics",
        "tsengine.core.store.segment": "tsengine.core.store.block tsengine.core.store.points tsengine.core.store.statistics",
        "tsengine.core.store.segment_writer": (
            "tsengine.core.store.block tsengine.core.store.points tsengine.core.store.segment tsengine.core.store.statistics"
        ),
        "tsengine.core.store.memtable": "tsengine.core.store.block tsengine.core.store.points",
        "tsengine.core.store.reduce": "",
        "tsengine.core.store.recycled": "",
        "tsengine.core.store.condition": "tsengine.core.store.points tsengine.core.store.statistics",
        "tsengine.core.store.direct": "tsengine.core.store.block tsengine.core.store.reduce tsengine.core.store.segment",
        "tsengine.core.store.coded": (
            "tsengine.core.store.block tsengine.core.store.condition tsengine.core.store.reduce tsengine.core.store.segment"
        ),
        "tsengine.core.store.scan": (
            "tsengine.core.store.coded tsengine.core.store.condition tsengine.core.store.direct tsengine.core.store.memtable"
            " tsengine.core.store.points tsengine.core.store.recycled tsengine.core.store.reduce tsengine.core.store.segment"
        ),
        "tsengine.core.store.extremes": (
            "tsengine.core.store.direct tsengine.core.store.points tsengine.core.store.reduce tsengine.core.store.scan"
            " tsengine.core.store.segment"
        ),
        "tsengine.core.store.page": "tsengine.core.store.points tsengine.core.store.scan",
        "tsengine.core.store.register": "tsengine.core.store.page",
        "tsengine.core.store.seal": "tsengine.core.store.memtable tsengine.core.store.points tsengine.core.store.segment_writer",
        "tsengine.core.store.bulk": (
            "tsengine.core.ingest.rows tsengine.core.ingest.table tsengine.core.store.points tsengine.core.store.seal"
            " tsengine.core.store.segment_writer"
        ),
        "tsengine.core.store.merge": (
            "tsengine.core.store.block tsengine.core.store.points tsengine.core.store.scan tsengine.core.store.seal"
            " tsengine.core.store.segment tsengine.core.store.segment_writer"
        ),
        "tsengine.core.store.salvage": "tsengine.core.store.points tsengine.core.store.segment tsengine.core.store.segment_writer",
        "tsengine.core.store.cells": "tsengine.core.store.reduce",
        "tsengine.core.store.aggregate": (
            "tsengine.core.store.cells tsengine.core.store.direct tsengine.core.store.points tsengine.core.store.reduce"
            " tsengine.core.store.scan tsengine.core.store.segment"
        ),
    },
    {
        "tsengine.store": "",
        "tsengine.store.environment": "",
        "tsengine.store.lockfile": "",
        "tsengine.store.unfinished": "",
        "tsengine.store.reserve": "",
        "tsengine.store.period": "",
        "tsengine.store.catalog": "tsengine.store.environment",
        "tsengine.store.manifest": "tsengine.store.environment",
        "tsengine.store.register_rows": "",
        "tsengine.store.register_check": "tsengine.store.environment tsengine.store.register_rows",
        "tsengine.store.register_pending": "tsengine.store.register_rows",
        "tsengine.store.register_writer": (
            "tsengine.store.environment tsengine.store.register_rows tsengine.store.register_check tsengine.store.register_pending"
        ),
        "tsengine.store.registers": (
            "tsengine.store.environment tsengine.store.register_rows tsengine.store.register_check tsengine.store.register_pending"
            " tsengine.store.register_writer"
        ),
        "tsengine.store.view": "tsengine.store.manifest",
        "tsengine.store.columnar": "tsengine.store.environment tsengine.store.manifest tsengine.store.period tsengine.store.view",
        "tsengine.store.retention": "tsengine.store.columnar tsengine.store.manifest tsengine.store.period tsengine.store.view",
        "tsengine.store.pace": "",
        "tsengine.store.compaction": (
            "tsengine.store.columnar tsengine.store.manifest tsengine.store.pace tsengine.store.period tsengine.store.view"
        ),
    },
    {
        "tsengine.log": "",
        "tsengine.ingest.": "",
        "tsengine.query.": "",
        "tsengine.engine.engine": "*",
        "tsengine.engine.": "tsengine.log",
        "tsengine.care.": "tsengine.log",
    },
    {
        "tsengine.arguments": "",
        "tsengine.arrow_out": "",
        "tsengine.arrow_sizes": "",
        "tsengine.arrow": "tsengine.arrow_sizes tsengine.arrow_out",
        "tsengine.reads": "tsengine.arguments tsengine.arrow_out",
        "tsengine.transfer.": "*",
        "tsengine.device": "tsengine.arguments tsengine.arrow tsengine.reads",
        "tsengine.aio": "tsengine.arguments tsengine.device tsengine.arrow",
        "tsengine": "*",
    },
    {"tsengine.server.": "*", "tsengine.cluster.": "*"},
    {"tsengine.mqtt.": "*"},
    {"tsengine.cli.": "*", "tsengine.__main__": "*"},
]

# Imports that go up, inside a function, each with its reason.
UPWARD = {
    ("tsengine.engine.engine", "tsengine.device"): "the engine hands out Device objects, which call it back",
    ("tsengine.server.run", "tsengine.mqtt.listener"): "the server is started in one place; without --mqtt there is no listener",
    ("tsengine.engine.writes", "tsengine.arrow"): "pyarrow is imported where a table is handled, not when a store is opened",
}

# The server speaks to the embedding API alone; what replaces the local store must not be felt above.
FORBIDDEN = {"tsengine.server.": ("tsengine.store", "tsengine.core.store"), "tsengine.cluster.": ("tsengine.store", "tsengine.core.store")}

CYTHON_IMPORT = re.compile(
    r"^\s*(?:from\s+(?P<source>[\w.]+)\s+c?import\s+(?P<names>[^#\n]*)|c?import\s+(?P<modules>tsengine[\w., ]*))", re.M
)


def sources() -> dict[str, list[Path]]:
    """Return the files of every module of the package by its name; ext/ is tsengine.core."""
    found: dict[str, list[Path]] = {}
    for folder, package in (("ext", "tsengine.core"), ("tsengine", "tsengine")):
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if path.suffix not in {".py", ".pyx", ".pxd"} or (folder == "tsengine" and parts[0] == "core"):
                continue
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found.setdefault(name, []).append(path)
    return found


def room(module: str) -> tuple[int, str] | None:
    """Return (floor, the line of the table) of a module, or None when the table does not know it."""
    for floor, rooms in enumerate(FLOORS):
        for name in rooms:
            if module == name or (name.endswith(".") and f"{module}.".startswith(name)):
                return floor, name
    return None


def imports_of_python(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (module, names taken from it); what only a type checker sees is not an import."""
    pending: list[ast.AST] = [ast.parse(text)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending.extend(node.orelse)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield node.module or "", [alias.name for alias in node.names]
        else:
            pending.extend(ast.iter_child_nodes(node))


def imports_of_cython(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (module, names taken from it) of import and cimport lines; names matter only when the module is a package."""
    for line in CYTHON_IMPORT.finditer(text):
        if line["source"]:
            yield line["source"], re.findall(r"(\w+)(?:\s+as\s+\w+)?", line["names"])
        else:
            yield from ((name, []) for name in re.findall(r"(tsengine[\w.]*)", line["modules"]))


def edges(known: dict[str, list[Path]]) -> Iterator[tuple[str, str, Path]]:
    """Yield (importer, imported, file) for every import of one module of the package by another."""
    for module, paths in known.items():
        for path in paths:
            read = imports_of_python if path.suffix == ".py" else imports_of_cython
            for source, names in read(path.read_text()):
                if source.split(".")[0] != "tsengine":
                    continue
                below = {f"{source}.{name}" for name in names} & known.keys()
                for target in below or {source}:
                    if target != module:
                        yield module, target, path


def test_every_module_has_a_floor() -> None:
    lost = [module for module in sources() if room(module) is None]
    assert not lost, f"add to FLOORS, and to docs/architecture.md: {lost}"


def test_imports_go_down_only() -> None:
    wrong = []
    for module, target, path in edges(sources()):
        here, there = room(module), room(target)
        if here is None or there is None or (module, target) in UPWARD:
            continue
        allowed = FLOORS[here[0]][here[1]].split()
        same_floor = here[0] == there[0] and ("*" in allowed or there[1] in allowed or here[1] == there[1])
        if here[0] <= there[0] and not same_floor:
            wrong.append(f"{path.relative_to(ROOT)} (floor {here[0]}) imports {target} (floor {there[0]})")
    assert not wrong, "\n".join(wrong)


def test_server_never_imports_a_store() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {target}"
        for module, target, path in edges(sources())
        for above, below in FORBIDDEN.items()
        if f"{module}.".startswith(above) and f"{target}.".startswith(tuple(f"{name}." for name in below))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_compiled_module_has_its_pair_and_its_stub() -> None:
    missing = [
        path.with_suffix(suffix).relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "ext").rglob("*.pyx"))
        for suffix in (".pxd", ".pyi")
        if not path.with_suffix(suffix).exists()
    ]
    assert not missing, missing


def named_paths() -> set[str]:
    """Return the paths in backticks on the page about the architecture."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    return set(re.findall(r"`((?:ext|tsengine|tests|benches)(?:/[\w./]+)?)/?`", page))


def test_the_architecture_page_names_every_room() -> None:
    """Every folder with sources, but for cases of fuzzing, and every module that lies in no room of its own."""
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for root in ("ext", "tsengine", "tests", "benches")
        for path in (ROOT / root).rglob("*")
        if path.suffix in {".py", ".pyx", ".mjs", ".gz"} and not {"core", "node_modules"} & set(path.parts)
    }
    modules = {
        path.relative_to(ROOT).as_posix()
        for root, suffixes in (("ext", (".pyx",)), ("tsengine", (".py",)))
        for path in (ROOT / root).iterdir()
        if path.suffix in suffixes and path.name != "__init__.py"
    }
    lost = sorted((folders | modules) - named_paths() - {"ext", "tsengine", "tests"})
    assert not lost, f"add to docs/architecture.md: {lost}"


def test_the_architecture_page_names_only_what_exists() -> None:
    assert sorted(path for path in named_paths() if not (ROOT / path).exists()) == []


def test_every_format_page_names_its_version() -> None:
    pages = sorted((ROOT / "docs" / "format").glob("*.md"))
    silent = [page.name for page in pages if not re.search(r"(?i)\bversion\b\W{0,5}\d", page.read_text())]
    assert not silent, f"no `version N` in docs/format: {silent}"


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every tracked file that is text; in a tree without git, of every source file."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [path for folder in ("ext", "tsengine", "tests", "benches", "docs", "requirements") for path in (ROOT / folder).rglob("*")]
    for path in paths:
        if path.is_file() and not path.is_symlink() and path.suffix != ".so":
            try:
                yield path.relative_to(ROOT).as_posix(), path.read_text()
            except UnicodeDecodeError:
                continue


def matches(pattern: str, suffixes: tuple[str, ...] | None = None) -> list[str]:
    expression = re.compile(pattern)
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked_texts()
        if suffixes is None or name.endswith(suffixes)
        for number, line in enumerate(text.splitlines(), 1)
        if expression.search(line)
    ]


def test_a_long_file_says_why_in_its_head() -> None:
    long = [
        f"{name}: {text.count(chr(10))} lines"
        for name, text in tracked_texts()
        if name.endswith((".py", ".pyx", ".pxd", ".pyi", ".h", ".c", ".js"))
        and text.count("\n") > 600
        and "More than 600 lines:" not in text[:2000]
    ]
    assert not long, f"split by duty, or give the reason in the head after `More than 600 lines:`: {long}"


# Patterns are put together here, so that this file does not contain what it looks for.
LEFTOVERS = r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error"]) + r")\b"
REGISTRIES = r"(?i)" + "|".join(
    [name + r"\." + end for name, end in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("crates", "io"), ("golang", "org")]]
    + [r"(deb|security|archive|ports)\.(debian|ubuntu)\." + "(org|com)", r"--(extra-)?index" + "-url", r"--find" + r"-links\s+[/h]"]
)
MACHINE_PATHS = (
    r"(?<![\w.}/-])/("
    + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers", "tm" + "p/h", "op" + "t/pypi"])
    + r")(/|\b(?=['\"\s]))"
)


@pytest.mark.parametrize(
    ("what", "pattern", "suffixes"),
    [
        ("left half done", LEFTOVERS, (".py", ".pyx", ".pxd", ".pyi", ".h", "Makefile", ".toml")),
        ("a package registry", REGISTRIES, None),
        ("a path of one machine", MACHINE_PATHS, None),
    ],
)
def test_no_file_holds(what: str, pattern: str, suffixes: tuple[str, ...] | None) -> None:
    found = matches(pattern, suffixes)
    assert not found, f"{what}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("pattern", "line", "is_found"),
    [
        (LEFTOVERS, "# TO" + "DO: later", True),
        (LEFTOVERS, "todos = []", False),
        (REGISTRIES, "https://files.python" + "hosted.org/x", True),
        (REGISTRIES, "https://docs.python.org/3", False),
        (MACHINE_PATHS, "open('/wo" + "rk/main')", True),
        (MACHINE_PATHS, "frame/wo" + "rk/main", False),
    ],
)
def test_patterns_find_what_they_should(pattern: str, line: str, is_found: bool) -> None:
    assert bool(re.search(pattern, line)) == is_found
