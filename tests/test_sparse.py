"""The engine's kernels against float64 loops: any shape, pattern and tile; operations on registers against NumPy."""

import os

import numpy as np
import pytest
from helpers import dilate
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

from sparsenet.engine import streams
from sparsenet.engine.streams import is_blocked, pack_convolution, pack_product, size_convolution, size_product
from sparsenet.kernels import lanes, pooling, reference, simd, sparse
from sparsenet.kernels.jit import kernel
from sparsenet.kernels.simd import LANES, tile

# In other modes and for other CPUs each size of a tile has to be compiled anew: fewer of them then.
EXAMPLES = int(os.environ.get("SPARSENET_TEST_EXAMPLES", "150"))
FEW = "SPARSENET_TEST_EXAMPLES" in os.environ
SIZES = [(1, 1), (2, 5), (3, 40), (7, 7), (8, 16), (9, 13), (14, 14), (17, 3), (28, 28), (30, 9)]
SIZES = [(14, 15), (17, 3)] if FEW else SIZES
SAMPLES = [9] if FEW else [1, 2, 7, 8, 9, 16, 33, 64, 70]
ROWS = [1, 4] if FEW else [1, 2, 4]


def blocked_mask(rng, shape, rows, density):
    """Mask in which `rows` outputs in a row share their pattern."""
    return np.repeat(rng.random((-(-shape[0] // rows), *shape[1:])) < density, rows, axis=0)[: shape[0]]


def expected_convolution(x, weight, bias, stride, padding, dilation, groups):
    x, parts = x.astype(np.float64)[None], np.split(dilate(weight.astype(np.float64), dilation), groups)
    inputs = np.split(x, groups, axis=1)
    biases = np.split(bias.astype(np.float64), groups)
    each = [reference.conv2d(i, w, b, stride, padding) for i, w, b in zip(inputs, parts, biases, strict=True)]
    return np.concatenate(each, axis=1)[0]


def run_convolution(x, weight, mask, bias, stride, padding, dilation, groups, rows, *, relu=False, parts=1, splits=1):
    shape, kernel_size = x.shape, weight.shape[2:]
    g, vectors = size_convolution(shape, len(weight), kernel_size, stride, padding, rows, dilation=dilation, relu=relu)
    g = g._replace(splits=min(splits, -(-len(weight) // rows)))
    stream = pack_convolution(weight, mask, bias, g, rows, dilation_y=dilation[0], groups=groups)
    window = np.full(g.chunk * g.shifts * g.spread * g.stride_y * g.depth * LANES, np.nan, np.float32)
    sums = np.full(-(-g.tall // vectors) * vectors * LANES * len(stream.bias), np.nan, np.float32)
    y = np.full(g.outputs * g.out_plane, np.nan, np.float32)
    arrays = (stream.values, stream.offsets, stream.rows, stream.bias, y, window, sums)
    for part in range(parts):
        sparse.convolve(tile(rows, vectors, g.spread), g, np.ascontiguousarray(x).reshape(-1), *arrays, part, parts)
    return y.reshape(g.outputs, -1)


def assert_near(actual, expected):
    """1e-5 of the largest number of a float64 reference."""
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(actual, expected.reshape(actual.shape), rtol=1e-5, atol=1e-5 * max(scale, 1e-30))


pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731


@settings(max_examples=EXAMPLES)
@given(
    size=st.sampled_from(SIZES),
    kernel_size=pairs(1, 4),
    stride=st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 1), (1, 2), (3, 3)]),
    padding=pairs(0, 3),
    dilation=st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)]),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 9), st.sampled_from([1, 1, 2, 3])),
    rows=st.sampled_from(ROWS),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    relu=st.booleans(),
    division=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    window=st.sampled_from([64, 2000, streams.WINDOW]),
    seed=st.integers(0, 99),
)
def test_convolution(
    size, kernel_size, stride, padding, dilation, channels, rows, density, relu, division, window, seed
):
    extent = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    if any(n + 2 * p < e for n, p, e in zip(size, padding, extent, strict=True)):
        return
    inputs, outputs, groups = channels
    inputs, outputs = inputs * groups, (outputs if groups == 1 else rows * groups)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((inputs, *size)).astype(np.float32)
    weight = rng.standard_normal((outputs, inputs // groups, *kernel_size)).astype(np.float32)
    mask, bias = blocked_mask(rng, weight.shape, rows, density), rng.standard_normal(outputs).astype(np.float32)
    before, streams.WINDOW = streams.WINDOW, window  # small ones make many chunks
    try:
        geometry = (stride, padding, dilation, groups)
        actual = run_convolution(
            x, weight, mask, bias, *geometry, rows, relu=relu, parts=division[0], splits=division[1]
        )
    finally:
        streams.WINDOW = before
    expected = expected_convolution(x, weight * mask, bias, *geometry)
    assert_near(actual, np.maximum(expected, 0) if relu else expected)


@pytest.mark.parametrize("size", [(5, 8)] if FEW else [(1, 300), (300, 1), (2, 129), (64, 33), (5, 8)])
@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3)])
def test_wide_narrow_and_odd_images(rng, size, kernel_size):
    x = rng.standard_normal((3, *size)).astype(np.float32)
    weight, bias = rng.standard_normal((5, 3, *kernel_size)).astype(np.float32), np.ones(5, np.float32)
    mask = rng.random(weight.shape) < 0.5
    mask[2] = False  # a row without weights is its bias
    padding = tuple(k // 2 for k in kernel_size)
    geometry = ((1, 1), padding, (1, 1), 1)
    actual = run_convolution(x, weight, mask, bias, *geometry, 1)
    assert_near(actual, expected_convolution(x, weight * mask, bias, *geometry))
    assert (actual[2] == 1).all()


def test_depthwise(rng):
    x = rng.standard_normal((24, 14, 14)).astype(np.float32)
    weight, bias = rng.standard_normal((24, 1, 3, 3)).astype(np.float32), np.zeros(24, np.float32)
    geometry = ((1, 1), (1, 1), (1, 1), 24)
    actual = run_convolution(x, weight, np.ones(weight.shape, bool), bias, *geometry, 1)
    assert_near(actual, expected_convolution(x, weight, bias, *geometry))


def run_product(x, weight, mask, bias, rows, *, relu=False, parts=1):
    samples, (outputs, inputs) = len(x), weight.shape
    g, vectors = size_product(inputs, outputs, samples, rows, relu=relu)
    stream = pack_product(weight, mask, bias, g, rows, vectors)
    plane = vectors * LANES
    window = np.full(g.chunk * plane, np.nan, np.float32)
    sums = np.full((-(-outputs // LANES) + 1) * LANES * plane, np.nan, np.float32)
    y = np.full(samples * outputs, np.nan, np.float32)
    arrays = (stream.values, stream.offsets, stream.rows, stream.bias, y, window, sums)
    for first in range(0, samples, plane):
        some = np.ascontiguousarray(x[first : first + plane])
        out = y[first * outputs : (first + len(some)) * outputs]
        for part in range(parts):
            arrays = (stream.values, stream.offsets, stream.rows, stream.bias, out, window, sums)
            sparse.multiply_samples(tile(rows, vectors), g, some.reshape(-1), len(some), *arrays, part, parts)
    return y.reshape(samples, outputs)


@given(
    samples=st.sampled_from(SAMPLES),
    inputs=st.sampled_from([1, 5, 16, 40, 301]),
    outputs=st.sampled_from([1, 3, 8, 10, 37]),
    rows=st.sampled_from([1, 4]),
    density=st.sampled_from([0.0, 0.1, 1.0]),
    relu=st.booleans(),
    parts=st.integers(1, 3),
    window=st.sampled_from([64, streams.WINDOW]),
    seed=st.integers(0, 9),
)
def test_fully_connected(samples, inputs, outputs, rows, density, relu, parts, window, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, inputs)).astype(np.float32)
    weight, bias = rng.standard_normal((outputs, inputs)).astype(np.float32), rng.standard_normal(outputs)
    mask, bias = blocked_mask(rng, weight.shape, rows, density), bias.astype(np.float32)
    before, streams.WINDOW = streams.WINDOW, window
    try:
        actual = run_product(x, weight, mask, bias, rows, relu=relu, parts=parts)
    finally:
        streams.WINDOW = before
    expected = x.astype(np.float64) @ (weight * mask).T.astype(np.float64) + bias
    assert_near(actual, np.maximum(expected, 0) if relu else expected)


@given(inputs=st.integers(1, 60), outputs=st.integers(1, 9), parts=st.integers(1, 3), seed=st.integers(0, 9))
def test_one_sample(inputs, outputs, parts, seed):
    rng = np.random.default_rng(seed)
    x, weight = (
        rng.standard_normal(inputs).astype(np.float32),
        rng.standard_normal((outputs, inputs)).astype(np.float32),
    )
    mask, bias = rng.random(weight.shape) < 0.6, rng.standard_normal(outputs).astype(np.float32)
    g = streams.size_single(inputs, outputs)
    stream = pack_product(weight, mask, bias, g, 1, 0)
    y = np.full(outputs, np.nan, np.float32)
    for part in range(parts):
        sparse.multiply_single(g, x, stream.values, stream.offsets, stream.rows, stream.bias, y, part, parts)
    assert_near(y, (weight * mask).astype(np.float64) @ x + bias)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_pass_through_kept_weights_only(value):
    weight, mask = np.ones((2, 2, 3, 3), np.float32), np.ones((2, 2, 3, 3), bool)
    mask[1, 1] = False  # the second output does not see the second channel
    x = np.ones((2, 10, 12), np.float32)
    x[1, 4, 5] = value
    y = run_convolution(x, weight, mask, np.zeros(2, np.float32), (1, 1), (1, 1), (1, 1), 1, 1, relu=True)
    seen = np.zeros((10, 12), bool)
    seen[3:6, 4:7] = True
    first, second = y.reshape(2, 10, 12)
    assert np.array_equal(first[seen], np.full(9, value), equal_nan=True)
    assert np.isfinite(first[~seen]).all()
    assert np.isfinite(second).all()


def test_stream_by_hand():
    """Two outputs, three inputs in chunks of two: chunk by chunk, in each output by output."""
    weight = np.array([[1, 2, 3], [4, 0, 6]], np.float32)
    mask = np.array([[True, False, True], [True, True, True]])
    g = streams.size_single(3, 2)._replace(chunk=2, chunks=2)
    stream = pack_product(weight, mask, np.array([7, 8]), g, 1, 1)
    assert stream.values.tolist() == [1, 4, 0, 3, 6]
    assert stream.offsets.tolist() == [0, 0, LANES, 0, 0]
    assert stream.rows.tolist() == [0, 1, 3, 4, 5]
    assert stream.bias.tolist() == [7, 8]
    both = pack_product(weight, np.ones_like(mask), np.array([7, 8]), g, 2, 1)
    assert both.values.tolist() == [1, 4, 2, 0, 3, 6]
    assert both.offsets.tolist() == [0, LANES, 0]


def test_blocks_are_recognised():
    mask = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]], bool)
    assert is_blocked(mask, 1)
    assert is_blocked(mask, 2)  # the last one is alone
    assert not is_blocked(mask, 4)
    assert not is_blocked(mask[1:], 2)


