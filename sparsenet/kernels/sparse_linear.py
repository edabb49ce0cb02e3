"""Fully connected layers with sparse weights: by batch, where the lanes are samples, and one sample at a time.

A batch runs through the tiles of `direct_sparse_conv.py`, with inputs in the place of channels and samples in the place
of positions. For a single sample the lanes are outputs (slices), or the entries of one output where there are few.

    y[n, o] = b[o] + sum_k weight[k] x[n, i_k],   k over row o of the weights
"""

from typing import NamedTuple

import numpy as np

from ..machine.gather import add_lines, fma_line, load_line, number_of, sum_line, zero_line
from ..machine.jit import kernel
from ..machine.pointers import call_tile
from ..machine.vectors import LANES, LINE
from .input_packing import pack_samples, unpack_samples

RUN = 64  # entries of an output that are summed before they join its other entries: float32 sums stay exact enough


class Product(NamedTuple):
    """Sizes of one fully connected layer: a tile has `lines` lines of `lanes` samples."""

    inputs: int
    outputs: int
    chunk: int
    lines: int
    lanes: int
    relu: int


@kernel
def multiply_samples(multiply, row, workspace, g, t, x, samples, y, window, sums, part, parts):
    """Write outputs of a fully connected layer: y[n, o] = b[o] + sum_k values[k] x[n, i_k].

    The part-th of `parts` parts of the outputs. Lanes are samples: a tile is R lines of them, its outputs stay in
    `sums` until the last chunk, and otherwise this is the convolution's product.
    """
    tile_samples = g.lines * g.lanes
    m, groups = t.block, -(-g.outputs // LANES)
    first_output = part * groups // parts * LANES
    last_output = min((part + 1) * groups // parts * LANES, g.outputs)
    first, last = first_output // m, -(-last_output // m)
    room = (last - first) * t.size
    for chunk in range(t.chunks):
        first_input = chunk * g.chunk
        for n in range(0, samples, tile_samples):
            pack_samples(g, x, n, samples, first_input, min(first_input + g.chunk, g.inputs), window)
            begin = n // tile_samples * room
            place = begin - first * t.size
            call_tile(
                multiply, row, workspace, sums.ctypes.data, sums.size, chunk, first, last, 0, begin, place, tile_samples
            )
    for n in range(0, samples, tile_samples):
        begin = n // tile_samples * room + (first_output - first * m) * tile_samples
        unpack_samples(g, sums, begin, n, samples, first_output, last_output, y)


@kernel
def multiply_single(g, x, values, offsets, pointers, bias, y, part, parts):
    """Write outputs of a fully connected layer for one sample: y[o] = b[o] + sum_k values[k] x[offsets[k]].

    Offsets have 16 bits: chunk c of the inputs begins at c `g.chunk`. The lanes are entries of a row, whose last line
    reads what lies behind it and drops that.
    """
    chunks = (pointers.size - 1) // g.outputs
    for o in range(part * g.outputs // parts, (part + 1) * g.outputs // parts):
        total = bias[o]
        for chunk in range(chunks):
            line = zero_line()
            end = pointers[chunk * g.outputs + o + 1]
            for k in range(pointers[chunk * g.outputs + o], end, LINE):
                line = fma_line(line, values, offsets, k, end - k, x, chunk * g.chunk)
            total += sum_line(line)
        y[o] = np.float32(0) if g.relu and total < 0 else total


@kernel
def multiply_slices(g, x, values, offsets, pointers, outputs, bias, y, part, parts):
    """The same with a slice of LINE outputs as the lanes (sliced ELLPACK, Kreutzer et al., SISC 2014).

    Slot p of a slice is output outputs[p] (-1: none), the longest first, with pointers[p + 1] - pointers[p] entries.
    The j-th entries of a slice lie beside each other, and none is there to fill up: the first `count` slots have one.
    """
    slices = outputs.size // LINE
    for first in range(part * slices // parts * LINE, (part + 1) * slices // parts * LINE, LINE):
        total, k, count = load_line(bias, first), pointers[first], LINE
        longest, shortest = pointers[first + 1] - k, pointers[first + LINE] - pointers[first + LINE - 1]
        for begin in range(0, longest, RUN):
            line = zero_line()
            for j in range(begin, min(begin + RUN, longest)):
                while shortest <= j:
                    count -= 1
                    shortest = pointers[first + count] - pointers[first + count - 1]
                line = fma_line(line, values, offsets, k, count, x, 0)
                k += count
            total = add_lines(total, line)
        for lane in range(LINE):
            o, number = outputs[first + lane], number_of(total, lane)
            if o >= 0:
                y[o] = np.float32(0) if g.relu and number < 0 else number
