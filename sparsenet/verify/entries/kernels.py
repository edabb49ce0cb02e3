"""Entries of the dense kernels: products, im2col, pooling, activation, sums."""

from collections.abc import Callable, Iterator

import numpy as np

from ...kernels import activation, channel_sums, im2col_conv, linear, naive_conv, pooling, scipy_reference
from ..definitions import convolution
from ..definitions import layers as definitions
from ..definitions.differences import central_difference
from ..entry import EXACT, SLOPE, Comparison, Entry, same
from .draws import away_from_ties
from .layers import GEOMETRIES
from .pooling import WINDOWS


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _convolutions(rng: np.random.Generator) -> Iterator[tuple]:
    """(what, x, weight, bias, (stride, padding, dilation, groups))."""
    for what, (inputs, outputs, kernel, stride, padding, dilation, groups) in GEOMETRIES.items():
        x, weight = rng.standard_normal((2, inputs, 5, 6)), (outputs, inputs // groups, *_pair(kernel))
        geometry = _pair(stride), _pair(padding), _pair(dilation), groups
        yield what, x, rng.standard_normal(weight), rng.standard_normal(outputs), geometry


def _conv2d(function, oracle, rng) -> Iterator[Comparison]:
    for what, x, weight, bias, geometry in _convolutions(rng):
        yield what, function(x, weight, bias, *geometry), oracle(x, weight, bias, *geometry)


def _input_gradient(function, oracle, rng) -> Iterator[Comparison]:
    for what, x, weight, _, geometry in _convolutions(rng):
        dy = _upstream(rng, x, weight, geometry)
        yield what, function(dy, weight, x.shape[2:], *geometry), oracle(x, weight, dy, *geometry)[0]


def _weight_gradient(function, oracle, rng) -> Iterator[Comparison]:
    for what, x, weight, _, geometry in _convolutions(rng):
        dy = _upstream(rng, x, weight, geometry)
        yield what, function(x, dy, weight.shape[2:], *geometry), oracle(x, weight, dy, *geometry)[1]


def _upstream(rng: np.random.Generator, x: np.ndarray, weight: np.ndarray, geometry: tuple) -> np.ndarray:
    size = convolution.output_size(x.shape[2:], weight.shape[2:], *geometry[:3])
    return rng.standard_normal((len(x), len(weight), *size))


def _loss(function: Callable, arguments: tuple, dy: np.ndarray) -> Callable[[], float]:
    return lambda: float((function(*arguments) * dy).sum())


def _into(function, oracle, rng) -> Iterator[Comparison]:
    for relu in (False, True):
        for what, x, weight, bias, geometry in _convolutions(rng):
            expected = oracle(x, weight, bias, *geometry)
            y = np.full(expected.shape, np.nan)
            function(x, weight, bias, *geometry, y, relu=relu)
            yield f"{what}, relu" if relu else what, y, definitions.relu(expected) if relu else expected


def _sizes(rng: np.random.Generator) -> Iterator[tuple]:
    for _ in range(20):
        window, stride, padding, dilation = (tuple(rng.integers(low, 4, 2).tolist()) for low in (1, 1, 0, 1))
        yield tuple(rng.integers(8, 15, 2).tolist()), window, stride, padding, dilation


def _im2col(rng: np.random.Generator) -> Iterator[tuple]:
    for _, x, weight, _, (stride, padding, dilation, _) in _convolutions(rng):
        yield x, weight.shape[2:], stride, padding, dilation


def _features(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.standard_normal((4, 5)), rng.standard_normal((3, 5)), rng.standard_normal(3)


def _linear_into(function, oracle, rng) -> Iterator[Comparison]:
    for relu in (False, True):
        arguments = _features(rng)
        y, expected = np.full((4, 3), np.nan), oracle(*arguments)
        function(*arguments, y, relu=relu)
        yield f"relu {relu}", y, definitions.relu(expected) if relu else expected


def _linear_gradient(which: int) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        arguments = _features(rng)
        dy = rng.standard_normal((4, 3))
        made = function(dy, arguments[1]) if which == 0 else function(arguments[0], dy)
        yield "dw" if which else "dx", made, oracle(_loss(definitions.linear, arguments, dy), arguments[which])

    return compare


def _matmul(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((3, 5)), rng.standard_normal((5, 4)))]


def _relu_gradient(function, oracle, rng) -> Iterator[Comparison]:
    x, dy = away_from_ties(rng, (3, 7)), rng.standard_normal((3, 7))
    yield "dx", function(dy, x), oracle(_loss(definitions.relu, (x,), dy), x)
    yield "at the kink", function(dy, np.zeros_like(x)), np.zeros_like(x)


def _with_nan(rng: np.random.Generator) -> list[tuple]:
    x = rng.standard_normal((3, 7))
    x[1, 2] = np.nan
    return [(x,)]


def _pools(rng: np.random.Generator) -> Iterator[tuple]:
    for window, stride, padding in WINDOWS:
        yield away_from_ties(rng, (2, 2, 6, 5)), _pair(window), _pair(stride or window), _pair(padding)


def _max_pool_gradient(function, oracle, rng) -> Iterator[Comparison]:
    """Of whole numbers, so that maxima are equal."""
    for x, *window in _pools(rng):
        x = rng.integers(3, size=x.shape).astype(float)
        y = convolution.max_pool2d(x, *window)
        dy = rng.standard_normal(y.shape)
        yield str(window), function(dy, x, y, *window), oracle(dy, x, y, *window)


def _average_pool_gradient(function, oracle, rng) -> Iterator[Comparison]:
    for x, *window in _pools(rng):
        dy = rng.standard_normal(convolution.average_pool2d(x, *window).shape)
        loss = _loss(convolution.average_pool2d, (x, *window), dy)
        yield str(window), function(dy, x.shape, x.dtype, *window), oracle(loss, x)


def _sums(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((3, 4)),), (rng.standard_normal((3, 4, 2, 5)),)]


