"""The engine's kernels against float64 loops: any shape, pattern and tile; operations on registers against NumPy."""

import os
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from helpers import dilate
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

import sparsenet as sn
from sparsenet.engine import lowering, program
from sparsenet.engine.folding import FoldedLayer
from sparsenet.kernels import direct_sparse_conv, lane_copy, lane_sums, naive_conv, pooling, sparse_linear, tiling
from sparsenet.kernels import tile as tiles
from sparsenet.kernels.sparse_matrix import is_blocked, to_bsr, to_csr, to_weight
from sparsenet.kernels.tiling import Tile, tile_linear
from sparsenet.kernels.weight_packing import (
    is_better_sliced,
    pack_convolution,
    pack_linear,
    pack_rows,
    pack_slices,
    size_single,
)
from sparsenet.machine.jit import kernel
from sparsenet.machine.vectors import LANES, LINE, REGISTERS, WIDEST

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
    each = [naive_conv.conv2d(i, w, b, stride, padding) for i, w, b in zip(inputs, parts, biases, strict=True)]
    return np.concatenate(each, axis=1)[0]


def run(step, x, parts=1):
    """Output of a compiled step, its work in `parts`, from memory that holds NaN wherever nothing was written."""
    prepared = program.Program([step], len(x), 1).prepare()
    prepared.stages["parts"] = max(parts, step.pieces)
    prepared.memory.view(np.float32)[:] = np.nan
    y = np.full((len(x), step.output_size), np.nan, np.float32)
    prepared.run(np.ascontiguousarray(x, np.float32), y)
    return y


