"""Arrays in few bytes, exactly: values as planes of bytes, a mask as bits or as gaps, each deflated where that helps.

All numbers are little-endian, whatever the machine.
"""

import zlib
from typing import NamedTuple

import numpy as np

# The byte that stands for 255 pruned entries and no kept one.
CONTINUE = 255
# Masks of blocks and whole structures repeat, equal exponents come in runs, and all else repeats by chance only, where
# looking for repetitions costs bytes. Which it is, the smallest result says.
TRIALS = ((4, zlib.Z_DEFAULT_STRATEGY), (1, zlib.Z_HUFFMAN_ONLY), (1, zlib.Z_RLE))


class Section(NamedTuple):
    """Bytes as they stand in a file: `packed` is deflated, or where that does not help the `size` bytes themselves."""

    size: int
    packed: bytes


def pack(raw: bytes) -> Section:
    """The bytes themselves, or the smallest of their deflated forms where the first of these is smaller than they are.

    Where it is not they count as noise, and the other forms are not tried: now and then one would be a byte or two
    smaller.
    """
    best = raw
    for level, strategy in TRIALS:
        stream = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, strategy)
        packed = stream.compress(raw) + stream.flush()
        if len(packed) < len(best):
            best = packed
        elif best is raw:
            break  # noise, as the low bytes of floats are: the other trials would fail too, and take their time
    return Section(len(raw), best)


def unpack(section: Section) -> bytes:
    """The bytes of a section; never more than it announces are made."""
    if len(section.packed) == section.size:
        return section.packed
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    raw = stream.decompress(section.packed, section.size + 1)
    if len(raw) != section.size or not stream.eof or stream.unused_data:
        raise ValueError(f"a section of {section.size} bytes unpacks to something else")
    return raw


def split_values(values: np.ndarray) -> list[bytes]:
    """Numbers as planes: the lowest byte of each, then the next one of each, to the highest.

    Notes
    -----
    Floats are rotated left by one bit first: the sign goes to the lowest byte, and the highest is exponent alone. Kept
    weights are of similar magnitude, so that this plane nearly vanishes; the others are mantissa, that is noise.
    """
    kind, width = values.dtype.kind, values.dtype.itemsize
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(-1).view(f"u{width}")
    if kind == "f":
        native = (native << 1) | (native >> (8 * width - 1))
    little = native.astype(f"<u{width}", copy=False)
    return [plane.tobytes() for plane in little.view(np.uint8).reshape(-1, width).T]


def join_values(planes: list[bytes], count: int, dtype: np.dtype) -> np.ndarray:
    """The `count` numbers whose planes these are: the inverse of `split_values`, flat and in the machine's order."""
    width = dtype.itemsize
    if [len(plane) for plane in planes] != [count] * width:
        raise ValueError(f"{count} numbers of type {dtype} do not fill planes of {[len(p) for p in planes]} bytes")
    columns = np.empty((count, width), np.uint8)
    for column, plane in enumerate(planes):
        columns[:, column] = np.frombuffer(plane, np.uint8)
    native = columns.reshape(-1).view(f"<u{width}").astype(f"u{width}", copy=False)
    if dtype.kind == "f":
        native = (native >> 1) | (native << (8 * width - 1))
    return native.view(dtype)


def encode_gaps(mask: np.ndarray) -> bytes:
    """Where a flat mask is True, as the gaps between: a byte per kept entry while gaps are short.

    Notes
    -----
    A byte b < 255 is b pruned entries, then a kept one; 255 is 255 pruned entries and none kept. So g pruned before a
    kept one are floor(g / 255) bytes 255 and the byte g mod 255. Of t pruned ones at the end floor(t / 255) bytes 255
    are written: the length of the mask is known to within 255 from its code, and given to `decode_gaps`.
    """
    kept = np.flatnonzero(mask)
    gaps = np.diff(kept, prepend=-1) - 1
    tail = mask.size - 1 - (int(kept[-1]) if kept.size else -1)
    long = gaps // CONTINUE
    codes = np.full(kept.size + int(long.sum()) + tail // CONTINUE, CONTINUE, np.uint8)
    codes[np.cumsum(long + 1) - 1] = gaps % CONTINUE
    return codes.tobytes()


def decode_gaps(code: bytes, size: int) -> np.ndarray:
    """The flat mask of `size` entries that `encode_gaps` wrote."""
    codes = np.frombuffer(code, np.uint8)
    ends = np.cumsum(codes + (codes < CONTINUE), dtype=np.int64)
    if not 0 <= size - (int(ends[-1]) if ends.size else 0) < CONTINUE:
        raise ValueError(f"the gaps of a mask do not add up to its {size} entries")
    mask = np.zeros(size, bool)
    mask[ends[codes < CONTINUE] - 1] = True
    return mask


def encode_bits(mask: np.ndarray) -> bytes:
    """A flat mask, one bit an entry, the first in the highest bit of the first byte."""
    return np.packbits(mask).tobytes()


def decode_bits(code: bytes, size: int) -> np.ndarray:
    """The flat mask of `size` entries that `encode_bits` wrote."""
    if len(code) != -(-size // 8):
        raise ValueError(f"the bits of a mask of {size} entries do not fill {len(code)} bytes")
    return np.unpackbits(np.frombuffer(code, np.uint8), count=size).view(bool)


def encode_mask(mask: np.ndarray) -> tuple[str, Section]:
    """(form, code) of a flat mask: the smallest of "dense", "bits" and "gaps".

    "dense" takes no bytes and stands for a mask of all True. Other masks are never left to be guessed from values: a
    zero costs more than the bit that says so, and a kept weight may be 0.
    """
    forms = {"dense": pack(b"")} if mask.all() else {}
    forms |= {"bits": pack(encode_bits(mask)), "gaps": pack(encode_gaps(mask))}
    return min(forms.items(), key=lambda item: len(item[1].packed))


def decode_mask(form: str, code: bytes, size: int) -> np.ndarray:
    """The flat mask of `size` entries that `encode_mask` wrote."""
    if form == "dense" and not code:
        return np.ones(size, bool)
    decoders = {"bits": decode_bits, "gaps": decode_gaps}
    if form not in decoders:
        raise ValueError(f"{form!r} with {len(code)} bytes is no form of a mask")
    return decoders[form](code, size)


def longest_mask(form: str, code: bytes, kept: int) -> int:
    """Entries that a mask of this code, with so many values kept, can have at most: known before it is decoded."""
    return {"bits": 8 * len(code), "gaps": CONTINUE * (len(code) + 1)}.get(form, kept)
