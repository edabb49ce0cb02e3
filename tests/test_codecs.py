"""Codecs: bytes worked by hand, round trips of every bit, a plain loop as oracle, and lies refused."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsenet.files.codecs import (
    Section,
    decode_bits,
    decode_gaps,
    decode_mask,
    encode_bits,
    encode_gaps,
    encode_mask,
    join_values,
    longest_mask,
    pack,
    split_values,
    unpack,
)
from sparsenet.verify.definitions import codecs as definitions

TYPES = [np.dtype(name) for name in ("float16", "float32", "float64", "int8", "int64", "uint16")]


@st.composite
def masks(draw):
    """Masks of all densities, with runs of hundreds of pruned entries among them."""
    runs = draw(
        st.lists(st.tuples(st.booleans(), st.sampled_from([1, 2, 7, 200, 254, 255, 256, 510, 600])), max_size=8)
    )
    size = draw(st.integers(0, 40))
    noise = np.random.default_rng(draw(st.integers(0, 99))).random(size) < draw(st.floats(0, 1))
    return np.concatenate([noise, *(np.full(length, kept) for kept, length in runs)]).astype(bool)


@given(mask=masks())
def test_gaps_are_those_of_a_plain_loop(mask):
    code = encode_gaps(mask)
    assert code == definitions.gaps(mask)
    assert decode_gaps(code, mask.size).tolist() == definitions.mask_of_gaps(code, mask.size) == mask.tolist()


@pytest.mark.parametrize(
    ("runs", "code"),
    [
        ([], []),
        ([(3, True)], [0, 0, 0]),
        ([(2, False), (2, True), (1, False)], [2, 0]),
        ([(254, False), (1, True)], [254]),
        ([(255, False), (1, True)], [255, 0]),
        ([(256, False), (1, True)], [255, 1]),
        ([(1, True), (600, False), (1, True)], [0, 255, 255, 90]),
        ([(254, False)], []),
        ([(255, False)], [255]),
        ([(1, True), (511, False)], [0, 255, 255]),
    ],
)
def test_gaps_by_hand(runs, code):
    mask = np.array([kept for length, kept in runs for _ in range(length)], bool)
    assert list(encode_gaps(mask)) == code
    assert np.array_equal(decode_gaps(bytes(code), mask.size), mask)


def test_bits_by_hand():
    mask = np.array([1, 0, 0, 0, 0, 0, 1, 1, 0, 1], bool)
    assert encode_bits(mask) == bytes([0b10000011, 0b01000000])
    assert decode_bits(bytes([0b10000011, 0b01000000]), 10).tolist() == mask.tolist()


@given(mask=masks())
def test_every_form_gives_the_mask_back(mask):
    form, code = encode_mask(mask)
    raw = unpack(code)
    again = decode_mask(form, raw, mask.size)
    assert again.dtype == bool
    assert np.array_equal(again, mask)
    assert longest_mask(form, raw, int(mask.sum())) >= mask.size
    assert np.array_equal(decode_bits(encode_bits(mask), mask.size), mask)


@pytest.mark.parametrize(("density", "forms"), [(0.5, {"bits"}), (0.1, {"bits", "gaps"}), (0.01, {"gaps"})])
def test_the_smallest_form_is_chosen_and_near_the_entropy(rng, density, forms):
    mask = rng.random(20_000) < density
    form, code = encode_mask(mask)
    sizes = {"bits": len(pack(encode_bits(mask)).packed), "gaps": len(pack(encode_gaps(mask)).packed)}
    assert form in forms
    assert len(code.packed) == sizes[form] == min(sizes.values())
    entropy = -sum(p * np.log2(p) for p in (mask.mean(), 1 - mask.mean())) * mask.size / 8
    assert len(code.packed) < 1.05 * entropy + 40


@pytest.mark.parametrize("density", [0.5, 0.05])
def test_a_mask_of_blocks_takes_little_more_than_one_bit_a_block(rng, density):
    rows = rng.random((50, 800)) < density
    blocks, weights = (len(encode_mask(mask.reshape(-1))[1].packed) for mask in (np.repeat(rows, 4, axis=0), rows))
    assert blocks < 1.2 * weights


def test_masks_of_one_value_take_next_to_nothing():
    assert encode_mask(np.ones(200_000, bool)) == ("dense", (0, b""))
    assert len(encode_mask(np.zeros(200_000, bool))[1].packed) < 40


def test_planes_by_hand():
    """1.0 is 3f800000 and -2.0 is c0000000; one bit to the left round the end they are 7f000000 and 80000001."""
    planes = [b"\x00\x01", b"\x00\x00", b"\x00\x00", b"\x7f\x80"]
    values = np.array([1.0, -2.0], np.float32)
    assert split_values(values) == split_values(values.astype(">f4")) == planes
    again = join_values(planes, 2, np.dtype(np.float32))
    assert again.tolist() == [1.0, -2.0]
    assert again.dtype.isnative
    assert split_values(np.array(1.0)) == [b"\x00"] * 6 + [b"\xe0", b"\x7f"]
    assert split_values(np.array([258, -1], ">i2")) == [b"\x02\xff", b"\x01\xff"]


@given(dtype=st.sampled_from(TYPES), count=st.integers(0, 50), swapped=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_every_bit_of_a_value_survives(dtype, count, swapped, seed):
    values = np.frombuffer(np.random.default_rng(seed).bytes(count * dtype.itemsize), dtype)
    stored = values.astype(dtype.newbyteorder("S")) if swapped else values
    again = join_values(split_values(stored), count, dtype)
    assert again.dtype == dtype
    assert again.flags.writeable
    assert np.array_equal(again.view(np.uint8), values.view(np.uint8))


@given(raw=st.one_of(st.binary(max_size=300), st.builds(bytes.__mul__, st.binary(max_size=9), st.integers(0, 200))))
def test_packing_gives_the_bytes_back_and_never_grows(raw):
    section = pack(raw)
    assert section.size == len(raw) >= len(section.packed)
    assert unpack(section) == raw


@pytest.mark.parametrize("kind", ["alone", "in runs", "again"])
def test_packing_finds_the_smallest_of_three_ways(rng, kind):
    """Huffman codes alone for bytes that repeat by chance, runs for runs, and repetitions for what repeats."""
    raw = {
        "alone": rng.geometric(0.5, 5000).astype(np.uint8),
        "in runs": np.repeat(rng.integers(0, 256, 700), rng.integers(1, 9, 700)).astype(np.uint8),
        "again": np.tile(rng.integers(0, 256, 300), 9).astype(np.uint8),
    }[kind].tobytes()
    sizes = []
    for level, strategy in ((1, zlib.Z_HUFFMAN_ONLY), (1, zlib.Z_RLE), (4, zlib.Z_DEFAULT_STRATEGY)):
        stream = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
        sizes.append(len(stream.compress(raw) + stream.flush()))
    assert len(pack(raw).packed) == min(sizes) == sizes[["alone", "in runs", "again"].index(kind)]


def test_the_longest_mask_by_hand():
    assert longest_mask("bits", b"123", 2) == 24
    assert longest_mask("gaps", b"123", 2) == 4 * 255  # three bytes of 255, and up to 254 that no byte tells
    assert longest_mask("dense", b"", 2) == 2


def test_what_repeats_packs_well():
    assert len(pack(bytes(10_000)).packed) < 40
    assert len(pack(bytes([1, 2, 3, 4] * 2_500)).packed) < 60


def test_what_the_first_trial_does_not_shrink_stays_as_it_is():
    """Five bytes of the same kind take five deflated, and four as a run, which is not tried."""
    raw = bytes([255] * 5)
    assert pack(raw).packed == raw
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    assert len(stream.compress(raw) + stream.flush()) == 4
    assert len(pack(bytes([255] * 6)).packed) < 6


def test_a_section_that_lies_about_its_size_is_refused():
    bomb = zlib.compress(bytes(10**7), wbits=-15)
    whole = pack(bytes(1000))
    lies = [
        Section(10, bomb),
        Section(10**9, bomb),
        Section(999, whole.packed),
        Section(1001, whole.packed),
        Section(1000, whole.packed + b"!"),
        Section(1000, whole.packed[:-1]),
        Section(1000, b""),
    ]
    for section in lies:
        with pytest.raises(ValueError, match=f"a section of {section.size} bytes unpacks to something else"):
            unpack(section)
    with pytest.raises(zlib.error):
        unpack(Section(1000, b"\xff" * 20))


def test_codes_that_do_not_fit_are_refused():
    for code, size in ((b"\x05", 5), (b"\x05", 6 + 255), (b"", 255), (b"\xff", 254), (b"\xff" * 9, 0)):
        with pytest.raises(ValueError, match=f"the gaps of a mask do not add up to its {size} entries"):
            decode_gaps(code, size)
    with pytest.raises(ValueError, match="the bits of a mask of 9 entries do not fill 1 bytes"):
        decode_bits(b"\xff", 9)
    for form, code in (("dense", b"\x00"), ("plain", b""), ("kept", b""), (None, b"")):
        with pytest.raises(ValueError, match="is no form of a mask"):
            decode_mask(form, code, 0)
    float32 = np.dtype(np.float32)
    for planes in ([b"12"] * 3, [b"12"] * 5, [b"12", b"12", b"12", b"1"], []):
        with pytest.raises(ValueError, match="2 numbers of type float32 do not fill planes of"):
            join_values(planes, 2, float32)
