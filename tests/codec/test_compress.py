"""Compressed text comes back, inflates to no more than it may, and is not what opening a store pays for."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsengine.core.codec.compress import compress, expand
from tsengine.errors import CorruptionError

ROOT = Path(__file__).parents[2]
TEXT = b"the same words again and again, " * 200


@given(st.binary(max_size=5000))
def test_everything_comes_back(text: bytes) -> None:
    assert expand(compress(text), len(text)) == text


def test_text_shrinks() -> None:
    assert len(compress(TEXT)) < len(TEXT) // 20


@pytest.mark.parametrize("size", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 10 * len(TEXT)])
def test_another_size_is_damage(size: int) -> None:
    with pytest.raises(CorruptionError):
        expand(compress(TEXT), size)


def test_a_frame_inflates_no_further_than_it_may() -> None:
    """A gigabyte in some 30 kB; the process would notice it."""
    with pytest.raises(CorruptionError):
        expand(compress(bytes(1 << 26)), 1000)


def test_a_huge_window_is_refused() -> None:
    header = b"\x28\xb5\x2f\xfd\x00\x98"  # no content size, window 2^29
    with pytest.raises(CorruptionError):
        expand(header + b"\x01\x00\x00", 0)


@pytest.mark.parametrize("tail", [b"x", compress(b"more")])
def test_bytes_behind_the_frame_are_damage(tail: bytes) -> None:
    with pytest.raises(CorruptionError):
        expand(compress(TEXT) + tail, len(TEXT))


def test_cut_frames_are_damage() -> None:
    data = compress(TEXT)
    for length in range(len(data)):
        with pytest.raises(CorruptionError):
            expand(data[:length], len(TEXT))


@given(st.binary(max_size=200), st.integers(0, 1000))
def test_any_bytes_expand_or_are_damaged(data: bytes, size: int) -> None:
    try:
        assert len(expand(data, size)) == size
    except CorruptionError as error:
        assert error.what


def test_reading_short_values_imports_no_compressor(tmp_path: Path) -> None:
    program = f"""
import sys, tsengine
with tsengine.open({str(tmp_path / "data")!r}) as db:
    device = db.create_device("freezer", serial="D")
    device.append_many([{{"variable": "t", "value": n}} for n in range(100)])
with tsengine.open({str(tmp_path / "data")!r}) as db:
    assert db.device("D").last(["t"])[0].value == 99
print([name for name in ("pyarrow", "backports.zstd", "compression.zstd") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
