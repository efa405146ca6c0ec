"""The public names: all are listed, each says what it is for, and importing them loads nothing heavy."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import tsengine
import tsengine.aio

MODULES = ("tsengine", "tsengine.aio", "tsengine.errors")

# What takes long to import, or has no business in a program that only stores and reads.
HEAVY = {
    "asyncio", "concurrent.futures", "csv", "ctypes", "dataclasses", "email", "hashlib", "http", "inspect", "json", "logging", "lzma",
    "multiprocessing", "pandas", "pyarrow", "random", "shutil", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "unittest",
    "urllib.request", "uvloop", "zoneinfo", "falcon", "httptools", "prometheus_client", "rich", "typer", "uvicorn",
}  # fmt: skip


def members(owner: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public functions and properties of a class, those that it inherits from ours as well."""
    for name, member in inspect.getmembers(owner):
        is_ours = str(getattr(member, "__module__", owner.__module__)).startswith("tsengine")
        if not name.startswith("_") and is_ours and (inspect.isroutine(member) or isinstance(member, property)):
            yield name, member


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_listed_and_there(name: str) -> None:
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in module.__all__)
    own = {public for public, what in vars(module).items() if getattr(what, "__module__", None) == name and not public.startswith("_")}
    assert own <= set(module.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_says_what_it_is_for(name: str) -> None:
    module = importlib.import_module(name)
    silent = []
    for public in module.__all__:
        what = getattr(module, public)
        text = what.__doc__ or ""
        if not text.strip() or text.startswith(f"{public}("):  # the latter is made up by Python
            silent.append(public)
        if inspect.isclass(what):
            silent += [f"{public}.{method}" for method, member in members(what) if not inspect.getdoc(member)]
    assert not silent


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("Engine", ("Args", "Raises")),
        ("open", ("Durability",)),
        ("Device.append_columns", ("Args", "shape (n,)", "microseconds")),
        ("Device.append_arrow", ("Columns", "Raises", "microseconds")),
        ("Device.read", ("Args", "Cost", "shape (n,)", "microseconds")),
        ("Device.points", ("Args", "Raises", "Cost")),
        ("Device.aggregate", ("Args", "Raises", "Cost")),
        ("Engine.compact", ("Args", "Raises")),
    ],
)
def test_shapes_units_costs_and_errors_are_told(name: str, sections: tuple[str, ...]) -> None:
    what: Any = tsengine
    for part in name.split("."):
        what = getattr(what, part)
    text = what.__doc__ + (what.__init__.__doc__ or "" if inspect.isclass(what) else "")
    assert all(f"{section}:" in text or section in text for section in sections)


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, numpy; before = set(sys.modules); import tsengine; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)
