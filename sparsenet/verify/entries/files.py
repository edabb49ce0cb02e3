"""Entries of file codecs and files: codes against plain loops, and everything back bit for bit."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ...files import checkpoint, codebooks, codecs, huffman
from ...nn.network import Network
from ..definitions import codecs as definitions
from ..definitions import graphs
from ..entry import EXACT, SINGLE, Comparison, Entry
from .networks import branched_network, images, masked, plain_network

RUNS = ((), (0,), (255,), (254, 1), (510, 3), (1, 255, 0, 256))  # pruned entries before kept ones, and at the end


def _masks(rng: np.random.Generator) -> Iterator[np.ndarray]:
    for runs in RUNS:
        yield np.array([kept for gap in runs for kept in (*[False] * gap, True)][:-1], bool)
    for density in (1.0, 0.5, 0.05, 0.002, 0.0):
        yield rng.random(int(rng.integers(1, 1500))) < density


def _values(rng: np.random.Generator) -> Iterator[np.ndarray]:
    for kind in (np.float32, np.float64, ">f4"):
        yield rng.standard_normal((3, 5)).astype(kind)
    yield np.array([0.0, -0.0, np.inf, -np.inf, np.float32(1e-40)], np.float32)
    yield rng.integers(-1000, 1000, 7)


def _split(function, oracle, rng) -> Iterator[Comparison]:
    for values in _values(rng):
        yield str(values.dtype), function(values), oracle(values)


def _join(function, oracle, rng) -> Iterator[Comparison]:
    for values in _values(rng):
        again = function(definitions.planes(values), values.size, values.dtype.newbyteorder("="))
        expected = oracle(values).astype(values.dtype.newbyteorder("=")).ravel()
        yield str(values.dtype), (again, again.tobytes()), (expected, expected.tobytes())


def _encode(function, oracle, rng) -> Iterator[Comparison]:
    for mask in _masks(rng):
        yield f"{int(mask.sum())} of {mask.size}", function(mask), oracle(mask.tolist())


def _decode(code: Callable) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        for mask in _masks(rng):
            written = code(mask.tolist())
            expected = np.array(oracle(written, mask.size), bool)
            yield f"{int(mask.sum())} of {mask.size}", function(written, mask.size), expected

    return compare


def _encode_mask(function, oracle, rng) -> Iterator[Comparison]:
    for mask in _masks(rng):
        form, section = function(mask)
        what = f"{int(mask.sum())} of {mask.size}"
        raw = {"bits": definitions.bits, "gaps": definitions.gaps, "dense": lambda mask: b""}[form](mask.tolist())
        yield f"{what}: form", form, oracle(mask.tolist())
        yield f"{what}: code", codecs.unpack(section), raw


def _decode_mask(function, oracle, rng) -> Iterator[Comparison]:
    for mask in _masks(rng):
        form, section = codecs.encode_mask(mask)
        yield f"{int(mask.sum())} of {mask.size}", function(form, codecs.unpack(section), mask.size), oracle(mask)


def _longest(function, oracle, rng) -> Iterator[Comparison]:
    """The bound holds for every code, and is met by the longest mask that one describes."""
    for mask in _masks(rng):
        for form, code in (("bits", definitions.bits(mask)), ("gaps", definitions.gaps(mask)), ("dense", b"")):
            yield form, function(form, code, mask.size) >= mask.size, oracle(True)
    longest = {"bits": ("bits", b"ab", 16), "gaps": ("gaps", bytes([255, 255]), 3 * 255), "dense": ("dense", b"", 9)}
    for form, (name, code, size) in longest.items():
        yield f"{form}, the longest", function(name, code, 9), size


def _bytes(rng: np.random.Generator) -> Iterator[bytes]:
    yield from (b"", b"a", bytes([255] * 5), bytes(3000), rng.bytes(3000), b"ab" * 700)
    yield bytes(rng.integers(3, size=2000).tolist())


def _pack(function, oracle, rng) -> Iterator[Comparison]:
    for raw in _bytes(rng):
        section = function(raw)
        yield f"{len(raw)} bytes", codecs.unpack(section), raw
        yield f"{len(raw)} bytes: size", (section.size, len(section.packed)), (len(raw), oracle(raw))


def _unpack(function, oracle, rng) -> Iterator[Comparison]:
    for raw in _bytes(rng):
        yield f"{len(raw)} bytes", function(codecs.pack(raw)), oracle(raw)


def _code_lengths(function, oracle, rng) -> Iterator[Comparison]:
    for size, limit in ((2, 3), (4, 3), (5, 4), (6, 4)):
        counts = rng.integers(1, 40, size) ** 2
        lengths = function(counts, limit)
        yield f"{size} symbols, {limit} bits", int((counts * lengths).sum()), oracle(counts.tolist(), limit)
        yield f"{size} symbols, {limit} bits: Kraft's sum", float((2.0**-lengths).sum()), 1.0


def _lengths(rng: np.random.Generator) -> Iterator[np.ndarray]:
    for size in (2, 7, 40):
        yield huffman.code_lengths(rng.integers(1, 1000, size))


def _canonical(function, oracle, rng) -> Iterator[Comparison]:
    for lengths in _lengths(rng):
        expected = [int(code, 2) for code in oracle(lengths.tolist())]
        yield f"{lengths.size} symbols", function(lengths).tolist(), expected


def _encode_symbols(function, oracle, rng) -> Iterator[Comparison]:
    for lengths in _lengths(rng):
        symbols = rng.integers(0, lengths.size, 200)
        yield f"{lengths.size} symbols", function(symbols, lengths), oracle(symbols.tolist(), lengths.tolist())


def _decode_symbols(function, oracle, rng) -> Iterator[Comparison]:
    for lengths in _lengths(rng):
        symbols = rng.integers(0, lengths.size, 200)
        code = definitions.text_of_codes(symbols.tolist(), lengths.tolist())
        yield f"{lengths.size} symbols", function(code, lengths, 200), oracle(symbols)


def _codebook(function, oracle, rng) -> Iterator[Comparison]:
    for kind, size in ((np.float32, 3), (np.float64, 20)):
        values = rng.choice(rng.standard_normal(size).astype(kind), 200)
        book, lengths, code = map(codecs.unpack, function(values))
        expected, what = oracle(values), f"{size} values of {np.dtype(kind)}"
        yield what, np.frombuffer(book, kind).tolist(), expected
        places = [expected.index(value) if value in expected else 0 for value in values.tolist()]
        yield f"{what}: codes", code, definitions.text_of_codes(places, list(lengths))


def _networks(rng: np.random.Generator) -> Iterator[tuple[str, Network]]:
    for build in (plain_network, branched_network):
        yield build.__name__, masked(build(rng), rng, 0.3)


def _contents(network: Network) -> dict[str, bytes]:
    arrays = {name: parameter.value for name, parameter in network.parameters().items()} | network.buffers()
    arrays |= {f"mask of {name}": mask for name, mask in network.masks().items()}
    return {name: array.tobytes() for name, array in arrays.items()}


def _save(function, oracle, rng) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        for what, network in _networks(rng):
            path = Path(folder) / what
            function(path, network)
            yield f"{what}: every bit", _contents(checkpoint.load_network(path)), oracle(_contents(network))


def _load(function, oracle, rng) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        for what, network in _networks(rng):
            path, x = Path(folder) / what, images(rng)
            checkpoint.save_network(path, network)
            yield f"{what}: y", function(path).forward(x), oracle(network, x)


def _count_bytes(function, oracle, rng) -> Iterator[Comparison]:
    """Counted, and on the disk: in all, and of the arrays of one layer, worked out from the codes."""
    with tempfile.TemporaryDirectory() as folder:
        for what, network in _networks(rng):
            path = Path(folder) / what
            checkpoint.save_network(path, network)
            counted = function(network)
            yield f"{what}: in all", sum(counted.values()), path.stat().st_size
            yield f"{what}: out", counted["out"], sum(map(oracle, _codes(network["out"])))


def _codes(layer) -> Iterator[bytes]:
    """What a file holds of a masked layer: the mask's code, the planes of the kept weights, those of the bias."""
    weight, mask = layer.weight.value, layer.weight.mask
    yield getattr(definitions, definitions.shortest_form(mask.ravel().tolist()))(mask.ravel().tolist())
    yield from definitions.planes(weight[mask])
    yield from definitions.planes(layer.bias.value)


