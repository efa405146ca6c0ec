"""A second reader of the block codecs, written from docs/format/block-codecs.md alone: slow, plain Python integers, no shared code."""

import struct

WORD = 2**64


class Cursor:
    """Bytes and a place in them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        assert len(part) == count, "cut off"
        self.at += count
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        return unzigzag(self.varint())


def unzigzag(value: int) -> int:
    return value >> 1 if value % 2 == 0 else -(value >> 1) - 1


def to_signed(value: int) -> int:
    value %= WORD
    return value - WORD if value >= WORD // 2 else value


def packed(cursor: Cursor, count: int, width: int) -> list[int]:
    """Values of `width` bits, in lanes or one after another."""
    if width == 0:
        return [0] * count
    lanes, word_bits = (32, 32) if width <= 32 else (16, 64)
    rows = -(-count // lanes)
    word_rows = -(-rows * width // word_bits)
    plain_bytes = -(-count * width // 8)
    mask = (1 << width) - 1
    if count < 256 or 8 * word_rows * 128 > 9 * plain_bytes:
        bits = int.from_bytes(cursor.take(plain_bytes), "little")
        return [bits >> (i * width) & mask for i in range(count)]
    words = struct.unpack(f"<{word_rows * lanes}{'I' if word_bits == 32 else 'Q'}", cursor.take(word_rows * 128))
    streams = [sum(words[row * lanes + lane] << (row * word_bits) for row in range(word_rows)) for lane in range(lanes)]
    return [streams[i % lanes] >> (i // lanes * width) & mask for i in range(count)]


def positions(cursor: Cursor, count: int, n: int) -> list[int]:
    width = (n - 1).bit_length()
    if count * width <= n:
        return packed(cursor, count, width)
    bits = int.from_bytes(cursor.take(-(-n // 8)), "little")
    return [i for i in range(n) if bits >> i & 1]


def integers(cursor: Cursor, n: int) -> list[int]:
    """One integer block of n values."""
    first = cursor.byte()
    form = first & 7
    if form == 4:
        count = cursor.varint()
        heads = integers(cursor, count)
        lengths = integers(cursor, count)
        return [head for head, length in zip(heads, lengths, strict=True) for _ in range(length + 1)]
    divisor = cursor.varint() if first & 16 else 1
    origin = cursor.signed()
    if form == 5:
        step, fraction, phase = cursor.signed(), int.from_bytes(cursor.take(4), "little"), int.from_bytes(cursor.take(4), "little")
        return [to_signed(origin + (i * step + (phase + i * fraction >> 32)) * divisor) for i in range(n)]
    slope = cursor.signed() if form == 3 else 0
    step = cursor.signed() if form == 2 else 0
    base = cursor.signed() if form in (1, 2) else 0
    width = cursor.byte() if first & 8 else 0
    patched = cursor.varint() if first & 32 else 0
    high_width = cursor.byte() if first & 32 else 0
    residuals = packed(cursor, n, width)
    if patched:
        places = positions(cursor, patched, n)
        for place, high in zip(places, packed(cursor, patched, high_width), strict=True):
            residuals[place] += unzigzag(high) << width
    residuals = [base + residual for residual in residuals]
    if form == 0:
        return [to_signed(origin + residual * divisor) for residual in residuals]
    if form == 3:
        return [to_signed(origin + (residual + (to_signed(i * slope) >> 16)) * divisor) for i, residual in enumerate(residuals)]
    values = [origin]
    for i in range(1, n):
        if form == 2:
            step += residuals[i] * divisor if i > 1 else 0
            values.append(to_signed(values[-1] + step))
        else:
            values.append(to_signed(values[-1] + residuals[i] * divisor))
    return values


def ordered(value: int, bits: int) -> int:
    """Bit pattern of a float from its place in the order of floats."""
    return value if value >= 0 else (value % 2**bits) ^ (2 ** (bits - 1) - 1)


def single(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def to_double(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits % WORD))[0])


def numbers(cursor: Cursor, n: int) -> list[int]:
    """Bit patterns of one number block of n values."""
    first = cursor.byte()
    mode, exponent = first & 7, first >> 3 & 15
    if mode == 0:
        return [ordered(value, 64) for value in integers(cursor, n)]
    if mode == 1:
        patterns = struct.pack(f"<{n}I", *(ordered(value, 32) for value in integers(cursor, n)))
        return list(struct.unpack(f"<{n}Q", struct.pack(f"<{n}d", *struct.unpack(f"<{n}f", patterns))))
    if mode == 4:
        table = numbers(cursor, cursor.varint())
        return [table[code] for code in integers(cursor, n)]
    if mode == 5:
        width, left_count = cursor.byte(), cursor.byte()
        lefts = struct.unpack(f"<{left_count}H", cursor.take(2 * left_count))
        patched = cursor.varint() if first & 128 else 0
        rights = packed(cursor, n, width)
        codes = packed(cursor, n, (left_count - 1).bit_length())
        result = [lefts[code] << width | right for code, right in zip(codes, rights, strict=True)]
        if patched:
            places = positions(cursor, patched, n)
            for place, left in zip(places, packed(cursor, patched, 16), strict=True):
                result[place] = left << width | rights[place]
        return result
    patched = cursor.varint() if first & 128 else 0
    quotients = [value / 10**exponent for value in integers(cursor, n)]
    if mode == 3:
        quotients = [single(value) for value in quotients]
    result = list(struct.unpack(f"<{n}Q", struct.pack(f"<{n}d", *quotients)))
    if patched:
        places = positions(cursor, patched, n)
        for place, value in zip(places, integers(cursor, patched), strict=True):
            result[place] = ordered(value, 64)
    return result
