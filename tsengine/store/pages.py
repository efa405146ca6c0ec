"""Verify the pages of an LMDB file without LMDB, which trusts them: a wrong page number would end the process, not the read.

LMDB keeps no checksums, so a changed byte inside a key or value is not seen here; that is for whoever decodes them. Layout:
LMDB's own (data format 1 of version 0.9, 64 bits, little-endian), see docs/format/catalog.md. The file is only read.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tsengine.errors import CorruptionError

_META = struct.Struct("<16x I I Q Q 48s 48s Q Q")
_TREE = struct.Struct("<I H H Q Q Q Q Q")
_PAGE = struct.Struct("<Q H H H H")
_NODE = struct.Struct("<H H H H")

_MAGIC, _FORMAT = 0xBEEFC0DE, 1
_NO_PAGE = 2**64 - 1
_HEADER_BYTES = _PAGE.size
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE, _LEAF2, _SUBPAGE = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
_BIG, _TREE_DATA, _DUPLICATES = 0x01, 0x02, 0x04
_DEPTH_MAX = 32


class _Tree(NamedTuple):
    """LMDB's MDB_db: where a tree's root is, and how much there should be in it."""

    pad: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class _DamageError(Exception):
    """A page or node does not fit; the text says where and why."""


def check_pages(path: Path) -> list[str]:
    """Return what is wrong with the structure of an LMDB file that nobody writes to, one sentence each; empty = nothing.

    Cost: reads every page in use; a few µs a key.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return [f"{path}: {problem}" for problem in _File(data).check()]
    except (OSError, ValueError) as error:
        return [f"{path} cannot be read: {error}"]


def check_length(path: Path) -> None:
    """Raise CorruptionError if an LMDB file is shorter than its newest transaction says: a read would be a SIGBUS.

    Cost: two pages, whatever the length.
    """
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return  # LMDB begins a new one in it
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                pages = _File(data)
                try:
                    pages.check_length()
                except _DamageError as error:
                    raise CorruptionError("LMDB environment", file=str(path), found=str(error)) from None
    except FileNotFoundError:
        return