# --- operations on registers: what the compiled ones do is what their lines of NumPy do ----------------------------


@kernel
def _all_operations(shape, values, offsets, numbers, out):
    total = simd.splat(shape, values, 1)
    total = simd.fma(shape, total, values, offsets, 1, numbers, 2)
    simd.store(total, out, 3, 200, 20)
    simd.store(simd.relu(simd.load(shape, numbers, 5)), out, 1000, 200, 20)
    out[0] = simd.fma_scalar(np.float32(0.5), values, offsets, 1, numbers)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3), (4, 2)])
def test_register_blocks(rng, shape):
    values, offsets = rng.standard_normal(20).astype(np.float32), np.array([0, 7, 0], np.int32)
    numbers = rng.standard_normal(300).astype(np.float32)
    numbers[9] = np.nan
    results = []
    for run in (_all_operations, getattr(_all_operations, "py_func", None)):
        if run is None or (run is not _all_operations and not config.DISABLE_JIT):
            continue
        results.append(np.zeros(2000, np.float32))
        run(tile(*shape), values, offsets, numbers, results[-1])
    out, (rows, vectors) = results[0], shape
    for m in range(rows):
        for v in range(vectors):
            piece = numbers[9 + v * LANES :][:LANES]
            expected = values[1 + m] + values[rows + m] * piece.astype(np.float64)
            np.testing.assert_allclose(out[3 + m * 200 + v * 20 :][:LANES], expected, rtol=1e-5)
            block = numbers[5 + (m * vectors + v) * LANES :][:LANES]
            assert np.array_equal(out[1000 + m * 200 + v * 20 :][:LANES], np.where(block < 0, 0, block), equal_nan=True)
    assert out[0] == pytest.approx(0.5 + float(values[1]) * float(numbers[7]), rel=1e-6)


