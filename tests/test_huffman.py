"""Huffman codes: bits by hand, the least length among all codes, round trips, and lies refused."""

import heapq
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsenet.files.codebooks import (
    decode_codebook,
    decode_values,
    encode_codebook,
    encode_values,
    most_values,
)
from sparsenet.files.codecs import pack, split_values, unpack
from sparsenet.files.huffman import LIMIT, canonical_codes, code_lengths, decode_symbols, encode_symbols
from sparsenet.verify.definitions import codecs as definitions

COUNTS = st.lists(st.integers(1, 10**6), min_size=2, max_size=256)


def lengths_of(*lengths):
    return np.array(lengths)


def test_codes_by_hand():
    """Counts 5, 2, 1, 1: 1 and 1 join, then 2 and 2, then 4 and 5. Codes 0, 10, 110, 111."""
    lengths = code_lengths(np.array([5, 2, 1, 1]))
    assert lengths.tolist() == [1, 2, 3, 3]
    assert canonical_codes(lengths).tolist() == [0b0, 0b10, 0b110, 0b111]
    code = encode_symbols(np.array([0, 3, 1, 0, 2]), lengths)  # 0 111 10 0 110
    assert code == bytes([0b01111001, 0b10000000])
    assert decode_symbols(code, lengths, 5).tolist() == [0, 3, 1, 0, 2]


def test_codes_are_counted_in_the_order_of_the_symbols():
    assert canonical_codes(lengths_of(3, 1, 3, 2)).tolist() == [0b110, 0b0, 0b111, 0b10]
    assert canonical_codes(lengths_of(1, 1)).tolist() == [0, 1]


@pytest.mark.parametrize("counts", [[1, 1], [1, 9], [3, 1, 2], [1, 1, 1, 1], [1, 2, 4, 8, 16], [7, 7, 1, 2, 40]])
@pytest.mark.parametrize("limit", [3, 4])
def test_no_code_within_the_limit_is_shorter(counts, limit):
    lengths = code_lengths(np.array(counts), limit)
    codes = [c for c in product(range(1, limit + 1), repeat=len(counts)) if sum(2.0**-x for x in c) <= 1]
    best = min(sum(n * x for n, x in zip(counts, code, strict=True)) for code in codes)
    assert int((lengths * counts).sum()) == best
    assert sum(2.0**-lengths) == 1
    assert lengths.max() <= limit


@given(counts=COUNTS)
def test_without_a_limit_that_binds_it_is_huffmans(counts):
    """The bits of a Huffman text are the sum of all counts that were joined."""
    heap, bits = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    lengths = code_lengths(np.array(counts), limit=40)
    assert int((lengths * counts).sum()) == bits
    limited = code_lengths(np.array(counts))
    assert limited.max() <= LIMIT
    assert sum(1 << (LIMIT - x) for x in limited.tolist()) == 1 << LIMIT
    assert int((limited * counts).sum()) >= bits


def test_counts_that_grow_like_fibonaccis_meet_the_limit():
    counts = [1, 1]
    while len(counts) < 40:
        counts.append(counts[-1] + counts[-2])
    assert code_lengths(np.array(counts), limit=40).max() == 39
    assert code_lengths(np.array(counts)).max() == LIMIT


@given(counts=COUNTS, length=st.integers(0, 300), seed=st.integers(0, 99))
def test_every_text_comes_back(counts, length, seed):
    lengths = code_lengths(np.array(counts))
    symbols = np.random.default_rng(seed).integers(0, len(counts), length)
    code = encode_symbols(symbols, lengths)
    assert code == definitions.text_of_codes(symbols.tolist(), lengths.tolist())
    again = decode_symbols(code, lengths, length)
    assert again.dtype == np.uint8
    assert np.array_equal(again, symbols)


@pytest.mark.parametrize(
    ("counts", "limit"), [([1], 15), ([], 15), ([1, 0], 15), ([1] * 257, 15), ([1] * 5, 2), ([1, -1], 15)]
)
def test_counts_without_a_code_are_refused(counts, limit):
    with pytest.raises(ValueError, match=f"a code of at most {limit} bits is for 2 to"):
        code_lengths(np.array(counts), limit)


@pytest.mark.parametrize(
    "lengths",
    [(1,), (1, 2), (1, 1, 1), (0, 1, 1), (2, 2, 2), (1, 2, 2, 3), (0,), (), (8,) * 257, (*range(1, 17), 16), (1, 255)],
)
def test_lengths_of_no_code_are_refused(lengths):
    with pytest.raises(ValueError, match=f"the lengths of {len(lengths)} codes are not those of a complete code"):
        decode_symbols(b"\x00" * 20, np.array(lengths, np.int64), 3)


