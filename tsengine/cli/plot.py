"""Charts of points: lines of braille in a terminal, or a PNG file. Nothing but the standard library and numpy draws them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tsengine.cli.show import time_text

TERMINAL_ROWS = 16
PNG_WIDTH, PNG_HEIGHT, PNG_MARGIN = 1_000, 320, 14

COLOURS = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75)]

# Three by five dots, row by row from the top, the leftmost dot highest.
GLYPHS = {
    "0": 0b111_101_101_101_111, "1": 0b010_110_010_010_111, "2": 0b111_001_111_100_111, "3": 0b111_001_111_001_111,
    "4": 0b101_101_111_001_001, "5": 0b111_100_111_001_111, "6": 0b111_100_111_101_111, "7": 0b111_001_010_010_010,
    "8": 0b111_101_111_101_111, "9": 0b111_101_111_001_111, "-": 0b000_000_111_000_000, ":": 0b000_010_000_010_000,
    ".": 0b000_000_000_000_010, "+": 0b000_010_111_010_000, "e": 0b000_111_111_100_111, "T": 0b111_010_010_010_010,
    "Z": 0b111_001_010_100_111, " ": 0,
}  # fmt: skip


class Line(NamedTuple):
    """Points of one line, in order of time: int64 microseconds and finite numbers, shape (n,)."""

    name: str
    times: np.ndarray
    values: np.ndarray


class Frame(NamedTuple):
    """What a chart shows: first and last time, smallest and largest value."""

    start: int
    end: int
    low: float
    high: float


def frame_of(lines: Sequence[Line]) -> Frame:
    filled = [line for line in lines if len(line.times)]
    low, high = min(float(line.values.min()) for line in filled), max(float(line.values.max()) for line in filled)
    return Frame(min(int(line.times[0]) for line in filled), max(int(line.times[-1]) for line in filled), low, high)


def dots(line: Line, frame: Frame, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and rows (from the top) of the dots of a line, neighbours connected."""
    x = (line.times - frame.start) / max(frame.end - frame.start, 1) * (width - 1)
    y = (frame.high - line.values) / ((frame.high - frame.low) or 1.0) * (height - 1)
    if len(x) > 1:
        steps = np.maximum(np.maximum(np.abs(np.diff(x)), np.abs(np.diff(y))).astype(int), 1)
        at = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
        share = at / np.repeat(steps, steps)
        x, y = (np.append(np.repeat(part[:-1], steps) + share * np.repeat(np.diff(part), steps), part[-1]) for part in (x, y))
    return np.rint(x).astype(int), np.rint(y).astype(int)


def terminal_chart(lines: Sequence[Line], width: int) -> str:
    """Return a chart as lines of text: a frame of numbers and times, and braille, two by four dots a character."""
    frame = frame_of(lines)
    labels = [f"{frame.high:g}", f"{frame.low:g}"]
    margin = max(map(len, labels)) + 1
    columns = max(width - margin, 10)
    canvas = np.zeros((TERMINAL_ROWS * 4, columns * 2), bool)
    for line in lines:
        x, y = dots(line, frame, columns * 2, TERMINAL_ROWS * 4)
        canvas[y, x] = True
    cells = canvas.reshape(TERMINAL_ROWS, 4, columns, 2)
    bits = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
    codes = 0x2800 + (cells * bits[None, :, None, :]).sum(axis=(1, 3))
    text = []
    for row, row_codes in enumerate(codes):
        label = labels[0] if row == 0 else labels[1] if row == TERMINAL_ROWS - 1 else ""
        text.append(f"{label:>{margin - 1}} " + "".join(map(chr, row_codes.tolist())).rstrip("\u2800"))
    start, end = (time_text(time) or "" for time in (frame.start, frame.end))
    text.append(" " * margin + start + end.rjust(max(columns - len(start), len(end) + 1)))
    text.append(" " * margin + ", ".join(line.name for line in lines))
    return "\n".join(text)


def png_chart(lines: Sequence[Line]) -> bytes:
    """Return a chart as a PNG file: a colour for each line, in their order, and the numbers of the frame at its corners."""
    frame = frame_of(lines)
    image = np.full((PNG_HEIGHT, PNG_WIDTH, 3), 255, np.uint8)
    top, bottom = PNG_MARGIN, PNG_HEIGHT - PNG_MARGIN
    image[top, :] = image[bottom - 1, :] = 208
    for number, line in enumerate(lines):
        x, y = dots(line, frame, PNG_WIDTH, bottom - top - 1)
        for thick in (0, 1):
            image[top + y + thick, x] = COLOURS[number % len(COLOURS)]
    put_text(image, f"{frame.high:g}", 2, 2)
    put_text(image, f"{frame.low:g}", 2, bottom + 2)
    times = f"{time_text(frame.start)}   {time_text(frame.end)}"
    put_text(image, times, PNG_WIDTH - 8 * len(times), bottom + 2)
    rows = b"".join(b"\x00" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", PNG_WIDTH, PNG_HEIGHT, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_part(b"IHDR", header) + png_part(b"IDAT", zlib.compress(rows)) + png_part(b"IEND", b"")


def png_part(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def put_text(image: np.ndarray, text: str, left: int, top: int) -> None:
    """Draw text with dots of two by two pixels."""
    for place, character in enumerate(text):
        bits = GLYPHS.get(character, 0)
        for dot in range(15):
            if bits >> (14 - dot) & 1:
                y, x = top + dot // 3 * 2, left + place * 8 + dot % 3 * 2
                image[y : y + 2, x : x + 2] = 64