class _File:
    """One walk over all trees of the newest transaction."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._seen = bytearray()  # one for each page of the file that a tree holds
        self._page_bytes = self._last_page = 0

    def check_length(self) -> None:
        self._open()
        held = len(self._data) // self._page_bytes
        if held <= self._last_page:
            raise _DamageError(f"the file is cut: it should have {self._last_page + 1} pages, it has {held}")

    def check(self) -> Iterator[str]:
        """Yield the first damage of each tree."""
        try:
            free, main = self._open()
        except _DamageError as error:
            yield str(error)
            return
        trees: list[tuple[str, _Tree]] = []
        try:
            for key, value, flags in self._walk(main):
                if flags & _TREE_DATA and len(value) == _TREE.size:
                    trees.append((key.decode("utf-8", "replace"), _Tree(*_TREE.unpack(value))))
        except _DamageError as error:
            yield f"list of databases: {error}"
        for name, tree in trees:
            try:
                self._check_tree(tree)
            except _DamageError as error:
                yield f"database {name}: {error}"
        try:
            self._check_free(free)
        except _DamageError as error:
            yield f"free pages: {error}"

    def _open(self) -> tuple[_Tree, _Tree]:
        """Take the newest of the two meta pages; return its trees."""
        data, newest = self._data, None
        if len(data) < 8192:
            raise _DamageError(f"{len(data)} bytes are too few")
        page_bytes = int.from_bytes(data[40:44], "little")  # the pad of the free tree
        if page_bytes & (page_bytes - 1) or not 512 <= page_bytes <= 65536:
            raise _DamageError(f"pages of {page_bytes} bytes")
        for number in (0, 1):
            at = number * page_bytes
            if at + _META.size > len(data):
                raise _DamageError(f"{len(data)} bytes are too few")
            magic, version, _, _, free, main, last_page, transaction = _META.unpack_from(data, at)
            if magic != _MAGIC or version & 0xFFFF != _FORMAT or not _PAGE.unpack_from(data, at)[2] & _META_PAGE:
                raise _DamageError(f"meta page {number} is none")
            if newest is None or transaction > newest[0]:
                newest = transaction, free, main, last_page
        assert newest is not None
        self._page_bytes, self._last_page = page_bytes, newest[3]
        self._seen = bytearray(min(newest[3] + 1, len(data) // page_bytes))
        return _Tree(*_TREE.unpack(newest[1])), _Tree(*_TREE.unpack(newest[2]))

    def _check_tree(self, tree: _Tree) -> None:
        """Walk a tree and count its entries; LMDB's counts of pages are not exact when duplicates were deleted."""
        entries, previous = 0, None
        for key, value, flags in self._walk(tree):
            if previous is not None and key <= previous:
                raise _DamageError(f"key {key.hex()} is out of order")
            previous = key
            if flags & _DUPLICATES:
                entries += self._check_duplicates(tree, value, flags)
            else:
                entries += 1
        if entries != tree.entries:
            raise _DamageError(f"there should be {tree.entries} entries, there are {entries}")

    def _check_duplicates(self, tree: _Tree, value: bytes, flags: int) -> int:
        """Return how many duplicates a key has, after walking its page or its tree."""
        if flags & _TREE_DATA:
            if len(value) != _TREE.size:
                raise _DamageError("a tree of duplicates is cut short")
            inner = _Tree(*_TREE.unpack(value))
            found = list(self._walk(inner))
            if len(found) != inner.entries:
                raise _DamageError(f"a key should have {inner.entries} duplicates, it has {len(found)}")
        else:
            found = list(self._nodes(value, 0, len(value), "duplicates"))
        keys = [key for key, _, _ in found]
        if any(later <= earlier for earlier, later in pairwise(keys)):
            raise _DamageError("duplicates are out of order")
        return len(found)

    def _check_free(self, free: _Tree) -> None:
        """No page may be free and in use: it would be written over."""
        for _, value, _ in self._walk(free):
            numbers = struct.unpack(f"<{len(value) // 8}Q", value[: len(value) // 8 * 8])
            if not numbers or numbers[0] >= len(numbers):
                raise _DamageError("a list is cut short")
            for number in numbers[1 : numbers[0] + 1]:
                if number < len(self._seen) and self._seen[number]:
                    raise _DamageError(f"page {number} is in use")

    def _walk(self, tree: _Tree) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield (key, value, node flags) of a tree's leaves in order."""
        if tree.root == _NO_PAGE:
            return
        stack = [(tree.root, 1)]
        while stack:
            number, depth = stack.pop()
            if depth > min(tree.depth, _DEPTH_MAX):
                raise _DamageError(f"page {number} is deeper than the tree")
            at, flags, lower, _ = self._page(number)
            where = f"page {number}"
            if flags & _BRANCH:
                children = [child for _, child in self._branches(at, lower, where)]
                stack += [(child, depth + 1) for child in reversed(children)]
            elif flags & _LEAF:
                yield from self._nodes(self._data, at, self._page_bytes, where)
            else:
                raise _DamageError(f"{where} is neither branch nor leaf")

    def _page(self, number: int) -> tuple[int, int, int, int]:
        """Mark a page as used; return (offset, flags, lower, upper)."""
        self._take(number, 1)
        at = number * self._page_bytes
        own, _, flags, lower, upper = _PAGE.unpack_from(self._data, at)
        if own != number:
            raise _DamageError(f"page {number} says that it is {own}")
        return at, flags, lower, upper

    def _take(self, first: int, count: int) -> None:
        if first < 2 or first + count > len(self._seen):
            raise _DamageError(f"page {first} is not in the file")
        if any(self._seen[first : first + count]):
            raise _DamageError(f"page {first} is used twice")
        self._seen[first : first + count] = b"\1" * count

    def _branches(self, at: int, lower: int, where: str) -> Iterator[tuple[bytes, int]]:
        for offset in self._pointers(self._data, at, self._page_bytes, lower, where):
            low, high, flags, key_bytes = _NODE.unpack_from(self._data, at + offset)
            if offset + _NODE.size + key_bytes > self._page_bytes:
                raise _DamageError(f"{where} has a key past its end")
            yield self._data[at + offset + 8 : at + offset + 8 + key_bytes], low | high << 16 | flags << 32

    def _pointers(self, data: bytes | mmap.mmap, at: int, size: int, lower: int, where: str) -> tuple[int, ...]:
        """Return the offsets of the nodes of a page."""
        if lower < _HEADER_BYTES or lower > size or lower % 2:
            raise _DamageError(f"{where} has wrong bounds")
        offsets: tuple[int, ...] = struct.unpack_from(f"<{(lower - _HEADER_BYTES) // 2}H", data, at + _HEADER_BYTES)
        if any(offset < lower or offset + _NODE.size > size for offset in offsets):
            raise _DamageError(f"{where} has a node outside of it")
        return offsets

    def _nodes(self, data: bytes | mmap.mmap, at: int, size: int, where: str) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield the nodes of a leaf, or of the small page of duplicates that a value may be."""
        if size < _HEADER_BYTES:
            raise _DamageError(f"{where}: a page is cut short")
        _, pad, flags, lower, _ = _PAGE.unpack_from(data, at)
        if flags & _LEAF2:  # keys of one size, without nodes
            count = (lower - _HEADER_BYTES) // 2
            if not pad or lower < _HEADER_BYTES or _HEADER_BYTES + count * pad > size:
                raise _DamageError(f"{where} has wrong bounds")
            for number in range(count):
                start = at + _HEADER_BYTES + number * pad
                yield bytes(data[start : start + pad]), b"", 0
            return
        for offset in self._pointers(data, at, size, lower, where):
            low, high, node_flags, key_bytes = _NODE.unpack_from(data, at + offset)
            value_bytes, start = low | high << 16, offset + _NODE.size + key_bytes
            if start + (8 if node_flags & _BIG else value_bytes) > size:
                raise _DamageError(f"{where} has a value past its end")
            key = bytes(data[at + offset + 8 : at + start])
            if node_flags & _BIG:
                yield key, self._overflow(int.from_bytes(data[at + start : at + start + 8], "little"), value_bytes), node_flags
            else:
                yield key, bytes(data[at + start : at + start + value_bytes]), node_flags

    def _overflow(self, number: int, value_bytes: int) -> bytes:
        """Return a value that has pages of its own; they may be more than it needs, if a longer value was there before it."""
        self._take(number, 1)
        at = number * self._page_bytes
        own, _, flags, low, high = _PAGE.unpack_from(self._data, at)
        count = low | high << 16
        if own != number or not flags & _OVERFLOW or count * self._page_bytes < value_bytes + _HEADER_BYTES:
            raise _DamageError(f"page {number} is no run of overflow pages for {value_bytes} bytes")
        if count > 1:
            self._take(number + 1, count - 1)
        return self._data[at + _HEADER_BYTES : at + _HEADER_BYTES + value_bytes]
