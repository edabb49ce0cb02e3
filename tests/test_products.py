"""Fully connected kernels, dense and CSR, the rectified unit, and what joins branches, called directly."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.sparse import csr_array

import sparsenet as sn
from sparsenet.kernels import activation, csr_loops, linear, merging
from sparsenet.kernels.channel_sums import channel_sums


def example(rng, samples=9, inputs=6, outputs=5, density=0.5):
    """x, weight, bias, and the product in float64: about half of it is negative."""
    x, weight = rng.standard_normal((samples, inputs)), rng.standard_normal((outputs, inputs))
    weight *= rng.random(weight.shape) < density
    bias = rng.standard_normal(outputs)
    expected = x @ weight.T + bias
    assert (expected < 0).any()
    return x, weight, bias, expected


def test_linear_into_with_and_without_relu(rng):
    x, weight, bias, expected = example(rng)
    y = np.full_like(expected, np.nan)
    linear.linear_into(x, weight, bias, y)
    np.testing.assert_allclose(y, expected)
    linear.linear_into(x, weight, bias, y, relu=True)
    np.testing.assert_allclose(y, np.maximum(expected, 0))


@pytest.mark.parametrize("samples", range(linear.FEW_SAMPLES + 2))
def test_few_samples_one_by_one(rng, samples):
    """More outputs than a piece has; the same bits on two threads, which share the pieces."""
    x, weight, bias, _ = example(rng, max(samples, 1), inputs=2000, outputs=2 * linear.OUTPUTS + 9)
    x, weight, bias = x[:samples].astype(np.float32), weight.astype(np.float32), bias.astype(np.float32)
    results = np.full((2, samples, len(weight)), np.nan, np.float32)
    for threads, y in enumerate(results, 1):
        with sn.threads(threads):
            linear.linear_into(x, weight, bias, y)
    expected = x.astype(np.float64) @ weight.T + bias
    np.testing.assert_allclose(results[0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(*results)


def test_csr_linear_from_any_sample_on(rng):
    x, weight, bias, expected = example(rng)
    y = np.full_like(expected, 7)
    matrix = csr_array(weight)
    csr_loops._linear(4, 7, x, matrix.data, matrix.indices, matrix.indptr, bias, False, y)
    np.testing.assert_allclose(y[4:7], expected[4:7])
    assert (np.delete(y, [4, 5, 6], axis=0) == 7).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_csr_linear_in_two_parts(rng, threads):
    x, weight, bias, expected = example(rng, samples=300, inputs=200, outputs=100)  # more than a thread's least work
    y = np.full_like(expected, np.nan)
    with sn.threads(threads):
        csr_loops.csr_linear(x, csr_array(weight), bias, y)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("samples", [1, 9])
def test_the_csr_kernels_let_negative_outputs_through_unless_told(rng, samples):
    x, weight, bias, expected = example(rng, samples)
    y = np.full_like(expected, np.nan)
    csr_loops.csr_linear(x, csr_array(weight), bias, y)
    np.testing.assert_allclose(y, expected)
    y = np.full((samples, 5, 1, 1), np.nan)
    geometry = ((1, 1), (1, 1), (0, 0))
    csr_loops.csr_conv2d(x[:, :, None, None], csr_array(weight), bias, *geometry, y)
    np.testing.assert_allclose(y[:, :, 0, 0], expected)
    csr_loops.csr_conv2d(x[:, :, None, None], csr_array(weight), bias, *geometry, y, relu=True)
    np.testing.assert_allclose(y[:, :, 0, 0], np.maximum(expected, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_relu_at_zero_is_zero(dtype):
    x = np.array([-1, -0.0, 0, np.nextafter(dtype(0), dtype(1)), 2], dtype)
    assert activation.relu_gradient(np.full(5, 3, dtype), x).tolist() == [0, 0, 0, 3, 3]
    assert activation.relu(x).tolist() == [0, 0, 0, x[3], 2]


@pytest.mark.parametrize(
    "shape", [(5, 3), (5, 1), (1, 3), (4, 1, 2, 3), (4, 3, 1, 2), (4, 3, 2, 1), (2, 3, 1, 1), (0, 2, 3, 3)]
)
def test_sums_over_channels(rng, shape):
    x = rng.integers(-9, 9, shape).astype(np.float32)
    expected = [sum(float(value) for value in x[:, c].reshape(-1)) for c in range(shape[1])]
    assert channel_sums(x).tolist() == expected
    assert channel_sums(x).dtype == np.float64


@pytest.mark.parametrize("shape", [(1 << 20, 2), (1 << 18, 2, 2, 2), (2, 2, 700, 800)])
def test_sums_over_channels_keep_their_digits(shape):
    """A running float32 sum of 2^20 numbers of 0.1 is wrong by 1 %."""
    x = np.full(shape, 0.1, np.float32)
    np.testing.assert_allclose(channel_sums(x), np.float64(np.float32(0.1)) * (x.size // 2), rtol=1e-6)
    assert channel_sums(x[:0]).tolist() == [0, 0]


@pytest.mark.parametrize("layer", [sn.Linear(2, 2), sn.Conv2d(2, 2, 1)])
def test_bias_gradients_of_many_samples_keep_their_digits(layer):
    x = np.zeros((1 << 20, 2) if isinstance(layer, sn.Linear) else (1 << 10, 2, 32, 32), np.float32)
    layer.forward(x)
    layer.set_gradients(np.full_like(x, 0.1))
    np.testing.assert_allclose(layer.bias.grad, np.float64(np.float32(0.1)) * (1 << 20), rtol=1e-6)


def test_batch_norm_of_many_values_keeps_its_digits(rng):
    x = (100 + rng.random((1 << 20, 2))).astype(np.float32)
    layer = sn.BatchNorm(2, momentum=1)
    layer.forward(x, training=True)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(layer.running_mean, wide.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(layer.running_var, wide.var(axis=0, ddof=1), rtol=1e-6)
    layer.set_gradients(np.full_like(x, 0.1))
    np.testing.assert_allclose(layer.beta.grad, np.float64(np.float32(0.1)) * (1 << 20), rtol=1e-6)


@pytest.mark.parametrize("relu", [False, True])
def test_sums_of_a_range(relu):
    x, z = np.array([9, 9, -3, 1, np.nan, 9.0]), np.array([9, 9, 1, 2, 3, 9.0])
    expected = [7, 7, 0 if relu else -2, 3, np.nan, 7]
    y = np.full(6, 7.0)
    merging.add_two(2, 5, x, z, relu, y)
    np.testing.assert_array_equal(y, expected)
    y = np.array([7, 7, 1, 2, 3, 7.0])
    merging.add_to(2, 5, x, relu, y)
    np.testing.assert_array_equal(y, expected)


def test_copies_of_a_range():
    y = np.zeros(7)
    merging.copy_to(1, 3, np.array([5.0, 6, 7, 8]), 3, y)
    assert y.tolist() == [0, 0, 0, 0, 6, 7, 0]


class Padded(NamedTuple):
    """What `pad_channels` reads."""

    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    stride: int
    before: int


@pytest.mark.parametrize(("stride", "size"), [(1, (5, 7)), (2, (3, 4)), (3, (2, 3))])
def test_padded_channels_of_a_range(rng, stride, size):
    x, before = rng.standard_normal((2, 5, 7)), 2
    g = Padded(2, 5, 7, *size, stride, before)
    y = np.full((6, *size), 7.0)
    merging.pad_channels(1, 5, g, x.reshape(-1), y.reshape(-1))
    expected = np.full((6, *size), 7.0)
    expected[1:5] = 0
    expected[2:4] = x[:, ::stride, ::stride]
    np.testing.assert_array_equal(y, expected)