@kernel
def _all_copies(source, start, first, last, out):
    lanes.copy_vector(source, start, out, 0)
    lanes.copy_lanes(source, start, first, last, out, LANES)
    lanes.copy_every_second(source, start, first, last, out, 2 * LANES)
    lanes.clear(out, 3 * LANES)
    lanes.transpose(source, start, LANES + 3, out, 4 * LANES, LANES + 1)


@given(start=st.integers(0, 9), first=st.integers(0, LANES), last=st.integers(0, LANES))
def test_copies_of_lanes(start, first, last):
    source = np.arange(1, 1 + LANES * (LANES + 3) + 10, dtype=np.float32)
    out = np.full(5 * LANES + LANES * (LANES + 1), -1, np.float32)
    _all_copies(source, start, first, last, out)
    lane = np.arange(LANES)
    inside = (lane >= first) & (lane < last)
    assert np.array_equal(out[:LANES], source[start : start + LANES])
    assert np.array_equal(out[LANES : 2 * LANES], np.where(inside, source[start + lane], 0))
    assert np.array_equal(out[2 * LANES : 3 * LANES], np.where(inside, source[start + 2 * lane], 0))
    assert not out[3 * LANES : 4 * LANES].any()
    for i in range(LANES):
        row = out[4 * LANES + i * (LANES + 1) :][:LANES]
        assert np.array_equal(row, source[start + i + lane * (LANES + 3)])


