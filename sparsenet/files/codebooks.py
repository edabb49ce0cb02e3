"""Values in few bytes, exactly, whichever way takes fewest: as planes of bytes, or as a codebook and Huffman codes.

Quantised weights take few different values, and which of them each weight has is said by a short code. Nothing is
rounded here: an array goes this way only where it has at most 256 different bit patterns.
"""

from collections.abc import Sequence

import numpy as np

from .codecs import Section, join_values, pack, split_values
from .huffman import SYMBOLS, code_lengths, decode_symbols, encode_symbols

NOTE = 24  # bytes: what it takes in a header to say that an array is stored so


def encode_values(values: np.ndarray) -> tuple[str, list[Section]]:
    """("planes", a section for each plane) or ("codebook", the sections of `encode_codebook`): what is smaller.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> [encode_values(values)[0] for values in (rng.choice([-0.5, 0.25, 1.0], 500), rng.standard_normal(500))]
    ['codebook', 'planes']
    """
    planes = [pack(plane) for plane in split_values(values)]
    book = encode_codebook(values)
    return ("codebook", book) if book and _length(book) + NOTE < _length(planes) else ("planes", planes)


def decode_values(form: str, sections: Sequence[bytes], count: int, dtype: np.dtype) -> np.ndarray:
    """The `count` numbers that `encode_values` wrote, flat; `sections` unpacked."""
    if form == "planes":
        return join_values(list(sections), count, dtype)
    if form == "codebook":
        return decode_codebook(sections, count, dtype)
    raise ValueError(f"{form!r} is no form of values")


def most_values(form: str, sections: Sequence[bytes]) -> int:
    """How many numbers these sections can hold at most, known before they are decoded: a code has a bit or more."""
    return 8 * len(sections[-1]) if form == "codebook" else len(sections[0])


def encode_codebook(values: np.ndarray) -> list[Section] | None:
    """The different values, the lengths of their codes, and the code of each value; None for other than 2 to 256.

    Notes
    -----
    value_i = codebook[k_i];   codes of k_i by `huffman`. The commonest value stands first, equally common ones in the
    order of their bits: the lengths of the codes then never fall, and take next to nothing.
    """
    flat = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(-1)
    patterns, which, counts = np.unique(flat.view(f"u{flat.itemsize}"), return_inverse=True, return_counts=True)
    if not 2 <= len(patterns) <= SYMBOLS:
        return None
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    lengths = code_lengths(counts[order])
    code = encode_symbols(rank[which], lengths)
    book = patterns[order].astype(f"<u{flat.itemsize}")
    return [pack(book.tobytes()), pack(lengths.astype(np.uint8).tobytes()), Section(len(code), code)]


def decode_codebook(sections: Sequence[bytes], count: int, dtype: np.dtype) -> np.ndarray:
    """The `count` numbers that `encode_codebook` wrote, flat and in the machine's order."""
    book, lengths, code = sections
    if len(book) != len(lengths) * dtype.itemsize:
        raise ValueError(f"a codebook of {len(lengths)} numbers of type {dtype} does not fill {len(book)} bytes")
    values = np.frombuffer(book, f"<u{dtype.itemsize}").astype(f"u{dtype.itemsize}").view(dtype)
    return values[decode_symbols(code, np.frombuffer(lengths, np.uint8).astype(np.int64), count)]


def _length(sections: list[Section]) -> int:
    return sum(len(section.packed) for section in sections)