def test_bits_that_are_no_text_are_refused():
    lengths = lengths_of(1, 2, 3, 3)
    code = encode_symbols(np.array([0, 3, 1, 0, 2]), lengths)
    for wrong, count in (
        (code[:1], 5),
        (b"", 1),
        (b"\xff", 3),  # the third one ends behind the last bit
        (code, 4),
        (code, 10**9),
        (code + b"\x00", 5),
        (code[:1] + bytes([code[1] | 1]), 5),
        (b"\x00", 0),
    ):
        with pytest.raises(ValueError, match=f"{len(wrong)} bytes of codes are not those of {count} symbols"):
            decode_symbols(wrong, lengths, count)
    assert decode_symbols(b"", lengths, 0).tolist() == []


# Values.


def test_a_codebook_by_hand():
    """1.0 stands first, four times; then 0.5 and 2.0 in the order of their bits: 3f000000, 40000000."""
    values = np.array([1.0, 2.0, 1.0, 0.5, 1.0, 1.0], np.float32)
    book, lengths, code = map(unpack, encode_codebook(values))
    assert np.frombuffer(book, "<f4").tolist() == [1.0, 0.5, 2.0]
    assert list(lengths) == [1, 2, 2]
    assert code == bytes([0b01101000])  # 0 11 0 10 0 0
    assert decode_codebook((book, lengths, code), 6, np.dtype(np.float32)).tolist() == values.tolist()


@given(
    kind=st.sampled_from(["<f4", "<f8", ">f4", "<i2", "|u1"]),
    different=st.integers(2, 256),
    count=st.integers(0, 900),
    seed=st.integers(0, 99),
)
def test_every_bit_of_few_values_comes_back(kind, different, count, seed):
    rng, dtype = np.random.default_rng(seed), np.dtype(kind)
    some = np.frombuffer(rng.bytes(different * dtype.itemsize), dtype)  # NaNs and zeros of both signs too
    values = some[rng.integers(0, different, count)]
    form, packed = encode_values(values)
    sections = [unpack(section) for section in packed]
    again = decode_values(form, sections, count, dtype.newbyteorder("="))
    assert again.astype(dtype).tobytes() == values.tobytes()
    assert most_values(form, sections) >= count


def test_signs_of_zero_and_payloads_of_nan_survive(rng):
    bits = np.array([0x00000000, 0x80000000, 0x7FC00000, 0x7FC00001], np.uint32)
    values = bits[rng.integers(0, 4, 2000)].view(np.float32)
    form, packed = encode_values(values)
    assert form == "codebook"
    assert decode_values(form, list(map(unpack, packed)), 2000, values.dtype).tobytes() == values.tobytes()


def test_what_is_smaller_is_chosen(rng):
    def size(sections):
        return sum(len(section.packed) for section in sections)

    for values in (
        np.zeros(1000, np.float32),  # one value: planes of zeros
        np.repeat(np.array([1.0, 2.0], np.float32), 5000),  # runs: deflate finds them
        rng.standard_normal(1000).astype(np.float32),  # more than 256 values
        np.array([1.0, 2.0], np.float32),  # too few to pay for a codebook
        rng.choice(np.array([0.5, -1.25, 3.0], np.float32), 1000),
        rng.choice(rng.standard_normal(256).astype(np.float32), 3000),
    ):
        form, sections = encode_values(values)
        planes, book = list(map(pack, split_values(values))), encode_codebook(values)
        smaller = book is not None and size(book) < size(planes)
        assert size(sections) <= size(planes)
        assert (form == "codebook") == smaller
    assert encode_codebook(np.arange(257.0)) is None
    assert encode_codebook(np.zeros(0)) is None


def test_indices_are_near_the_entropy(rng):
    """Within p_max + 0.086 bits a symbol, the bound of Gallager (1978); and the table of lengths takes few bytes."""
    values = np.round(rng.standard_normal(50_000) * 4).astype(np.float32)
    part = np.unique(values, return_counts=True)[1] / values.size
    entropy = -(part * np.log2(part)).sum()
    _, sections = encode_values(values)
    assert entropy <= 8 * len(sections[2].packed) / values.size < entropy + part.max() + 0.086
    assert len(sections[1].packed) < len(part)


def test_codebooks_that_do_not_fit_are_refused():
    book, lengths, code = map(unpack, encode_codebook(np.array([1.0, 2.0, 1.0], np.float32)))
    float32 = np.dtype(np.float32)
    for sections, message in (
        ((book[:-1], lengths, code), "a codebook of 2 numbers of type float32 does not fill 7 bytes"),
        ((book * 2, lengths * 2, code), "the lengths of 4 codes are not those"),
        ((b"", b"", code), "the lengths of 0 codes are not those"),
        ((book, lengths, b""), "0 bytes of codes are not those of 3 symbols"),
        ((book, lengths), "not enough values to unpack"),
    ):
        with pytest.raises(ValueError, match=message):
            decode_values("codebook", sections, 3, float32)
    with pytest.raises(ValueError, match="'runs' is no form of values"):
        decode_values("runs", (book, lengths, code), 3, float32)
