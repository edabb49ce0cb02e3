"""Depthwise convolution with sparse kernels: every output channel reads one input channel, where it lies.

A kernel has few weights, so that copying the image for them would take longer than multiplying. A tile of R rows of
LANES outputs stays in registers; a weight meets the rows that it sees, shifted by its place in the kernel. Where these
reach over the image's edge, lanes and rows outside are not read, and count as 0.

    y[o, r, q] = b[o] + sum_k weight[k] x[c, r s + i_k d - p, q s + j_k d - p],   k over the weights of o, c = o // m
"""

from typing import NamedTuple

import numpy as np

from ..machine import image_rows
from ..machine.jit import inlined
from ..machine.vectors import LANES, compiled_as
from .tile import relu, splat, store

STRIDES = (1, 2)  # of columns, that are read in place


class TapWeights(NamedTuple):
    """Weights of output o: values[indptr[o] : indptr[o + 1]] (float32), `down` and `right` of the first tap (int64)."""

    values: np.ndarray
    down: np.ndarray
    right: np.ndarray
    indptr: np.ndarray
    bias: np.ndarray


class DepthwiseSizes(NamedTuple):
    """Sizes of one depthwise convolution; `multiplier` outputs read the same input channel."""

    outputs: int
    multiplier: int
    height: int
    width: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    out_height: int
    out_width: int
    relu: int


@compiled_as(image_rows.add_rows)
def add_rows(tile, sums, weight, x, start, pitch):
    """sums[0, r, 0, lane] + weight x[start + r pitch + lane]."""
    return add_row_ends(tile, sums, weight, x, start, pitch, 0, LANES, 0, tile.rows)


@compiled_as(image_rows.add_rows_of_every_second)
def add_rows_of_every_second(tile, sums, weight, x, start, pitch):
    """sums[0, r, 0, lane] + weight x[start + r pitch + 2 lane]."""
    return add_row_ends_of_every_second(tile, sums, weight, x, start, pitch, 0, LANES, 0, tile.rows)


@compiled_as(image_rows.add_row_ends)
def add_row_ends(tile, sums, weight, x, start, pitch, first, last, above, below):
    """The same as `add_rows` for lanes first <= lane < last and rows above <= r < below; 0 for the others, not read."""
    return _add_inside(sums, weight, x, start, pitch, first, last, above, below, 1)


@compiled_as(image_rows.add_row_ends_of_every_second)
def add_row_ends_of_every_second(tile, sums, weight, x, start, pitch, first, last, above, below):
    """The same as `add_rows_of_every_second`."""
    return _add_inside(sums, weight, x, start, pitch, first, last, above, below, 2)


def _add_inside(sums, weight, x, start, pitch, first, last, above, below, stride):
    pieces = np.zeros_like(sums)
    for row in range(above, below):
        begin = start + row * pitch
        pieces[0, row, 0, first:last] = x[begin + first * stride : begin + last * stride : stride][: last - first]
    return sums + weight * pieces


@compiled_as(image_rows.store_row_starts)
def store_row_starts(tile, sums, y, start, pitch, count):
    """y[start + r pitch + lane] = sums[0, r, 0, lane] for lane < count."""
    for row in range(tile.rows):
        y[start + row * pitch : start + row * pitch + count] = sums[0, row, 0, :count]


@inlined
def _inside(start, size, stride, count):
    """First and last of the steps t < count for which 0 <= start + t stride < size, for strides of 1 and 2."""
    shift = stride - 1
    first = min(count, max(0, (shift - start) >> shift))
    return first, max(first, min(count, (size - start + shift) >> shift))


@inlined
def _add_tap(tile, sums, g, weight, x, plane, top, left):
    """Add a weight times what it sees, whose first number is x[plane + top width + left]."""
    above, below = _inside(top, g.height, g.stride_y, tile.rows)
    first, last = _inside(left, g.width, g.stride_x, LANES)
    start, pitch = plane + top * g.width + left, g.stride_y * g.width
    whole = below - above == tile.rows and last - first == LANES
    if g.stride_x == 1:
        if whole:
            return add_rows(tile, sums, weight, x, start, pitch)
        return add_row_ends(tile, sums, weight, x, start, pitch, first, last, above, below)
    if whole and left + 2 * LANES <= g.width:
        return add_rows_of_every_second(tile, sums, weight, x, start, pitch)
    return add_row_ends_of_every_second(tile, sums, weight, x, start, pitch, first, last, above, below)


@inlined
def convolve_channels(tile, g, values, down, right, indptr, bias, x, y, first, last):
    """Write the output channels `first` to `last` - 1 of one image; the last tiles overlap those before.

    Notes
    -----
    y[o, r, q] = b[o] + sum_k weight[k] x[c, r s + i_k d - p, q s + j_k d - p],   k over the weights of o, c = o // m;
    then max(y, 0) where `g.relu`.
    """
    for o in range(first, last):
        plane, place = o // g.multiplier * g.height * g.width, o * g.out_height * g.out_width
        for r in range(0, g.out_height, tile.rows):
            r = max(0, min(r, g.out_height - tile.rows))
            for q in range(0, g.out_width, LANES):
                q = max(0, min(q, g.out_width - LANES))
                sums = splat(tile, bias, o)
                for k in range(indptr[o], indptr[o + 1]):
                    top, left = r * g.stride_y + down[k] - g.pad_y, q * g.stride_x + right[k] - g.pad_x
                    sums = _add_tap(tile, sums, g, values[k], x, plane, top, left)
                if g.relu:
                    sums = relu(sums)
                if g.out_width >= LANES:
                    store(tile, sums, y, place + r * g.out_width + q, 0, g.out_width, LANES)
                else:
                    store_row_starts(tile, sums, y, place + r * g.out_width, g.out_width, g.out_width)


def choose_rows(out_height: int, most: int) -> int:
    """Rows of the tiles: those that cover the image with the fewest tiles, and then with the fewest rows twice."""
    return min(range(1, min(most, out_height) + 1), key=lambda rows: (-(-out_height // rows), rows))