def run_convolution(x, weight, mask, bias, stride, padding, dilation, groups, rows, *, relu=False, parts=1, splits=1):
    outputs, inputs, *kernel_size = weight.shape
    layer = sn.Conv2d(inputs * groups, outputs, kernel_size, stride, padding, dilation, groups)
    folded = FoldedLayer(layer, to_csr(weight, mask, groups), bias, relu)
    step = lowering.lower_convolution(folded, folded.as_blocks(rows), x.shape)
    splits = min(splits, step.tiles.blocks)
    step = replace(step, sizes=step.sizes._replace(splits=splits), parts=step.parts * splits)
    return run(step, x[None], parts).reshape(outputs, -1)


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
    rows=st.sampled_from([*ROWS, LINE]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    relu=st.booleans(),
    division=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    packed=st.sampled_from([64, 2000, tiling.PACKED_BYTES]),
    seed=st.integers(0, 99),
)
def test_convolution(
    size, kernel_size, stride, padding, dilation, channels, rows, density, relu, division, packed, seed
):
    extent = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    if any(n + 2 * p < e for n, p, e in zip(size, padding, extent, strict=True)):
        return
    inputs, outputs, groups = channels
    inputs, outputs = inputs * groups, (outputs if groups == 1 else rows * groups)
    if rows == LINE and stride[1] != 1:
        return
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((inputs, *size)).astype(np.float32)
    weight = rng.standard_normal((outputs, inputs // groups, *kernel_size)).astype(np.float32)
    mask, bias = blocked_mask(rng, weight.shape, rows, density), rng.standard_normal(outputs).astype(np.float32)
    geometry = (stride, padding, dilation, groups)
    with patch.object(tiling, "PACKED_BYTES", packed):  # small ones make many chunks
        actual = run_convolution(
            x, weight, mask, bias, *geometry, rows, relu=relu, parts=division[0], splits=division[1]
        )
    expected = expected_convolution(x, weight * mask, bias, *geometry)
    assert_near(actual, np.maximum(expected, 0) if relu else expected)


@pytest.mark.parametrize("size", [(5, 8), (25, 30)] if FEW else [(1, 300), (300, 1), (2, 129), (64, 33), (5, 8)])
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


@given(
    size=st.tuples(st.sampled_from([2, 6, 14, 28, 15]), st.sampled_from([8, 14, 28, 32, 9])),
    kernel_size=st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 5), (3, 6), (7, 7)]),
    outputs=st.sampled_from([4, 6]),
    rows=st.sampled_from(ROWS),
    density=st.sampled_from([0.5, 1.0]),
    parts=st.integers(1, 3),
    splits=st.integers(1, 2),
    packed=st.sampled_from([64, tiling.PACKED_BYTES]),
    seed=st.integers(0, 9),
)
def test_pooled_convolution(size, kernel_size, outputs, rows, density, parts, splits, packed, seed):
    """The maxima of squares while the sums are in registers, wherever tiles allow it."""
    rng, padding = np.random.default_rng(seed), tuple(k // 2 for k in kernel_size)
    x, layer = rng.standard_normal((2, 3, *size)).astype(np.float32), sn.Conv2d(3, outputs, kernel_size, 1, padding)
    weight, bias = rng.standard_normal(layer.weight.value.shape).astype(np.float32), np.ones(outputs, np.float32)
    mask = blocked_mask(rng, weight.shape, rows, density)
    step = pooled_step(FoldedLayer(layer, to_csr(weight, mask), bias, True), x.shape[1:], rows, packed)
    if step is None:
        return
    splits = min(splits, step.tiles.blocks)
    step = replace(step, sizes=step.sizes._replace(splits=splits), parts=step.parts * splits)
    x[0, 1, 1, 3] = np.nan if density == 1 else 0
    geometry = (1, 1), padding, (1, 1), 1
    images = (expected_convolution(image, weight * mask, bias, *geometry) for image in x)
    expected = np.stack([pooling_oracle(np.maximum(image, 0)) for image in images])
    np.testing.assert_allclose(run(step, x, parts), expected.reshape(2, -1), rtol=1e-5, atol=1e-4)


def pooled_step(folded, shape, rows, packed=tiling.PACKED_BYTES):
    with patch.object(tiling, "PACKED_BYTES", packed):
        return lowering.lower_convolution(folded, folded.as_blocks(rows), shape, pool=True)


@pytest.mark.parametrize(("size", "fused"), [((28, 32), True), ((16, 16), True), ((27, 32), False), ((28, 31), False)])
def test_even_images_are_pooled_in_registers(size, fused):
    layer = sn.Conv2d(3, 8, 3, padding=1)
    folded = FoldedLayer(layer, to_csr(layer.weight.value), layer.bias.value, True)
    assert (pooled_step(folded, (3, *size), 1) is not None) == fused


def pooling_oracle(images):
    planes, height, width = images.shape
    return images.reshape(planes, height // 2, 2, width // 2, 2).max(axis=(2, 4))  # a NaN passes


def every_tiling(g, height):
    """The cheapest tiling with each tile that the registers hold."""
    if height == LINE:
        ways = tiling._channel_tilings(g, tiling.Terms(LINE, 1.0, False, LINE, WIDEST))
    else:
        terms = tiling.Terms(height, 1.0, False, LANES, WIDEST)
        ways = [*tiling._line_tilings(g, terms)]
        ways += tiling._pointwise_tilings(g, terms) if g.pointwise else []
    return list({(way.tile, way.sizes.pointwise): way for way in ways}.values())


@pytest.mark.parametrize("rows", ROWS[:1] if FEW else [*ROWS, LINE])
@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3)])
def test_every_tile(rng, monkeypatch, kernel_size, rows):
    """Whichever tile the model prefers, all of them give the same numbers: on another machine another one is chosen."""
    padding, size = tuple(k // 2 for k in kernel_size), (14, 15) if FEW else (29, 33)
    x, bias = rng.standard_normal((5, *size)).astype(np.float32), rng.standard_normal(17).astype(np.float32)
    weight = rng.standard_normal((17, 5, *kernel_size)).astype(np.float32)
    mask = blocked_mask(rng, weight.shape, rows, 0.5)
    geometry = (1, 1), padding, (1, 1), 1
    expected = expected_convolution(x, weight * mask, bias, *geometry)
    ways = every_tiling(tiling.Geometry(x.shape, 17, kernel_size, padding=padding), rows)
    assert len(ways) > 3
    for way in ways:
        monkeypatch.setattr(lowering, "tile_convolution", lambda *args, way=way, **kwargs: way)
        assert_near(run_convolution(x, weight, mask, bias, *geometry, rows), expected)


def test_depthwise(rng):
    x = rng.standard_normal((24, 14, 14)).astype(np.float32)
    weight, bias = rng.standard_normal((24, 1, 3, 3)).astype(np.float32), np.zeros(24, np.float32)
    geometry = ((1, 1), (1, 1), (1, 1), 24)
    actual = run_convolution(x, weight, np.ones(weight.shape, bool), bias, *geometry, 1)
    assert_near(actual, expected_convolution(x, weight, bias, *geometry))


@given(
    samples=st.sampled_from(SAMPLES),
    inputs=st.sampled_from([1, 5, 16, 40, 301]),
    outputs=st.sampled_from([1, 3, 8, 10, 37]),
    rows=st.sampled_from([1, 4]),
    density=st.sampled_from([0.0, 0.1, 1.0]),
    relu=st.booleans(),
    parts=st.integers(1, 3),
    packed=st.sampled_from([64, tiling.PACKED_BYTES]),
    seed=st.integers(0, 9),
)
def test_fully_connected(samples, inputs, outputs, rows, density, relu, parts, packed, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, inputs)).astype(np.float32)
    weight, bias = rng.standard_normal((outputs, inputs)).astype(np.float32), rng.standard_normal(outputs)
    mask, bias = blocked_mask(rng, weight.shape, rows, density), bias.astype(np.float32)
    with patch.object(tiling, "PACKED_BYTES", packed):
        folded = FoldedLayer(sn.Linear(inputs, outputs), to_csr(weight, mask), bias, relu)
        step = lowering.lower_linear(folded, folded.as_blocks(rows), samples)
        actual = run(step, x, parts)
    expected = x.astype(np.float64) @ (weight * mask).T.astype(np.float64) + bias
    assert_near(actual, np.maximum(expected, 0) if relu else expected)


