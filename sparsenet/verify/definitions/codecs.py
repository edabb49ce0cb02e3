"""The codes of files in plain loops: bytes of numbers, bits and gaps of masks, Huffman codes."""

import zlib
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np


def planes(values: np.ndarray) -> list[bytes]:
    """The lowest byte of each number, then the next one of each, ...; a float's bits turned left by one first."""
    width, numbers = values.dtype.itemsize, []
    little = values.astype(values.dtype.newbyteorder("<")).ravel()
    for k in range(little.size):
        number = int.from_bytes(little[k : k + 1].tobytes(), "little")
        if values.dtype.kind == "f":
            number = number * 2 % 2 ** (8 * width) + number // 2 ** (8 * width - 1)
        numbers.append(number)
    return [bytes(number // 256**k % 256 for number in numbers) for k in range(width)]


def bits(mask: Sequence[bool]) -> bytes:
    """Eight entries a byte, the first counting 128; pruned ones fill the last byte."""
    code = []
    for start in range(0, len(mask), 8):
        code.append(sum(2 ** (7 - k) for k, kept in enumerate(mask[start : start + 8]) if kept))
    return bytes(code)


def gaps(mask: Sequence[bool]) -> bytes:
    """Before each kept entry the number of pruned ones since the last; every 255 of them are a byte 255 at once."""
    code, gap = [], 0
    for kept in mask:
        if kept:
            code.append(gap)
            gap = 0
        else:
            gap += 1
            if gap == 255:
                code.append(255)
                gap = 0
    return bytes(code)


def mask_of_gaps(code: bytes, size: int) -> list[bool]:
    """The mask that `gaps` describes; what is behind the last byte is pruned."""
    mask: list[bool] = []
    for byte in code:
        mask += [False] * byte + [True] * (byte < 255)
    return mask + [False] * (size - len(mask))


def mask_of_bits(code: bytes, size: int) -> list[bool]:
    """The mask that `bits` describes."""
    return [bool(code[k // 8] // 2 ** (7 - k % 8) % 2) for k in range(size)]


def shortest_form(mask: Sequence[bool]) -> str:
    """Which of the codes takes the fewest bytes: none for a mask without pruned entries; deflated where that helps."""
    if all(mask):
        return "dense"
    sizes = {name: least_bytes(code(mask)) for name, code in (("bits", bits), ("gaps", gaps))}
    return min(sizes, key=sizes.__getitem__)


def least_bytes(raw: bytes) -> int:
    """The fewest bytes that zlib makes of some, by full search, no search, or runs; or the bytes as they are.

    Where a full search gains nothing they stay as they are, whatever the other two would gain.
    """
    sizes = []
    for level, strategy in ((4, zlib.Z_DEFAULT_STRATEGY), (1, zlib.Z_HUFFMAN_ONLY), (1, zlib.Z_RLE)):
        stream = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
        sizes.append(len(stream.compress(raw) + stream.flush()))
    return min(sizes) if sizes[0] < len(raw) else len(raw)


def same(value: object) -> object:
    """What went in: the oracle of everything that is to come out as it was."""
    return value


def codebook(values: np.ndarray) -> list:
    """The different values, the most frequent first; equally frequent ones in the order of their bits, as numbers."""
    patterns = [int.from_bytes(value.astype(value.dtype.newbyteorder("<")).tobytes(), "little") for value in values]
    value_of = dict(zip(patterns, values.tolist(), strict=True))
    return [value_of[pattern] for pattern in sorted(value_of, key=lambda pattern: (-patterns.count(pattern), pattern))]


def shortest_text(counts: Sequence[int], limit: int) -> int:
    """Bits of the shortest text in which each symbol occurs so often: of all lengths that a code can have, one by one.

    Codes that start no other one have lengths with a sum of 2^-l of at most 1 (Kraft 1949).
    """
    return min(
        sum(count * length for count, length in zip(counts, lengths, strict=True))
        for lengths in product(range(1, limit + 1), repeat=len(counts))
        if sum(Fraction(1, 2**length) for length in lengths) <= 1
    )


def codes(lengths: Sequence[int]) -> list[str]:
    """The code of each symbol in digits: the first word of its length that starts with no code given out before."""
    given: dict[int, str] = {}
    for symbol in sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol)):
        words = (f"{word:0{lengths[symbol]}b}" for word in range(2 ** lengths[symbol]))
        given[symbol] = next(word for word in words if not word.startswith(tuple(given.values())))
    return [given[symbol] for symbol in range(len(lengths))]


def text_of_codes(symbols: Sequence[int], lengths: Sequence[int]) -> bytes:
    """The codes of the symbols one after the other, zeros to the next byte."""
    known = codes_by_counting(lengths)
    text = "".join(known[symbol] for symbol in symbols)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))


def codes_by_counting(lengths: Sequence[int]) -> dict[int, str]:
    """The same codes as `codes`, of many symbols too: each is the last one plus 1, with zeros behind it."""
    known, code, width = {}, 0, 0
    for symbol in sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol)):
        code <<= lengths[symbol] - width
        width = lengths[symbol]
        known[symbol] = f"{code:0{width}b}"
        code += 1
    return known
