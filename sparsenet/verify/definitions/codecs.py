"""The codes of files in plain loops: bytes of numbers, bits and gaps of masks."""

import zlib
from collections.abc import Sequence

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