def _kernel(module, name: str, oracle: Callable, compare: Callable, source: str = "definition", **options) -> Entry:
    place = module.__name__.rsplit(".", 1)[1]
    return Entry(f"{place}.{name}", "kernel", getattr(module, name), oracle, compare, source, **options)


_SLOPE, _EXACT = {"source": "calculus", "tolerance": SLOPE}, {"tolerance": EXACT}

ENTRIES = (
    _kernel(naive_conv, "conv2d", convolution.conv2d, _conv2d, "LeCun et al. 1998"),
    _kernel(naive_conv, "conv2d_input_gradient", convolution.conv2d_gradients, _input_gradient, "LeCun et al. 1998"),
    _kernel(naive_conv, "conv2d_weight_gradient", convolution.conv2d_gradients, _weight_gradient, "LeCun et al. 1998"),
    _kernel(im2col_conv, "output_size", convolution.output_size, same(_sizes), **_EXACT),
    _kernel(im2col_conv, "conv2d", convolution.conv2d, _conv2d, "Chellapilla et al. 2006"),
    _kernel(im2col_conv, "conv2d_into", convolution.conv2d, _into, "Chellapilla et al. 2006"),
    _kernel(im2col_conv, "conv2d_input_gradient", convolution.conv2d_gradients, _input_gradient, "LeCun et al. 1998"),
    _kernel(im2col_conv, "conv2d_weight_gradient", convolution.conv2d_gradients, _weight_gradient, "LeCun et al. 1998"),
    _kernel(scipy_reference, "im2col", convolution.im2col, same(_im2col), "Chellapilla et al. 2006", **_EXACT),
    _kernel(linear, "matmul", definitions.matmul, same(_matmul)),
    _kernel(linear, "linear", definitions.linear, same(lambda rng: [_features(rng)])),
    _kernel(linear, "linear_into", definitions.linear, _linear_into),
    _kernel(linear, "linear_input_gradient", central_difference, _linear_gradient(0), **_SLOPE),
    _kernel(linear, "linear_weight_gradient", central_difference, _linear_gradient(1), **_SLOPE),
    _kernel(activation, "relu", definitions.relu, same(_with_nan), "Nair & Hinton 2010", **_EXACT),
    _kernel(activation, "relu_gradient", central_difference, _relu_gradient, **_SLOPE),
    _kernel(pooling, "max_pool2d", convolution.max_pool2d, same(_pools), **_EXACT),
    _kernel(pooling, "max_pool2d_gradient", convolution.max_pool2d_gradient, _max_pool_gradient),
    _kernel(pooling, "average_pool2d", convolution.average_pool2d, same(_pools)),
    _kernel(pooling, "average_pool2d_gradient", central_difference, _average_pool_gradient, **_SLOPE),
    _kernel(channel_sums, "channel_sums", definitions.channel_sums, same(_sums)),
)
