"""Depthwise convolutions that read their input where it lies, against float64 loops; and that plans choose them."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sparse import assert_near, expected_convolution, run

import sparsenet as sn
from sparsenet.engine import autotune, lowering
from sparsenet.engine.folding import FoldedLayer
from sparsenet.kernels.depthwise_conv import DepthwiseSizes, choose_rows
from sparsenet.kernels.sparse_matrix import to_csr
from sparsenet.machine.vectors import LANES

FEW = "SPARSENET_TEST_EXAMPLES" in os.environ
# Each number of rows of a tile is compiled anew.
HEIGHTS = [2, 9] if FEW else [1, 5, 9, 17]


def convolve(x, weight, mask, bias, geometry, *, relu=False, parts=1):
    layer = sn.Conv2d(x.shape[1], len(weight), weight.shape[2:], *geometry)
    folded = FoldedLayer(layer, to_csr(weight, mask, x.shape[1]), bias, relu)
    assert lowering.can_be_in_place(layer)
    return run(lowering.lower_in_place(folded, folded.matrix, x.shape[1:]), x, parts)


@settings(max_examples=25 if FEW else 150)
@given(
    height=st.sampled_from(HEIGHTS),
    width=st.sampled_from([1, 3, LANES - 1, LANES, LANES + 1, 2 * LANES + 3, 28]),
    kernel_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    channels=st.integers(1, 4),
    multiplier=st.integers(1, 2),
    samples=st.integers(1, 3),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    relu=st.booleans(),
    parts=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_depthwise(
    height,
    width,
    kernel_size,
    stride,
    padding,
    dilation,
    channels,
    multiplier,
    samples,
    density,
    relu,
    parts,
    seed,
):
    extent = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    if any(n + 2 * p < e for n, p, e in zip((height, width), padding, extent, strict=True)):
        return
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, channels, height, width)).astype(np.float32)
    weight = rng.standard_normal((channels * multiplier, 1, *kernel_size)).astype(np.float32)
    mask, bias = rng.random(weight.shape) < density, rng.standard_normal(len(weight)).astype(np.float32)
    geometry = stride, padding, dilation, channels
    actual = convolve(x, weight, mask, bias, geometry, relu=relu, parts=parts)
    expected = np.stack([expected_convolution(image, weight * mask, bias, *geometry) for image in x])
    assert_near(actual, np.maximum(expected, 0) if relu else expected)


def test_by_hand():
    """The sum of each pixel and its right neighbour, of rows of three; behind the last column are zeros."""
    x = np.array([[[[1.0, 2, 3], [4, 5, 6]]]], np.float32)
    weight = np.array([[[[1.0, 1.0]]]], np.float32)
    y = convolve(x, weight, np.ones(weight.shape, bool), np.zeros(1, np.float32), ((1, 1), (0, 1), (1, 1), 1))
    assert y.reshape(2, 4).tolist() == [[1, 3, 5, 3], [4, 9, 11, 6]]


@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_not_kept_or_not_seen_reaches_nothing(stride):
    """NaN and infinity pass through kept weights only, those of other channels and behind the edges through none."""
    x = np.zeros((1, 3, 9, 19), np.float32)
    x[0, 0], x[0, 1, 4, 10], x[0, 2, :, 0] = np.nan, np.inf, np.nan
    weight, mask = np.ones((3, 1, 3, 3), np.float32), np.zeros((3, 1, 3, 3), bool)
    mask[1:, 0, 1, 1] = True
    y = convolve(x, weight, mask, np.zeros(3, np.float32), ((stride, stride), (1, 1), (1, 1), 3))
    expected = x[0, :, ::stride, ::stride].copy()
    expected[0] = 0
    np.testing.assert_array_equal(y.reshape(expected.shape), expected)


def test_rows_of_tiles():
    assert [choose_rows(height, 8) for height in (1, 7, 8, 9, 14, 17, 28)] == [1, 7, 8, 5, 7, 6, 7]


def test_only_depthwise_layers_of_small_strides():
    conv = lambda *args, groups: lowering.can_be_in_place(sn.Conv2d(*args, groups=groups))  # noqa: E731
    assert conv(4, 4, 3, groups=4)
    assert conv(4, 8, 3, 2, groups=4)
    assert not conv(4, 4, 3, groups=2)
    assert not conv(4, 4, 3, 3, groups=4)


@pytest.mark.parametrize("fast", ["csr", "csr, in place"])
def test_a_plan_takes_what_is_faster(monkeypatch, fast):
    monkeypatch.setattr(autotune, "_measure", lambda runs, *sizes: {name: 2.0 - (name == fast) for name in runs})
    network = sn.chain({"conv": sn.Conv2d(6, 6, 3, 2, 1, groups=6, seed=1), "relu": sn.ReLU()})
    network.apply_masks({"conv": np.random.default_rng(0).random((6, 1, 3, 3)) < 0.3})
    plan = sn.compile(network, (6, 15, 15), batch=3, threads=1)
    (step,) = plan.steps
    assert step.form == "csr"
    assert "csr, in place" in step.measured
    assert (step.compiled.tile is None) == (fast != "csr")
    x = np.random.default_rng(1).standard_normal((3, 6, 15, 15)).astype(np.float32)
    assert_near(plan(x), network.forward(x))
    again = pickle.loads(pickle.dumps(plan))
    assert again.steps[0].compiled.sizes == step.compiled.sizes
    assert np.array_equal(again(x), plan(x))
    named = sn.compile(network, (6, 15, 15), threads=1, form={"conv": fast})
    assert type(named.steps[0].compiled.sizes) is type(step.compiled.sizes)


@pytest.mark.parametrize("behind", ["pool", "sum"])
def test_in_place_it_stays_where_it_was_asked_for(behind):
    graph = sn.Graph()
    graph.add("conv", sn.Conv2d(6, 6, 3, 1, 1, groups=6, seed=1))
    if behind == "pool":
        graph.add("pool", sn.MaxPool2d(2))
    else:
        graph.add("sum", sn.Add(), "conv", "input")
    network = graph.network()
    network.apply_masks({"conv": np.random.default_rng(0).random((6, 1, 3, 3)) < 0.3})
    plan = sn.compile(network, (6, 14, 14), threads=1, form={"conv": "csr, in place"})
    again = pickle.loads(pickle.dumps(plan))
    x = np.random.default_rng(1).standard_normal((1, 6, 14, 14)).astype(np.float32)
    assert_near(plan(x), network.forward(x))
    for each in (plan, again):
        assert isinstance(each.steps[0].compiled.sizes, DepthwiseSizes)
        assert np.array_equal(each(x), plan(x))


@pytest.mark.parametrize("form", ["csr, 7 lanes", "blas, in place", "blas, 8 lanes", "auto, in place"])
def test_other_ways_are_refused(form):
    network = sn.chain({"conv": sn.Conv2d(4, 8, 3, padding=1, groups=4)})
    with pytest.raises(ValueError, match="form"):
        sn.compile(network, (4, 9, 9), threads=1, form={"conv": form})


def test_dense_forms_may_be_in_place_too():
    network = sn.chain({"conv": sn.Conv2d(4, 8, 3, padding=1, groups=4, seed=1)})
    plan = sn.compile(network, (4, 9, 9), threads=1, form={"conv": "dense, in place"})
    x = np.random.default_rng(1).standard_normal((1, 4, 9, 9)).astype(np.float32)
    assert_near(plan(x), network.forward(x))
    assert plan.steps[0].form == "dense"
    assert plan.explain(verbose=True).endswith("; in place")
    with pytest.raises(ValueError, match="in place"):
        sn.compile(sn.chain({"conv": sn.Conv2d(4, 8, 3)}), (4, 9, 9), threads=1, form={"conv": "csr, in place"})