@given(
    inputs=st.integers(1, 60),
    outputs=st.integers(1, 40),
    parts=st.integers(1, 3),
    sliced=st.booleans(),
    relu=st.booleans(),
    seed=st.integers(0, 9),
)
def test_one_sample(inputs, outputs, parts, sliced, relu, seed):
    rng = np.random.default_rng(seed)
    x, weight = (
        rng.standard_normal(inputs).astype(np.float32),
        rng.standard_normal((outputs, inputs)).astype(np.float32),
    )
    mask = rng.random(weight.shape) < rng.random((outputs, 1))  # rows of very different lengths
    bias, y = rng.standard_normal(outputs).astype(np.float32), np.full(outputs, np.nan, np.float32)
    matrix = to_csr(weight, mask)
    multiply = sparse_linear.multiply_slices if sliced else sparse_linear.multiply_single
    weights = (pack_slices if sliced else pack_rows)(matrix, bias)
    for part in range(parts):
        multiply(size_single(matrix, relu=relu), x, **weights._asdict(), y=y, part=part, parts=parts)
    expected = (weight * mask).astype(np.float64) @ x + bias
    assert_near(y, np.maximum(expected, 0) if relu else expected)


def single_step(matrix, bias):
    outputs, inputs = matrix.shape
    return lowering.lower_single(FoldedLayer(sn.Linear(inputs, outputs), matrix, bias), matrix)


@pytest.mark.parametrize("outputs", [3, 48, 320])  # entries as lanes, one sorted window of slices, two of them
@pytest.mark.parametrize("density", [0.02, 1.0])
def test_one_sample_of_many_inputs(rng, outputs, density):
    x, weight = rng.standard_normal((1, 9000)).astype(np.float32), np.zeros((outputs, 9000), np.float32)
    mask = rng.random(weight.shape) < density
    weight[mask] = rng.standard_normal(mask.sum())
    matrix = to_csr(weight, mask)
    assert is_better_sliced(matrix) == (outputs > 9)
    assert_near(run(single_step(matrix, np.ones(outputs, np.float32)), x), x.astype(np.float64) @ weight.T + 1)


def pair_step(matrix, bias, relu=False):
    outputs, inputs = matrix.shape
    step = lowering.lower_single(FoldedLayer(sn.Linear(inputs, outputs), matrix, bias, relu), matrix, batch=2)
    assert step.samples == 2
    return step