@given(size=pairs(2, 40), planes=st.integers(1, 3), seed=st.integers(0, 9))
def test_max_pooling_by_vectors(size, planes, seed):
    x = np.random.default_rng(seed).standard_normal((planes, *size)).astype(np.float32)
    x[0, 0, 0], x[-1, -1, -1] = np.nan, np.inf
    half = size[0] // 2, size[1] // 2
    squares = x[:, : 2 * half[0], : 2 * half[1]].reshape(planes, half[0], 2, half[1], 2)
    expected = squares.max(axis=(2, 4))  # NumPy's maximum lets a NaN through
    y = np.full(expected.size, -1, np.float32)
    for plane in range(planes):  # each range of planes for itself, as threads do
        pooling.max_squares(plane, plane + 1, *size, x.reshape(-1), y)
    assert np.array_equal(y, expected.reshape(-1), equal_nan=True)


@pytest.mark.skipif(not config.BOUNDSCHECK, reason="blocks are checked with NUMBA_BOUNDSCHECK=1 only")
def test_bounds_of_blocks_are_checked():
    with pytest.raises(IndexError, match="reaches over the end"):
        _all_copies(np.zeros(5, np.float32), 0, 0, LANES, np.zeros(500, np.float32))


@pytest.mark.skipif(config.DISABLE_JIT or LANES != 8, reason="for registers of 256 bits")
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_no_tile_of_avx2_spills(rows):
    """In the innermost loop, the one with the multiply-adds, no register goes to the stack."""
    vectors = streams.VECTORS[rows][0]
    fresh = njit(sparse.multiply_tile.py_func)  # the code of a kernel from the cache cannot be looked at
    g, _ = size_convolution((1, vectors, LANES), rows, (1, 1), (1, 1), (0, 0), rows)
    numbers, offsets = np.zeros(4 * rows * vectors * LANES, np.float32), np.zeros(1, np.int32)
    arrays = (numbers, offsets, np.array([0, 1]), numbers, numbers, 0, numbers, 0, 0, 0, numbers)
    fresh(tile(rows, vectors), g, 0, 0, 1, *arrays)
    (code,) = fresh.inspect_asm().values()
    loop = _innermost_loop(code)
    assert sum(line.startswith("vfmadd") for line in loop) == rows * vectors
    assert not [line for line in loop if "ymm" in line and "(%rsp)" in line]


def _innermost_loop(code):
    """Lines from the label before the first vector multiply-add to the jump behind the last."""
    lines = [line.strip() for line in code.splitlines()]
    adds = [index for index, line in enumerate(lines) if line.startswith("vfmadd") and "ymm" in line]
    start = max(index for index in range(adds[0]) if lines[index].endswith(":"))
    end = next(index for index in range(adds[-1], len(lines)) if lines[index].startswith("j"))
    return lines[start:end]
