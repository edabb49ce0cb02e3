"""Convolution: every stride, padding and kernel against scipy.signal.correlate, by adjoint; fast = plain loops."""

import itertools

import numpy as np
import pytest
from helpers import dilate
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate

from sparsenet.kernels import im2col_conv, naive_conv
from sparsenet.machine.threads import threads

KERNELS = [(1, 1), (2, 2), (3, 3), (5, 5), (1, 3), (4, 2)]
STRIDES = [(1, 1), (2, 2), (3, 3), (1, 2), (2, 1)]
PADDINGS = [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]
WHOLE = [(k, (*geometry, (1, 1), 1)) for k, *geometry in itertools.product(KERNELS, STRIDES, PADDINGS)]
SPREAD = [
    (k, tuple(geometry))
    for k, *geometry in itertools.product(
        [(1, 1), (3, 3), (2, 3)], [(1, 1), (2, 1)], [(0, 0), (2, 1)], [(1, 1), (2, 2), (3, 1)], [1, 2, 6]
    )
]
COMBINATIONS = WHOLE + SPREAD  # kernel, (stride, padding, dilation, groups)
PATHS = {"im2col": im2col_conv, "loops": naive_conv}


def correlate_oracle(x, weight, bias, stride, padding, dilation, groups):
    """scipy.signal.correlate on the padded image, every stride-th position of it, group by group."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    kernels = np.split(dilate(weight, dilation), groups)
    parts = [
        [[correlate(image, kernel, mode="valid", method="direct")[0] for kernel in some] for image in part]
        for part, some in zip(np.split(x, groups, axis=1), kernels, strict=True)
    ]
    return np.concatenate(parts, axis=1)[:, :, :: stride[0], :: stride[1]] + bias[:, None, None]


def example(rng, kernel, images=2, channels=6, outputs=12, size=(8, 7), groups=1):
    x = rng.standard_normal((images, channels, *size))
    return x, rng.standard_normal((outputs, channels // groups, *kernel)), rng.standard_normal(outputs)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kernel", "geometry"), COMBINATIONS)
def test_forward_is_cross_correlation(rng, path, kernel, geometry):
    x, weight, bias = example(rng, kernel, groups=geometry[-1])
    y = PATHS[path].conv2d(x, weight, bias, *geometry)
    np.testing.assert_allclose(y, correlate_oracle(x, weight, bias, *geometry), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kernel", "geometry"), COMBINATIONS)
def test_both_backwards_are_adjoints(rng, path, kernel, geometry):
    """<conv(x, w), dy> = <x, input_gradient(dy, w)> = <w, weight_gradient(x, dy)>."""
    x, weight, bias = example(rng, kernel, groups=geometry[-1])
    kernels = PATHS[path]
    y = kernels.conv2d(x, weight, 0 * bias, *geometry)
    dy = rng.standard_normal(y.shape)
    dx = kernels.conv2d_input_gradient(dy, weight, x.shape[2:], *geometry)
    dw = kernels.conv2d_weight_gradient(x, dy, kernel, *geometry)
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
    dilation=st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)]),
    groups=st.sampled_from([1, 1, 2, 3]),
    counts=st.tuples(st.integers(1, 11), st.integers(1, 3), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_im2col_agrees_with_the_loops(size, kernel, stride, padding, dilation, groups, counts, seed):
    rng = np.random.default_rng(seed)
    images, inputs, outputs = counts
    arrays = example(rng, kernel, images, inputs * groups, outputs * groups, size, groups)
    x, weight, bias = (a.astype(np.float32) for a in arrays)
    geometry = (stride, padding, dilation, groups)
    window = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(n + 2 * p < k for n, p, k in zip(size, padding, window, strict=True)):
        with pytest.raises(ValueError, match="does not fit"):
            im2col_conv.conv2d(x, weight, bias, *geometry)
        return
    y = im2col_conv.conv2d(x, weight, bias, *geometry)
    np.testing.assert_allclose(y, naive_conv.conv2d(x, weight, bias, *geometry), rtol=1e-4, atol=1e-4)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    for fast, slow in [
        (im2col_conv.conv2d_input_gradient, naive_conv.conv2d_input_gradient),
        (im2col_conv.conv2d_weight_gradient, naive_conv.conv2d_weight_gradient),
    ]:
        first = (dy, weight, size) if "input" in fast.__name__ else (x, dy, kernel)
        np.testing.assert_allclose(fast(*first, *geometry), slow(*first, *geometry), rtol=1e-4, atol=1e-4)


def test_worked_by_hand():
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    weight = np.array([[[[1.0, 0], [0, -1]]]])
    y = im2col_conv.conv2d(x, weight, np.array([10.0]), (1, 1), (0, 0))
    assert y.tolist() == [[[[6, 6], [6, 6]]]]  # 1 - 5 + 10, 2 - 6 + 10, ...
    dx = im2col_conv.conv2d_input_gradient(np.ones((1, 1, 2, 2)), weight, (3, 3), (1, 1), (0, 0))
    assert dx.tolist() == [[[[1, 1, 0], [1, 0, -1], [0, -1, -1]]]]
    dw = im2col_conv.conv2d_weight_gradient(x, np.ones((1, 1, 2, 2)), (2, 2), (1, 1), (0, 0))
    assert dw.tolist() == [[[[12, 16], [24, 28]]]]  # sums of the four 2x2 corners


def test_groups_and_dilation_by_hand():
    """Two groups of one channel, taps two apart: 1 - 3, 2 - 4 and 10 (5 + 7), 10 (6 + 8)."""
    x = np.array([[[[1.0, 2, 3, 4]], [[5, 6, 7, 8]]]])
    weight = np.array([[[[1.0, -1]]], [[[10, 10]]]])
    geometry = ((1, 1), (0, 0), (1, 2), 2)
    y = im2col_conv.conv2d(x, weight, np.zeros(2), *geometry)
    assert y.tolist() == [[[[-2, -2]], [[120, 140]]]]
    dx = im2col_conv.conv2d_input_gradient(np.ones((1, 2, 1, 2)), weight, (1, 4), *geometry)
    assert dx.tolist() == [[[[1, 1, -1, -1]], [[10, 10, 10, 10]]]]
    dw = im2col_conv.conv2d_weight_gradient(x, np.ones((1, 2, 1, 2)), (1, 2), *geometry)
    assert dw.tolist() == [[[[3, 7]]], [[[11, 15]]]]


@pytest.mark.parametrize("groups", [1, 4])
def test_the_bits_do_not_depend_on_the_number_of_threads(rng, groups):
    x, weight, bias = (a.astype(np.float32) for a in example(rng, (3, 3), 21, 8, 16, (20, 20), groups))
    geometry, results = ((1, 1), (1, 1), (1, 1), groups), []
    for count in (1, 2, 3):
        with threads(count):
            y = im2col_conv.conv2d(x, weight, bias, *geometry)
            dw = im2col_conv.conv2d_weight_gradient(x, y, (3, 3), *geometry)
            dx = im2col_conv.conv2d_input_gradient(y, weight, (20, 20), *geometry)
            results.append((y.tobytes(), dw.tobytes(), dx.tobytes()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("path", PATHS)
def test_one_group_without_dilation_unless_told(rng, path):
    x, weight, bias = example(rng, (3, 2))
    module, geometry = PATHS[path], ((1, 2), (1, 0))
    y = module.conv2d(x, weight, bias, *geometry)
    dx = module.conv2d_input_gradient(y, weight, x.shape[2:], *geometry)
    dw = module.conv2d_weight_gradient(x, y, (3, 2), *geometry)
    assert np.array_equal(y, module.conv2d(x, weight, bias, *geometry, (1, 1), 1))
    assert np.array_equal(dx, module.conv2d_input_gradient(y, weight, x.shape[2:], *geometry, (1, 1), 1))
    assert np.array_equal(dw, module.conv2d_weight_gradient(x, y, (3, 2), *geometry, (1, 1), 1))


def test_a_window_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"window of \(5, 4\) does not fit an image of \(3, 4\) with padding \(0, 1\)"):
        im2col_conv.output_size((3, 4), (3, 2), (1, 1), (0, 1), (2, 3))
    assert im2col_conv.output_size((5, 2), (3, 2), (1, 1), (0, 1), (2, 3)) == (1, 1)


def test_views_and_empty_batches(rng):
    x, weight, bias = example(rng, (3, 3))
    turned = np.ascontiguousarray(x.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    expected = im2col_conv.conv2d(x, weight, bias, (1, 1), (1, 1))
    assert np.array_equal(im2col_conv.conv2d(turned, weight, bias, (1, 1), (1, 1)), expected)
    assert im2col_conv.conv2d(x[:0], weight, bias, (1, 1), (1, 1)).shape == (0, *expected.shape[1:])


def test_bad_input_is_named(rng):
    x, weight, bias = example(rng, (3, 3))
    with pytest.raises(ValueError, match="one C"):
        im2col_conv.conv2d(x[:, :2], weight, bias, (1, 1), (0, 0))
    with pytest.raises(ValueError, match="one C"):
        im2col_conv.conv2d(x, weight, bias, (1, 1), (0, 0), (1, 1), 2)
    with pytest.raises(ValueError, match="O a multiple of G = 4 groups"):
        im2col_conv.conv2d(np.repeat(x, 4, axis=1), weight[:6], bias[:6], (1, 1), (0, 0), (1, 1), 4)
    with pytest.raises(TypeError, match="float32"):
        im2col_conv.conv2d(x.astype(np.float32), weight, bias, (1, 1), (0, 0))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(2, 5, 5), (1, 2, 5, 5, 1), (5,)])
def test_inputs_that_are_not_four_dimensional_are_refused(path, shape):
    weight = np.ones((3, 2, 3, 3))
    with pytest.raises(ValueError, match="must be"):
        PATHS[path].conv2d(np.ones(shape), weight, np.zeros(3), (1, 1), (0, 0))
    with pytest.raises(ValueError, match="must be"):
        PATHS[path].conv2d(np.ones((1, 2, 5, 5)), np.ones(shape), np.zeros(3), (1, 1), (0, 0))
