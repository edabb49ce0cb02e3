"""Convolution: every stride, padding and kernel against scipy.signal.correlate, by adjoint, and fast = reference."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate

from sparsenet.kernels import conv, reference
from sparsenet.kernels.threads import threads

KERNELS = [(1, 1), (2, 2), (3, 3), (5, 5), (1, 3), (4, 2)]
STRIDES = [(1, 1), (2, 2), (3, 3), (1, 2), (2, 1)]
PADDINGS = [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]
COMBINATIONS = list(itertools.product(KERNELS, STRIDES, PADDINGS))
PATHS = {"im2col": conv, "loops": reference}


def correlate_oracle(x, weight, bias, stride, padding):
    """scipy.signal.correlate on the padded image, every stride-th position of it."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    y = np.stack(
        [np.stack([correlate(image, kernel, mode="valid", method="direct")[0] for kernel in weight]) for image in x]
    )
    return y[:, :, :: stride[0], :: stride[1]] + bias[:, None, None]


def example(rng, kernel, images=2, channels=3, outputs=4, size=(7, 6)):
    x = rng.standard_normal((images, channels, *size))
    return x, rng.standard_normal((outputs, channels, *kernel)), rng.standard_normal(outputs)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), COMBINATIONS)
def test_forward_is_cross_correlation(rng, path, kernel, stride, padding):
    x, weight, bias = example(rng, kernel)
    y = PATHS[path].conv2d(x, weight, bias, stride, padding)
    np.testing.assert_allclose(y, correlate_oracle(x, weight, bias, stride, padding), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), COMBINATIONS)
def test_both_backwards_are_adjoints(rng, path, kernel, stride, padding):
    """<conv(x, w), dy> = <x, input_gradient(dy, w)> = <w, weight_gradient(x, dy)>."""
    x, weight, bias = example(rng, kernel)
    kernels = PATHS[path]
    y = kernels.conv2d(x, weight, 0 * bias, stride, padding)
    dy = rng.standard_normal(y.shape)
    dx = kernels.conv2d_input_gradient(dy, weight, x.shape[2:], stride, padding)
    dw = kernels.conv2d_weight_gradient(x, dy, kernel, stride, padding)
    product = (y * dy).sum()
    assert dx.shape == x.shape
    assert dw.shape == weight.shape
    np.testing.assert_allclose((x * dx).sum(), product, rtol=1e-10)
    np.testing.assert_allclose((weight * dw).sum(), product, rtol=1e-10)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    counts=st.tuples(st.integers(1, 11), st.integers(1, 3), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_im2col_agrees_with_the_loops(size, kernel, stride, padding, counts, seed):
    rng = np.random.default_rng(seed)
    x, weight, bias = (a.astype(np.float32) for a in example(rng, kernel, *counts, size))
    if any(n + 2 * p < k for n, p, k in zip(size, padding, kernel, strict=True)):
        with pytest.raises(ValueError, match="does not fit"):
            conv.conv2d(x, weight, bias, stride, padding)
        return
    y = conv.conv2d(x, weight, bias, stride, padding)
    np.testing.assert_allclose(y, reference.conv2d(x, weight, bias, stride, padding), rtol=1e-4, atol=1e-4)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    for fast, slow in [
        (conv.conv2d_input_gradient, reference.conv2d_input_gradient),
        (conv.conv2d_weight_gradient, reference.conv2d_weight_gradient),
    ]:
        first = (dy, weight, size) if "input" in fast.__name__ else (x, dy, kernel)
        np.testing.assert_allclose(fast(*first, stride, padding), slow(*first, stride, padding), rtol=1e-4, atol=1e-4)


def test_worked_by_hand():
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    weight = np.array([[[[1.0, 0], [0, -1]]]])
    y = conv.conv2d(x, weight, np.array([10.0]), (1, 1), (0, 0))
    assert y.tolist() == [[[[6, 6], [6, 6]]]]  # 1 - 5 + 10, 2 - 6 + 10, ...
    dx = conv.conv2d_input_gradient(np.ones((1, 1, 2, 2)), weight, (3, 3), (1, 1), (0, 0))
    assert dx.tolist() == [[[[1, 1, 0], [1, 0, -1], [0, -1, -1]]]]
    dw = conv.conv2d_weight_gradient(x, np.ones((1, 1, 2, 2)), (2, 2), (1, 1), (0, 0))
    assert dw.tolist() == [[[[12, 16], [24, 28]]]]  # sums of the four 2x2 corners


def test_the_bits_do_not_depend_on_the_number_of_threads(rng):
    x, weight, bias = (a.astype(np.float32) for a in example(rng, (3, 3), 21, 8, 16, (20, 20)))
    results = []
    for count in (1, 2, 3):
        with threads(count):
            y = conv.conv2d(x, weight, bias, (1, 1), (1, 1))
            dw = conv.conv2d_weight_gradient(x, y, (3, 3), (1, 1), (1, 1))
            dx = conv.conv2d_input_gradient(y, weight, (20, 20), (1, 1), (1, 1))
            results.append((y.tobytes(), dw.tobytes(), dx.tobytes()))
    assert results[0] == results[1] == results[2]


def test_views_and_empty_batches(rng):
    x, weight, bias = example(rng, (3, 3))
    turned = np.ascontiguousarray(x.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    expected = conv.conv2d(x, weight, bias, (1, 1), (1, 1))
    assert np.array_equal(conv.conv2d(turned, weight, bias, (1, 1), (1, 1)), expected)
    assert conv.conv2d(x[:0], weight, bias, (1, 1), (1, 1)).shape == (0, *expected.shape[1:])


def test_bad_input_is_named(rng):
    x, weight, bias = example(rng, (3, 3))
    with pytest.raises(ValueError, match="one C"):
        conv.conv2d(x[:, :2], weight, bias, (1, 1), (0, 0))
    with pytest.raises(TypeError, match="float32"):
        conv.conv2d(x.astype(np.float32), weight, bias, (1, 1), (0, 0))
