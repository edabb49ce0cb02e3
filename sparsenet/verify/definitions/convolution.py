"""Convolution and pooling, one output at a time: each as the sum, or the maximum, over what its window sees.

Letters: n image, o output channel, c input channel, (r, q) output position, (i, j) window position; stride, padding and
dilation are pairs (height, width).
"""

from collections.abc import Iterator

import numpy as np

Pair = tuple[int, int]


def count_positions(size: int, window: int, stride: int, padding: int, dilation: int = 1) -> int:
    """How often a window fits into a padded row: it is moved by the stride until it hangs over the end."""
    count, start = 0, -padding
    while start + (window - 1) * dilation <= size - 1 + padding:
        count, start = count + 1, start + stride
    return count


def output_size(size: Pair, window: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Pair:
    """`count_positions` of both axes."""
    rows, columns = (count_positions(*axis) for axis in zip(size, window, stride, padding, dilation, strict=True))
    return rows, columns


def window_of(
    size: Pair, position: Pair, window: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> Iterator[tuple[int, int, int, int]]:
    """(i, j, h, w) for every place (i, j) of the window at an output position that lies inside the image, at (h, w)."""
    for i in range(window[0]):
        for j in range(window[1]):
            h = position[0] * stride[0] + i * dilation[0] - padding[0]
            w = position[1] * stride[1] + j * dilation[1] - padding[1]
            if h in range(size[0]) and w in range(size[1]):
                yield i, j, h, w


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """The bias, and every weight of an output channel times the number that it meets; what lies outside is 0."""
    size, window = x.shape[2:], weight.shape[2:]
    y = np.zeros((len(x), len(weight), *output_size(size, window, stride, padding, dilation)))
    inputs, outputs = x.shape[1] // groups, len(weight) // groups
    for n, o, r, q in np.ndindex(y.shape):
        own = x[n, o // outputs * inputs : (o // outputs + 1) * inputs]  # the channels of its group
        y[n, o, r, q] = bias[o]
        for i, j, h, w in window_of(size, (r, q), window, stride, padding, dilation):
            y[n, o, r, q] += sum(weight[o, c, i, j] * own[c, h, w] for c in range(inputs))
    return y


def conv2d_gradients(
    x: np.ndarray,
    weight: np.ndarray,
    dy: np.ndarray,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """(dx, dw): y is a sum of products w x, and each hands dy x to its w, and dy w to its x."""
    dx, dw = np.zeros(x.shape), np.zeros(weight.shape)
    inputs, outputs = x.shape[1] // groups, len(weight) // groups
    for n, o, r, q in np.ndindex(dy.shape):
        for i, j, h, w in window_of(x.shape[2:], (r, q), weight.shape[2:], stride, padding, dilation):
            for c in range(inputs):
                channel = o // outputs * inputs + c
                dw[o, c, i, j] += dy[n, o, r, q] * x[n, channel, h, w]
                dx[n, channel, h, w] += dy[n, o, r, q] * weight[o, c, i, j]
    return dx, dw


def im2col(x: np.ndarray, window: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> np.ndarray:
    """A row for each (c, i, j), a column for each (n, r, q): what the window's place sees there."""
    images, channels, size = len(x), x.shape[1], x.shape[2:]
    rows, columns = output_size(size, window, stride, padding, dilation)
    out = np.zeros((channels, *window, images, rows, columns))
    for n, c, r, q in np.ndindex(images, channels, rows, columns):
        for i, j, h, w in window_of(size, (r, q), window, stride, padding, dilation):
            out[c, i, j, n, r, q] = x[n, c, h, w]
    return out.reshape(channels * window[0] * window[1], images * rows * columns)


def max_pool2d(x: np.ndarray, window: Pair, stride: Pair, padding: Pair = (0, 0)) -> np.ndarray:
    """The largest number that the window sees inside the image."""
    return _pooled(max, x, window, stride, padding)


def average_pool2d(x: np.ndarray, window: Pair, stride: Pair, padding: Pair = (0, 0)) -> np.ndarray:
    """The sum of what the window sees, what lies outside being 0, divided by the places of the window."""
    return _pooled(lambda seen: sum(seen) / (window[0] * window[1]), x, window, stride, padding)


def global_average_pool2d(x: np.ndarray) -> np.ndarray:
    """The mean of each channel."""
    return np.array([[sum(plane.ravel().tolist()) / plane.size for plane in image] for image in x])


def _pooled(reduce, x: np.ndarray, window: Pair, stride: Pair, padding: Pair) -> np.ndarray:
    size = x.shape[2:]
    y = np.empty((*x.shape[:2], *output_size(size, window, stride, padding)))
    for n, c, r, q in np.ndindex(y.shape):
        y[n, c, r, q] = reduce([x[n, c, h, w] for _, _, h, w in window_of(size, (r, q), window, stride, padding)])
    return y


def max_pool2d_gradient(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, window: Pair, stride: Pair, padding: Pair = (0, 0)
) -> np.ndarray:
    """Each window hands its dy to the first place, row by row, that holds its maximum y; they add up."""
    dx = np.zeros(x.shape)
    for n, c, r, q in np.ndindex(dy.shape):
        places = window_of(x.shape[2:], (r, q), window, stride, padding)
        h, w = next((h, w) for _, _, h, w in places if x[n, c, h, w] == y[n, c, r, q])
        dx[n, c, h, w] += dy[n, c, r, q]
    return dx