@given(
    inputs=st.integers(1, 90),
    outputs=st.integers(16, 70),
    samples=st.integers(1, 2),
    parts=st.integers(1, 3),
    relu=st.booleans(),
    seed=st.integers(0, 9),
)
def test_two_samples(inputs, outputs, samples, parts, relu, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, inputs)).astype(np.float32)
    weight = rng.standard_normal((outputs, inputs)).astype(np.float32)
    mask = rng.random(weight.shape) < rng.random((outputs, 1))
    matrix, bias = to_csr(weight, mask), rng.standard_normal(outputs).astype(np.float32)
    with patch.object(lowering, "is_better_sliced", lambda matrix: True):
        actual = run(pair_step(matrix, bias, relu), x, parts)
    expected = x.astype(np.float64) @ (weight * mask).T.astype(np.float64) + bias
    assert_near(actual, np.maximum(expected, 0) if relu else expected)


def test_nan_of_one_of_two_samples_stays_there():
    weight, mask, x = np.ones((40, 50), np.float32), np.ones((40, 50), bool), np.ones((2, 50), np.float32)
    x[1, 0], x[1, 7] = np.nan, np.inf
    mask[:, 0], mask[1, 7], mask[1::3, 20:] = False, False, False
    y = run(pair_step(to_csr(weight, mask), np.zeros(40, np.float32)), x)
    assert np.array_equal(y[0], mask.sum(axis=1))
    assert np.array_equal(y[1], np.where(mask[:, 7], np.inf, mask.sum(axis=1)))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_plan_for_two_samples_takes_any_number(rng, count):
    network = sn.chain({"linear": sn.Linear(60, 40, seed=1)})
    network.apply_masks({"linear": rng.random((40, 60)) < 0.2})
    plan, x = sn.compile(network, (60,), batch=2, threads=1), rng.standard_normal((count, 60)).astype(np.float32)
    assert_near(plan(x), network.forward(x))


@pytest.mark.parametrize("outputs", [2, 40])
def test_nan_of_one_sample_passes_through_kept_weights_only(outputs):
    weight, mask, x = np.ones((outputs, 50), np.float32), np.ones((outputs, 50), bool), np.ones((1, 50), np.float32)
    x[0, 0], x[0, 7] = np.nan, np.inf
    mask[:, 0], mask[1, 7], mask[1::3, 20:] = False, False, False
    y = run(single_step(to_csr(weight, mask), np.zeros(outputs, np.float32)), x)
    assert np.array_equal(y[0], np.where(mask[:, 7], np.inf, mask.sum(axis=1)))


def test_one_sample_of_more_inputs_than_an_offset_reaches(rng):
    weight = np.zeros((2, 70_000), np.float32)
    mask = rng.random(weight.shape) < 0.001
    mask[:, -1] = True
    weight[mask] = rng.standard_normal(mask.sum())
    x = rng.standard_normal((1, 70_000)).astype(np.float32)
    actual = run(single_step(to_csr(weight, mask), np.ones(2, np.float32)), x)
    assert_near(actual, x.astype(np.float64) @ weight.T + 1)


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


def test_what_no_weight_reads_is_not_copied():
    """Stride 2 and a kernel of 2: a copy of even and one of odd rows and columns; two groups of two channels."""
    g = tiling.Geometry((4, 8, 40), 2, (2, 2), (2, 2), (0, 0), (1, 1), 2)
    mask = np.zeros((2, 2, 2, 2), bool)
    mask[0, 1, 0, 0] = mask[1, 0, 1, 0] = mask[1, 0, 1, 1] = True
    chosen = tiling.tile_convolution(g, 1)
    matrix = to_csr(np.ones(mask.shape, np.float32), mask, 2)
    weights = pack_convolution(matrix, np.zeros(2, np.float32), g, chosen)
    even_even, odd_row, odd_column, odd_odd = [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]
    assert weights.reads.reshape(4, 4).tolist() == [even_even, odd_row, odd_column, odd_odd]