def _codec(name: str, oracle: Callable, compare: Callable, formula: str = "") -> Entry:
    return Entry(f"codecs.{name}", "file", getattr(codecs, name), oracle, compare, "definition", EXACT, formula=formula)


def _huffman(name: str, oracle: Callable, compare: Callable, source: str, formula: str = "") -> Entry:
    return Entry(f"huffman.{name}", "file", getattr(huffman, name), oracle, compare, source, EXACT, formula=formula)


ENTRIES = (
    _codec("split_values", definitions.planes, _split),
    _codec("join_values", definitions.same, _join, "join_values(split_values(v)) = v"),
    _codec("encode_gaps", definitions.gaps, _encode),
    _codec("decode_gaps", definitions.mask_of_gaps, _decode(definitions.gaps), "decode_gaps(encode_gaps(m)) = m"),
    _codec("encode_bits", definitions.bits, _encode),
    _codec("decode_bits", definitions.mask_of_bits, _decode(definitions.bits), "decode_bits(encode_bits(m)) = m"),
    _codec("encode_mask", definitions.shortest_form, _encode_mask),
    _codec("decode_mask", definitions.same, _decode_mask, "decode_mask(encode_mask(m)) = m"),
    _codec("longest_mask", definitions.same, _longest, "len(m) <= longest_mask(encode_mask(m))"),
    _codec("pack", definitions.least_bytes, _pack),
    _codec("unpack", definitions.same, _unpack, "unpack(pack(b)) = b"),
    _huffman("code_lengths", definitions.shortest_text, _code_lengths, "Larmore & Hirschberg 1990"),
    _huffman("canonical_codes", definitions.codes, _canonical, "Schwartz & Kallick 1964"),
    _huffman("encode_symbols", definitions.text_of_codes, _encode_symbols, "definition"),
    _huffman(
        "decode_symbols", definitions.same, _decode_symbols, "definition", "decode_symbols(encode_symbols(s)) = s"
    ),
    Entry(
        "codebooks.encode_codebook",
        "file",
        codebooks.encode_codebook,
        definitions.codebook,
        _codebook,
        "Han et al. 2016, section 4",
        EXACT,
    ),
    Entry(
        "checkpoint.save_network",
        "file",
        checkpoint.save_network,
        definitions.same,
        _save,
        "round trip",
        EXACT,
        formula="load(save(f)) = f, bit for bit",
    ),
    Entry(
        "checkpoint.load_network",
        "file",
        checkpoint.load_network,
        graphs.forward,
        _load,
        "round trip",
        SINGLE,
        formula="load(save(f))(x) = f(x)",
    ),
    Entry(
        "checkpoint.count_bytes",
        "file",
        checkpoint.count_bytes,
        definitions.least_bytes,
        _count_bytes,
        "definition",
        EXACT,
        formula="the sum over all layers = the bytes of the file; a layer's: its masks' codes and its values' planes",
    ),
)
