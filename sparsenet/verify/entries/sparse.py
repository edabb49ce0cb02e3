"""Entries of sparse matrices and the kernels that multiply by them."""

from collections.abc import Callable, Iterator

import numpy as np

from ...engine.compile import compile
from ...kernels import csr_loops, direct_sparse_conv, sample_lanes_conv, scipy_reference, sparse_linear, sparse_matrix
from ...nn.layers import Conv2d, Linear
from ...nn.network import Network, chain
from ..definitions import convolution, graphs
from ..definitions import layers as definitions
from ..definitions import sparse as sparse_definitions
from ..entry import EXACT, SINGLE, Comparison, Entry
from .draws import some_mask
from .layers import GEOMETRIES
from .networks import masked


def _weights(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """(weight, mask, groups); a kept weight is 0 in each."""
    for shape, groups in (((5, 3, 2, 2), 1), ((6, 2, 3, 1), 3), ((4, 7), 1)):
        weight, mask = rng.standard_normal(shape), some_mask(rng, shape)
        weight.reshape(-1)[np.flatnonzero(mask)[0]] = 0
        yield weight, mask, groups


def _to_csr(function, oracle, rng) -> Iterator[Comparison]:
    for weight, mask, groups in _weights(rng):
        made = function(weight, mask, groups)
        full = oracle(weight, mask, groups), oracle(mask, mask, groups) > 0
        yield f"{weight.shape}", sparse_definitions.entries_of(made), full
        everything = np.ones_like(mask)
        full = oracle(weight, everything, groups), oracle(everything, everything, groups) > 0
        yield f"{weight.shape}, no mask", sparse_definitions.entries_of(function(weight, groups=groups)), full


def _to_weight(function, oracle, rng) -> Iterator[Comparison]:
    for weight, mask, groups in _weights(rng):
        again = function(sparse_matrix.to_csr(weight, mask, groups), weight.shape, groups)
        yield f"{weight.shape}", again, oracle(weight, mask)


def _to_bsr(function, oracle, rng) -> Iterator[Comparison]:
    for weight, mask, groups in _weights(rng):
        matrix = sparse_matrix.to_csr(weight, mask, groups)
        full, there = sparse_definitions.entries_of(matrix)
        for rows in (2, 4):
            blocks = oracle(there, rows)
            filled = np.zeros(blocks.shape)
            filled[: len(full)] = full
            yield f"{weight.shape} in {rows}", sparse_definitions.entries_of(function(matrix, rows)), (filled, blocks)


def _is_blocked(function, oracle, rng) -> Iterator[Comparison]:
    for rows in (2, 4):
        alike = np.repeat(some_mask(rng, (2, 6)), rows, axis=0)[: 2 * rows - 1]
        other = alike.copy()
        other[0, 0] ^= True
        for what, mask in (("alike", alike), ("not", other)):
            matrix = sparse_matrix.to_csr(rng.standard_normal(mask.shape), mask)
            yield f"{what}, {rows} rows", function(matrix, rows), oracle(matrix, rows)


def _single_layer(kind: type, rng: np.random.Generator, *arguments: int, kept: float = 0.4) -> Network:
    """A pruned layer as a network, its bias drawn too."""
    network = chain({"layer": kind(*arguments, seed=rng)})
    bias = network["layer"].bias.value
    bias += rng.standard_normal(bias.shape).astype(np.float32)
    return masked(network, rng, kept)


def _convolve(form: str, *, batch: int = 1) -> Callable[..., Iterator[Comparison]]:
    """One convolution, pruned, by the kernels of a form."""

    def compare(function, oracle, rng):
        for what, arguments in GEOMETRIES.items():
            network = _single_layer(Conv2d, rng, *arguments)
            x = rng.standard_normal((2, arguments[0], 7, 9)).astype(np.float32)
            plan = function(network, x.shape[1:], batch=batch, threads=1, form={"layer": form})
            yield what, plan(x), oracle(network, x)

    return compare


def _convolve_small_images(function, oracle, rng) -> Iterator[Comparison]:
    """A batch of 16 images of 4 x 4: too narrow for a vector, so that the lanes are samples."""
    for arguments in ((2, 4, 3, 1, 1), (4, 6, 2, 2, 1, 1, 2)):
        network = _single_layer(Conv2d, rng, *arguments)
        x = rng.standard_normal((16, arguments[0], 4, 4)).astype(np.float32)
        plan = function(network, x.shape[1:], batch=16, threads=1, form={"layer": "csr"})
        yield f"{arguments}", plan(x), oracle(network, x)


def _multiply(batch: int, *shapes: tuple[int, int], kept: float = 0.4) -> Callable[..., Iterator[Comparison]]:
    """One linear layer, pruned."""

    def compare(function, oracle, rng):
        for shape in shapes:
            network = _single_layer(Linear, rng, *shape, kept=kept)
            x = rng.standard_normal((batch, shape[0])).astype(np.float32)
            plan = function(network, shape[:1], batch=batch, threads=1, form={"layer": "csr"})
            yield f"{shape}", plan(x), oracle(network, x)

    return compare


def _csr_conv2d(function, oracle, rng) -> Iterator[Comparison]:
    for relu in (False, True):
        for what, arguments in GEOMETRIES.items():
            layer = _single_layer(Conv2d, rng, *arguments)["layer"]
            x = rng.standard_normal((2, arguments[0], 5, 6)).astype(np.float32)
            weight, bias = layer.weight, layer.bias.value
            expected = oracle(x, weight.value, bias, *layer.geometry)
            y = np.full(expected.shape, np.nan, np.float32)
            matrix = sparse_matrix.to_csr(weight.value, weight.mask, layer.groups)
            geometry = layer.kernel_size, layer.stride, layer.padding
            function(x, matrix, bias, *geometry, y, dilation=layer.dilation, relu=relu)
            yield f"{what}, relu" if relu else what, y, definitions.relu(expected) if relu else expected


def _scipy_conv2d(function, oracle, rng) -> Iterator[Comparison]:
    for what, arguments in GEOMETRIES.items():
        layer = _single_layer(Conv2d, rng, *arguments)["layer"]
        x = rng.standard_normal((2, arguments[0], 5, 6)).astype(np.float32)
        weight, bias = layer.weight, layer.bias.value
        matrix = sparse_matrix.to_csr(weight.value, weight.mask, layer.groups)
        y = function(x, matrix, bias, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        yield what, y, oracle(x, weight.value, bias, *layer.geometry)


def _features(rng: np.random.Generator, samples: int) -> tuple:
    weight, mask, bias = rng.standard_normal((4, 9)), some_mask(rng, (4, 9)), rng.standard_normal(4)
    return rng.standard_normal((samples, 9)), sparse_matrix.to_csr(weight, mask), bias


def _csr_linear(function, oracle, rng) -> Iterator[Comparison]:
    for samples in (1, 3):
        for relu in (False, True):
            x, matrix, bias = _features(rng, samples)
            y, expected = np.full((samples, 4), np.nan), oracle(matrix, x.T, bias).T
            function(x, matrix, bias, y, relu=relu)
            yield f"{samples} samples, relu {relu}", y, definitions.relu(expected) if relu else expected


def _scipy_linear(function, oracle, rng) -> Iterator[Comparison]:
    x, matrix, bias = _features(rng, 3)
    yield "y", function(x, matrix, bias), oracle(matrix, x.T, bias).T


def _compiled(name: str, at: Callable, compare: Callable, source: str, formula: str = "") -> Entry:
    return Entry(name, "sparse kernel", compile, graphs.forward, compare, source, SINGLE, at=at, formula=formula)


def _matrix(name: str, oracle: Callable, compare: Callable) -> Entry:
    function = getattr(sparse_matrix, name)
    return Entry(f"sparse_matrix.{name}", "sparse kernel", function, oracle, compare, "definition", EXACT)


PARK = "Park et al. 2017, section 2"
CONVOLVE = "y[o, r, q] = b[o] + sum of w[o, c, i, j] x[c, r s + i d - p, q s + j d - p] over the kept weights of o"

ENTRIES = (
    _matrix("to_csr", sparse_definitions.matrix_of, _to_csr),
    _matrix("to_weight", sparse_definitions.kept_weight, _to_weight),
    _matrix("to_bsr", sparse_definitions.blocks_of, _to_bsr),
    _matrix("is_blocked", sparse_definitions.is_blocked, _is_blocked),
    Entry("csr_loops.csr_conv2d", "sparse kernel", csr_loops.csr_conv2d, convolution.conv2d, _csr_conv2d, PARK, SINGLE),
    Entry(
        "csr_loops.csr_linear",
        "sparse kernel",
        csr_loops.csr_linear,
        sparse_definitions.product,
        _csr_linear,
        "definition",
    ),
    Entry(
        "scipy_reference.scipy_conv2d",
        "sparse kernel",
        scipy_reference.scipy_conv2d,
        convolution.conv2d,
        _scipy_conv2d,
        "definition",
        SINGLE,
    ),
    Entry(
        "scipy_reference.scipy_linear",
        "sparse kernel",
        scipy_reference.scipy_linear,
        sparse_definitions.product,
        _scipy_linear,
        "definition",
    ),
    _compiled("direct_sparse_conv.convolve", direct_sparse_conv.convolve, _convolve("csr"), PARK, CONVOLVE),
    _compiled("direct_sparse_conv.multiply_tile", direct_sparse_conv.multiply_tile, _convolve("dense"), PARK),
    _compiled(
        "sample_lanes_conv.convolve_samples",
        sample_lanes_conv.convolve_samples,
        _convolve_small_images,
        PARK,
        CONVOLVE,
    ),
    _compiled(
        "sparse_linear.multiply_samples", sparse_linear.multiply_samples, _multiply(5, (9, 7), (40, 20)), "definition"
    ),
    _compiled("sparse_linear.multiply_single", sparse_linear.multiply_single, _multiply(1, (90, 3)), "definition"),
    _compiled(
        "sparse_linear.multiply_slices",
        sparse_linear.multiply_slices,
        _multiply(1, (30, 40), kept=0.2),
        "Kreutzer et al. 2014",
    ),
)