@pytest.mark.parametrize("kernel_size", [(3, 3), (1, 1)])
@pytest.mark.parametrize("rows", [1, LINE])
def test_channels_that_nothing_reads_are_not_looked_at(rng, kernel_size, rows):
    x, weight = rng.standard_normal((6, 12, 13)).astype(np.float32), np.ones((LINE, 6, *kernel_size), np.float32)
    mask, bias, pad = np.ones(weight.shape, bool), np.zeros(LINE, np.float32), kernel_size[0] // 2
    mask[:, [1, 4]], x[[1, 4]] = False, np.nan
    y = run_convolution(x, weight, mask, bias, (1, 1), (pad, pad), (1, 1), 1, rows)
    expected = expected_convolution(np.nan_to_num(x), weight * mask, bias, (1, 1), (pad, pad), (1, 1), 1)
    assert_near(y, expected)


def test_packed_weights_by_hand():
    """Two outputs, three inputs in chunks of two: chunk by chunk, in each output by output."""
    weight = np.array([[1, 2, 3], [4, 0, 6]], np.float32)
    mask = np.array([[True, False, True], [True, True, False]])

    def packed(matrix, rows):
        tiling = tile_linear(3, 2, 1, rows)
        tiling = tiling._replace(
            tiles=tiling.tiles._replace(chunks=2),
            sizes=tiling.sizes._replace(chunk=2, apart=LINE),
            tile=Tile(rows, 1, 1),
        )
        return pack_linear(matrix, np.array([7, 8]), tiling)

    packed_weights = packed(to_csr(weight, mask), 1)
    assert packed_weights.entries[:, 0].tolist() == [0, 0, LINE, 0]
    assert packed_weights.entries[:, 1:].copy().view(np.float32).ravel().tolist() == [1, 4, 0, 3]
    assert packed_weights.indptr.tolist() == [0, 1, 3, 4, 4]
    assert packed_weights.spans.tolist() == [[0, 1], [0, 0]]
    assert packed_weights.bias.tolist() == [7, 8]
    both = packed(to_bsr(to_csr(weight), 2), 2)
    assert both.entries[:, 0].tolist() == [0, LINE, 0]
    assert both.entries[:, 1:].copy().view(np.float32).tolist() == [[1, 4], [2, 0], [3, 6]]


def test_packed_rows_of_one_sample_by_hand():
    weight, mask = np.array([[1, 2, 3], [4, 0, 6]], np.float32), np.array([[True, False, True], [True, True, True]])
    packed_weights = pack_rows(to_csr(weight, mask), np.array([7, 8]))
    assert packed_weights.values[:5].tolist() == [1, 3, 4, 0, 6]
    assert packed_weights.offsets[:5].tolist() == [0, 2, 0, 1, 2]
    assert packed_weights.indptr.tolist() == [0, 2, 5]


def test_slices_by_hand():
    """Three outputs in one slice, the longest first: their first entries, the second ones of those that have one."""
    weight = np.array([[1, 2, 3], [4, 0, 6], [7, 8, 9]], np.float32)
    mask = np.array([[False, True, False], [True, True, True], [True, False, True]])
    packed_weights = pack_slices(to_csr(weight, mask), np.array([10, 20, 30]))
    assert packed_weights.outputs.tolist() == [1, 2, 0] + (LINE - 3) * [-1]
    assert packed_weights.indptr.tolist() == [0, 3, 5, 6] + (LINE - 3) * [6]
    assert packed_weights.bias.tolist() == [20, 30, 10] + (LINE - 3) * [0]
    assert packed_weights.values[:6].tolist() == [4, 7, 2, 0, 9, 6]
    assert packed_weights.offsets[:6].tolist() == [0, 0, 1, 1, 2, 2]


def test_blocks_are_recognised():
    mask = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]], bool)
    matrix = to_csr(np.zeros(mask.shape, np.float32), mask)  # the pattern is the mask, not the values
    assert is_blocked(matrix, 1)
    assert is_blocked(matrix, 2)  # the last one is alone
    assert not is_blocked(matrix, 4)
    assert not is_blocked(matrix[1:], 2)
    assert not is_blocked(matrix[[0, 2]], 2)  # as many in each row, and others


