"""Pooling: ties against a naive oracle, averages of large maps against float64, refused arguments."""

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.kernels import pooling
from sparsenet.verify.definitions import convolution as definitions


def windows(size, window, stride, padding):
    """(output position, rows, columns) of every window, clipped to the image."""
    counts = [(n + 2 * p - w) // s + 1 for n, w, s, p in zip(size, window, stride, padding, strict=True)]
    for r, q in np.ndindex(*counts):
        spans = [
            slice(max(i * s - p, 0), min(i * s - p + w, n))
            for i, n, w, s, p in zip((r, q), size, window, stride, padding, strict=True)
        ]
        yield (r, q), spans[0], spans[1]


GEOMETRIES = [
    ((2, 2), (2, 2), (0, 0)),
    ((3, 3), (1, 1), (1, 1)),
    ((3, 2), (2, 1), (1, 0)),
    ((2, 3), (3, 4), (0, 1)),
    ((5, 1), (1, 2), (2, 0)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_the_first_of_equal_maxima_takes_the_gradient(rng, geometry, size):
    """Values of which every window has several alike, in several windows of a row, whose maxima differ."""
    x = rng.integers(0, 3, (2, 3, *size)).astype(np.float32)
    y = pooling.max_pool2d(x, *geometry)
    dy = rng.integers(1, 9, y.shape).astype(np.float32)
    assert np.array_equal(y, definitions.max_pool2d(x, *geometry))
    expected = definitions.max_pool2d_gradient(dy, x, y, *geometry)
    assert np.array_equal(pooling.max_pool2d_gradient(dy, x, y, *geometry), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_averages_and_their_gradient_are_those_of_the_definition(rng, geometry, size, dtype):
    x = rng.standard_normal((2, 3, *size)).astype(dtype)
    y = pooling.average_pool2d(x, *geometry)
    dy = rng.standard_normal(y.shape).astype(dtype)
    area, dx, expected = np.prod(geometry[0]), np.zeros(x.shape), np.zeros(y.shape)
    for (r, q), rows, columns in windows(size, *geometry):
        expected[:, :, r, q] = x[:, :, rows, columns].sum(axis=(2, 3), dtype=np.float64) / area
        dx[:, :, rows, columns] += dy[:, :, r, q, None, None] / area
    exact = 1e-6 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(y, expected, rtol=exact, atol=exact)
    np.testing.assert_allclose(pooling.average_pool2d_gradient(dy, x.shape, x.dtype, *geometry), dx, atol=exact)
    assert y.dtype == dtype


def test_averages_of_large_maps_keep_their_digits():
    """A running float32 sum of 2^24 numbers of 0.1 is wrong by 15 %."""
    x = np.full((1, 1, 4096, 4096), 0.1, np.float32)
    whole, parts = sn.GlobalAvgPool2d(), sn.AvgPool2d(2048)
    for layer in (whole, parts):
        np.testing.assert_allclose(layer.forward(x), np.float32(0.1), rtol=1e-7)
        plan = sn.compile(sn.chain({"pool": layer}), x.shape[1:])
        np.testing.assert_allclose(plan(x), np.float32(0.1), rtol=1e-7)
    np.testing.assert_allclose(whole.backward(np.ones((1, 1), np.float32)), np.float32(2**-24), rtol=1e-7)


@pytest.mark.parametrize("layout", ["C", "F"])
def test_averages_of_mixed_numbers_in_any_layout(rng, layout):
    x = np.asarray(1000 + rng.random((2, 3, 300, 500), np.float32), order=layout)
    expected = x.mean(axis=(2, 3), dtype=np.float64)
    np.testing.assert_allclose(sn.GlobalAvgPool2d().forward(x), expected, rtol=1e-7)
    np.testing.assert_allclose(sn.AvgPool2d((300, 500)).forward(x)[:, :, 0, 0], expected, rtol=1e-7)


def test_many_windows_over_one_place_add_up_exactly():
    """200 x 200 windows with stride 1: the middle place gets 1/40000 from each of 40000 windows."""
    layer = sn.AvgPool2d(200, 1)
    layer.forward(np.zeros((1, 1, 399, 399), np.float32))
    dx = layer.backward(np.full((1, 1, 200, 200), 0.1, np.float32))
    assert dx[0, 0, 199, 199] == np.float32(0.1)
    np.testing.assert_allclose(dx[0, 0, 0, 0], 0.1 / 40000, rtol=1e-6)


def test_an_average_of_no_samples_is_empty():
    assert sn.GlobalAvgPool2d().forward(np.zeros((0, 3, 4, 5), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("kind", [sn.MaxPool2d, sn.AvgPool2d])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "window must be at least 1, not 0"),
        ({"window": (2, 0)}, "window must be at least 1, not 0"),
        ({"window": 2, "stride": 0}, "stride must be at least 1, not 0"),
        ({"window": 2, "stride": (1, 0)}, "stride must be at least 1, not 0"),
        ({"window": 2, "padding": -1}, "padding must be at least 0, not -1"),
        ({"window": 3, "padding": 2}, "at most half of the window"),
    ],
)
def test_bad_arguments_are_named(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


@pytest.mark.parametrize("kind", [sn.MaxPool2d, sn.AvgPool2d])
def test_padding_may_be_half_of_the_window(kind):
    layer = kind(4, stride=3, padding=2)
    assert layer.output_shape((2, 5, 8)) == (2, 2, 3)  # floor((5 + 4 - 4) / 3) + 1 and floor((8 + 4 - 4) / 3) + 1
