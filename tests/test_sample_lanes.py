"""Convolutions of small images in batches, with samples as lanes, against the naive loops in float64."""

import os
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sparse import assert_near, blocked_mask, expected_convolution, pairs, run

import sparsenet as sn
from sparsenet.engine import lowering
from sparsenet.engine.folding import FoldedLayer
from sparsenet.kernels import tiling
from sparsenet.kernels.sample_lanes_conv import SampleConvSizes
from sparsenet.kernels.sparse_matrix import to_csr
from sparsenet.machine.vectors import LANES, LINE

FEW = "SPARSENET_TEST_EXAMPLES" in os.environ
BATCHES = [LINE + 3] if FEW else [LANES // 2 + 1, LANES, LINE, LINE + 3, 2 * LINE + 1]  # a tile is compiled for each
ROWS = [1, 4] if FEW else [1, 2, 4]
SIZES = st.sampled_from([(2, 2), (4, 4), (3, 1)]) if FEW else pairs(1, 7)
ONCE = (1, 1), (1, 1), (1, 1), 1  # stride, padding, dilation, groups


def step_with(way, layer, folded, rows):
    """The compiled step of one way to cut a layer."""
    with patch.object(lowering, "tile_convolution", lambda *args, **kwargs: way):
        return lowering.lower_convolution(folded, folded.as_blocks(rows), way_shape(way))


def way_shape(way):
    return way.sizes.channels, way.sizes.height, way.sizes.width


def convolve(x, weight, mask, bias, geometry, rows, *, relu=False, parts=1, tile=None):
    """What the cheapest tiling by samples, or that of a tile, makes of the images x; None where no tile fits."""
    groups = geometry[-1]
    layer = sn.Conv2d(x.shape[1], len(weight), weight.shape[2:], *geometry)
    folded = FoldedLayer(layer, to_csr(weight, mask, groups), bias, relu)
    g = lowering.geometry_of(layer, x.shape[1:])
    ways = list(tiling._sample_tilings(g, tiling.Terms(rows, float(mask.mean()), relu, LANES, LANES), len(x)))
    way = min((way for way in ways if tile in (None, way.tile)), key=lambda way: way.cost)
    return run(step_with(way, layer, folded, rows), x, parts)


def expected_of(x, weight, bias, geometry, relu=False):
    images = np.stack([expected_convolution(image, weight, bias, *geometry) for image in x])
    return np.maximum(images, 0) if relu else images


@given(
    samples=st.sampled_from(BATCHES),
    size=SIZES,
    kernel_size=pairs(1, 3),
    stride=pairs(1, 3),
    padding=pairs(0, 2),
    dilation=pairs(1, 2),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    groups=st.sampled_from([1, 2, 3]),
    rows=st.sampled_from(ROWS),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    relu=st.booleans(),
    parts=st.integers(1, 3),
    packed=st.sampled_from([64, tiling.PACKED_BYTES]),
    seed=st.integers(0, 9),
)
def test_sparse_convolution_by_samples(
    samples, size, kernel_size, stride, padding, dilation, channels, groups, rows, density, relu, parts, packed, seed
):
    reach = [s + 2 * p - (k - 1) * d for s, p, k, d in zip(size, padding, kernel_size, dilation, strict=True)]
    if min(reach) < 1:
        return
    rng, (inputs, outputs) = np.random.default_rng(seed), channels
    outputs = outputs * groups * (rows if groups > 1 else 1)
    x = rng.standard_normal((samples, inputs * groups, *size)).astype(np.float32)
    weight, bias = rng.standard_normal((outputs, inputs, *kernel_size)).astype(np.float32), rng.standard_normal(outputs)
    mask, geometry = blocked_mask(rng, weight.shape, rows, density), (stride, padding, dilation, groups)
    with patch.object(tiling, "PACKED_BYTES", packed):
        actual = convolve(x, weight, mask, bias, geometry, rows, relu=relu, parts=parts)
    assert_near(actual, expected_of(x, weight * mask, bias, geometry, relu))


@pytest.mark.skipif(FEW, reason="minutes of compiling")
@pytest.mark.parametrize("rows", ROWS)
def test_every_tile_of_samples(rng, rows):
    """Whichever tile the model prefers: on another machine another one is chosen."""
    x, bias = rng.standard_normal((LINE + 1, 3, 4, 14)).astype(np.float32), rng.standard_normal(9)
    weight = rng.standard_normal((9, 3, 3, 3)).astype(np.float32)
    mask = blocked_mask(rng, weight.shape, rows, 0.5)
    g = tiling.Geometry(x.shape[1:], 9, (3, 3), padding=(1, 1))
    tiles = {way.tile for way in tiling._sample_tilings(g, tiling.Terms(rows, 0.5, False, LANES, LANES), len(x))}
    assert len(tiles) > 3
    expected = expected_of(x, weight * mask, bias, ONCE)
    for tile in tiles:
        assert_near(convolve(x, weight, mask, bias, ONCE, rows, tile=tile), expected)


def test_by_hand():
    """One channel of 1 x 2, kernel 1 x 2: y = 3 x[0] + 5 x[1] + 1, sample by sample; NaN stays in its own sample."""
    x = np.arange(2.0 * LANES).reshape(LANES, 1, 1, 2).astype(np.float32)
    x[3, 0, 0, 1] = np.nan
    weight, mask = np.array([[[[3.0, 5.0]]]], np.float32), np.ones((1, 1, 1, 2), bool)
    y = convolve(x, weight, mask, np.ones(1), ((1, 1), (0, 0), (1, 1), 1), 1)[:, 0]
    assert np.isnan(y[3])
    expected = [3 * 2 * n + 5 * (2 * n + 1) + 1 for n in range(LANES) if n != 3]
    assert np.delete(y, 3).tolist() == expected


def test_nothing_passes_a_pruned_weight(rng):
    """A pruned weight is no 0 x NaN: only outputs with a kept weight on the bad channel see it."""
    x = rng.standard_normal((LANES, 2, 3, 3)).astype(np.float32)
    x[:, 1] = np.inf
    weight = np.ones((2, 2, 3, 3), np.float32)
    mask = np.ones(weight.shape, bool)
    mask[0, 1] = False
    y = convolve(x, weight, mask, np.zeros(2), ONCE, 1).reshape(LANES, 2, 9)
    assert np.isfinite(y[:, 0]).all()
    assert np.isinf(y[:, 1]).all()


def small_network():
    """Images of 4 x 4, then 2 x 2: narrower than a vector."""
    graph = sn.Graph()
    graph.add("conv1", sn.Conv2d(16, 32, 3, padding=1, seed=1))
    x = graph.add("relu1", sn.ReLU())
    graph.add("conv2", sn.Conv2d(32, 32, 3, padding=1, seed=2))
    graph.add("sum", sn.Add(), "conv2", x)
    graph.add("relu2", sn.ReLU())
    graph.add("conv3", sn.Conv2d(32, 64, 3, 2, 1, seed=3))
    graph.add("relu3", sn.ReLU())
    graph.add("pool", sn.MaxPool2d(2))
    graph.add("flatten", sn.Flatten())
    graph.add("fc", sn.Linear(64, 5, seed=4))
    network = graph.network()
    rng = np.random.default_rng(0)
    network.apply_masks({name: rng.random(mask.shape) < 0.3 for name, mask in network.masks().items()})
    return network


def lanes_of(plan):
    """Which convolutions of a plan have samples as lanes."""
    return [s.name for s in plan.steps if s.compiled and isinstance(s.compiled.sizes, SampleConvSizes)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_plan_for_a_batch_of_small_images(rng, threads):
    network, x = small_network(), rng.standard_normal((40, 16, 4, 4)).astype(np.float32)
    plan = sn.compile(network, (16, 4, 4), batch=32, threads=threads, form="csr")
    assert lanes_of(plan) == ["conv1", "conv2", "conv3"]
    expected = network.astype(np.float64).forward(x.astype(np.float64))
    for count in (1, 2, 31, 32, 40):
        np.testing.assert_allclose(plan(x[:count]), expected[:count], rtol=1e-4, atol=1e-5)


def test_bits_do_not_depend_on_the_other_samples(rng):
    network, x = small_network(), rng.standard_normal((32, 16, 4, 4)).astype(np.float32)
    plan = sn.compile(network, (16, 4, 4), batch=32, threads=2, form="csr")
    assert np.array_equal(plan(x)[:7], plan(x[:7]))
    assert np.array_equal(plan(x)[20:25], plan(x[20:25]))


def test_large_images_and_few_samples_keep_positions_as_lanes():
    network = sn.chain({"conv": sn.Conv2d(16, 16, 3, padding=1, seed=1)})
    assert lanes_of(sn.compile(network, (16, 32, 32), batch=32, threads=1, form="csr")) == []
    assert lanes_of(sn.compile(network, (16, 4, 4), batch=2, threads=1, form="csr")) == []