@given(
    outputs=st.integers(1, 3),
    groups=st.integers(1, 3),
    inputs=st.integers(1, 3),
    rows=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_matrices_hold_what_the_mask_keeps(outputs, groups, inputs, rows, seed):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-1, 2, (outputs * groups, inputs, 2, 3)).astype(np.float32)  # zeros among them
    mask = rng.random(weight.shape) < 0.4
    matrix = to_csr(weight, mask, groups)
    assert matrix.nnz == mask.sum()
    assert matrix.shape == (outputs * groups, inputs * groups * 6)
    assert np.array_equal(to_weight(matrix, weight.shape, groups), weight * mask)
    blocks = to_bsr(matrix, rows)
    assert np.array_equal(blocks.toarray()[: len(weight)], matrix.toarray())
    assert np.array_equal(to_csr(weight, None, groups).toarray(), to_csr(weight, np.ones_like(mask), groups).toarray())


# --- operations on registers: what the compiled ones do is what their lines of NumPy do ----------------------------


@kernel
def _all_operations(shape, entries, numbers, out):
    total = tiles.splat(shape, numbers, 1)
    total = tiles.fma(shape, total, entries, 1, numbers, 2, 5)
    tiles.store(shape, total, out, 3, 700, 100, 20)
    tiles.keep(shape, tiles.relu(tiles.load(shape, numbers, 5)), out, 3000)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 1), (2, 3, min(2, LINE // LANES)), (4, 2, 1)])
def test_tiles_of_positions(rng, shape):
    numbers = rng.standard_normal(600).astype(np.float32)
    numbers[9] = np.nan
    weights = rng.standard_normal((3, shape[0])).astype(np.float32)
    entries = np.column_stack([[0, 7, 0], weights.view(np.int32)]).astype(np.int32)
    out, size = np.zeros(5000, np.float32), int(np.prod(shape)) * LANES
    _all_operations(Tile(*shape), entries.reshape(-1), numbers, out)
    assert np.array_equal(out[3000:][:size], np.where(numbers[5:][:size] < 0, 0, numbers[5:][:size]), equal_nan=True)
    for m, r, a in np.ndindex(shape):
        piece = numbers[9 + r * LINE + a * 5 :][:LANES]
        expected = numbers[1 + m] + weights[1, m] * piece.astype(np.float64)
        actual = out[3 + m * 700 + r * 100 + a * 20 :][:LANES]
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", [1, 6, LINE, 20])
def test_tiles_of_channels(rng, positions):
    numbers = rng.standard_normal(600).astype(np.float32)
    numbers[9] = np.nan
    weights = rng.standard_normal((3, LINE)).astype(np.float32)
    entries = np.column_stack([[0, 7, 0], weights.view(np.int32)]).astype(np.int32)
    out, size = np.zeros(LINE * 700 + 3000, np.float32), positions * LINE
    _all_operations(Tile(1, 1, positions, True), entries.reshape(-1), numbers, out)
    expected = numbers[1 : 1 + LINE, None] + weights[1, :, None] * numbers[9 : 9 + positions].astype(np.float64)
    kept = np.where(numbers[5:][:size] < 0, 0, numbers[5:][:size])
    assert np.array_equal(out[3000:][:size], kept, equal_nan=True)
    for lane in (lane for lane in range(LINE) if not 3000 - positions < 3 + lane * 700 < 3000 + size):
        actual = out[3 + lane * 700 :][:positions]
        np.testing.assert_allclose(actual, expected[lane], rtol=1e-5, atol=1e-6)


@kernel
def _line_of_sums(values, offsets, k, count, numbers, base):
    line = lane_sums.zero_line()
    line = lane_sums.fma_line(line, values, offsets, k, count, numbers, base)
    line = lane_sums.fma_line(line, values, offsets, k, count, numbers, base)
    return lane_sums.sum_line(line)


@pytest.mark.parametrize("count", [0, 1, 5, LINE, LINE + 7])
def test_a_line_of_sums(rng, count):
    values, offsets = rng.standard_normal(40).astype(np.float32), rng.integers(0, 50, 40).astype(np.uint16)
    numbers = rng.standard_normal(60).astype(np.float32)
    some = slice(3, 3 + min(count, LINE))
    numbers[4 + offsets[some.stop]] = np.nan if offsets[some.stop] not in offsets[some] else 1  # is not looked at
    expected = 2 * (values[some].astype(np.float64) @ numbers[4 + offsets[some]])
    assert _line_of_sums(values, offsets, 3, count, numbers, 4) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@kernel
def _number_of_two_lines(numbers, lane):
    return lane_sums.number_of(
        lane_sums.add_lines(lane_sums.load_line(numbers, 1), lane_sums.load_line(numbers, 3)), lane
    )


@pytest.mark.parametrize("lane", [0, LINE - 1])
def test_a_number_of_two_lines(lane):
    numbers = np.arange(LINE + 3, dtype=np.float32) ** 2
    assert _number_of_two_lines(numbers, lane) == (1 + lane) ** 2 + (3 + lane) ** 2


@kernel
def _all_copies(source, start, first, last, out):
    lane_copy.copy_line(source, start, first, last, out, 0)
    lane_copy.copy_every_second(source, start, first, last, out, LINE)
    lane_copy.clear_line(out, 2 * LINE)
    lane_copy.put_lanes(source, start, last, out, 3 * LINE)
    lane_copy.transpose(source, start, LANES + 3, out, 5 * LINE, LANES + 1)


@given(start=st.integers(0, 9), first=st.integers(0, LINE), last=st.integers(0, LINE))
def test_copies_of_lanes(start, first, last):
    source = np.arange(1, 1 + LINE * (LINE + 3) + 10, dtype=np.float32)
    out = np.full(5 * LINE + LANES * (LANES + 1), -1, np.float32)
    _all_copies(source, start, first, last, out)
    lane = np.arange(LINE)
    inside, put = (lane >= first) & (lane < last), min(last, LANES)
    assert np.array_equal(out[:LINE], np.where(inside, source[start + lane], 0))
    assert np.array_equal(out[LINE : 2 * LINE], np.where(inside, source[start + 2 * lane], 0))
    assert not out[2 * LINE : 3 * LINE].any()
    assert np.array_equal(out[3 * LINE :][:put], source[start : start + put])
    assert (out[3 * LINE + put : 5 * LINE] == -1).all()
    for i in range(LANES):
        row = out[5 * LINE + i * (LANES + 1) :][:LANES]
        assert np.array_equal(row, source[start + i + np.arange(LANES) * (LANES + 3)])


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
        _all_copies(np.zeros(5, np.float32), 0, 0, LINE, np.zeros(500, np.float32))


@pytest.mark.skipif(config.DISABLE_JIT or LANES != 8, reason="for registers of 256 bits")
@pytest.mark.parametrize("rows", [1, 2, 4, LINE])
def test_no_tile_of_256_bits_spills(rows):
    """In the innermost loop, the one with the multiply-adds, no register goes to the stack."""
    tiles = [[Tile(1, 1, width, True) for width in range(REGISTERS, 0, -1)]]
    if rows < LINE:
        tiles = [[Tile(rows, height, across) for height in tiling.TILE_ROWS] for across in (1, 2)]
    for candidates in tiles:
        largest = next(t for t in candidates if t.fits)
        # the code of a kernel from the cache cannot be looked at
        fresh = njit(direct_sparse_conv.multiply_tile.py_func)
        sizes = direct_sparse_conv.TileSizes(rows, rows, largest.vectors * LANES, 1, 1, 0, 0, LANES, 0, 0)
        numbers, spans = np.zeros(2 * largest.vectors * LANES, np.float32), np.zeros(2, np.int64)
        work = direct_sparse_conv.TileCall(0, numbers.size, 0, 0, 1, 0, 0, 0, numbers.size)
        arrays = np.zeros(1 + LINE, np.int32), np.array([0, 1]), spans, *[numbers] * 5
        fresh(largest, False, sizes, work, *arrays)
        (code,) = fresh.inspect_asm().values()
        loop = _innermost_loop(code)
        count = sum(line.startswith("vfmadd") for line in loop)
        assert count == largest.vectors if WIDEST == LANES or not largest.channel_lanes else largest.across
        assert not [line for line in loop if "mm" in line and "(%rsp)" in line]


def _innermost_loop(code):
    """Lines from the label before the first vector multiply-add to the jump behind the last."""
    lines = [line.strip() for line in code.splitlines()]
    adds = [index for index, line in enumerate(lines) if line.startswith("vfmadd")]
    start = max(index for index in range(adds[0]) if lines[index].endswith(":"))
    end = next(index for index in range(adds[-1], len(lines)) if lines[index].startswith("j"))
    return lines[start:end]
