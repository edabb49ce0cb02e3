"""Fully connected layers with sparse weights: by batch, where the lanes are samples, and one sample at a time.

A batch runs through the tiles of `direct_sparse_conv.py`, with inputs in the place of channels and samples in the place
of positions. For a single sample the lanes are outputs (slices), or the entries of one output where there are few.

    y[n, o] = b[o] + sum_k weight[k] x[n, i_k],   k over row o of the weights
"""

from typing import NamedTuple

import numpy as np

from ..machine.jit import kernel
from ..machine.pointers import call_tile
from ..machine.vectors import LANES, LINE
from .input_packing import pack_samples, unpack_samples
from .lane_sums import (
    add_lines,
    fma_line,
    fma_pairs,
    load_line,
    load_twice,
    number_of,
    sum_line,
    zero_line,
    zero_pairs,
)

RUN = 64  # entries of an output that are summed before they join its other entries: float32 sums stay exact enough


class RowWeights(NamedTuple):
    """A CSR matrix for one sample: output o of chunk c of the inputs has the entries from indptr[c outputs + o] on.

    values float32 and offsets uint16, with LINE more behind the last; indptr int64; bias float32.
    """

    values: np.ndarray
    offsets: np.ndarray
    indptr: np.ndarray
    bias: np.ndarray


class SlicedWeights(NamedTuple):
    """The same in SELL-C-sigma: see `multiply_slices`. `outputs` int64, (slots,): the output of each slot."""

    values: np.ndarray
    offsets: np.ndarray
    indptr: np.ndarray
    outputs: np.ndarray
    bias: np.ndarray


class LinearSizes(NamedTuple):
    """Sizes of one fully connected layer: a tile has `lines` lines of `lanes` samples; or of one, sample by sample.

    In the packed input the samples of an input begin `apart` numbers behind those of the one before.
    """

    inputs: int
    outputs: int
    chunk: int
    lines: int
    lanes: int
    apart: int
    relu: int


@kernel
def multiply_samples(multiply, tiles, workspace, work, g, t, x, samples, y, packed, waiting, part, parts):
    """Write outputs of a fully connected layer: y[n, o] = b[o] + sum_k weight[k] x[n, i_k].

    The part-th of `parts` parts of the outputs. Lanes are samples: a tile is R lines of them, its outputs stay in
    `waiting` until the last chunk, and otherwise this is the convolution's product (`direct_sparse_conv.convolve`).
    """
    tile_samples = g.lines * g.lanes
    m, vectors = t.block, -(-g.outputs // LANES)
    first_output = part * vectors // parts * LANES
    last_output = min((part + 1) * vectors // parts * LANES, g.outputs)
    work.first, work.last = first_output // m, -(-last_output // m)
    room = (work.last - work.first) * t.sums
    work.y, work.y_size, work.source, work.room = waiting.ctypes.data, waiting.size, 0, tile_samples
    work.z, work.z_size = work.y, work.y_size  # nothing is added: but it must be an array
    for chunk in range(t.chunks):
        first_input = chunk * g.chunk
        work.chunk = chunk
        for n in range(0, samples, tile_samples):
            pack_samples(g, x, n, samples, first_input, min(first_input + g.chunk, g.inputs), g.apart, packed)
            work.begin = n // tile_samples * room
            work.place = work.begin - work.first * t.sums
            call_tile(multiply, tiles, workspace)
    for n in range(0, samples, tile_samples):
        begin = n // tile_samples * room + (first_output - work.first * m) * tile_samples
        unpack_samples(g, waiting, begin, n, samples, first_output, last_output, y)


@kernel
def multiply_single(g, x, values, offsets, indptr, bias, y, part, parts):
    """Write outputs of a fully connected layer for one sample: y[o] = b[o] + sum_k values[k] x[offsets[k]].

    Offsets have 16 bits: chunk c of the inputs begins at c `g.chunk`. The lanes are entries of a row, whose last line
    reads what lies behind it and drops that.
    """
    outputs, reach, relu = g.outputs, g.chunk, g.relu  # read once: y could lie over them, for all the compiler knows
    chunks = (indptr.size - 1) // outputs
    for o in range(part * outputs // parts, (part + 1) * outputs // parts):
        total = bias[o]
        for chunk in range(chunks):
            line = zero_line()
            end = indptr[chunk * outputs + o + 1]
            for k in range(indptr[chunk * outputs + o], end, LINE):
                line = fma_line(line, values, offsets, k, end - k, x, chunk * reach)
            total += sum_line(line)
        y[o] = np.float32(0) if relu and total < 0 else total


@kernel
def multiply_slices(g, x, values, offsets, indptr, outputs, bias, y, part, parts):
    """The same in SELL-C-sigma (sliced ELLPACK, Kreutzer et al., SISC 2014): a slice of C = LINE outputs are the lanes.

    Slot p of a slice is output outputs[p] (-1: none), the longest first, with indptr[p + 1] - indptr[p] entries.
    The j-th entries of a slice lie beside each other, and none is there to fill up: the first `count` slots have one.
    """
    slices, relu = outputs.size // LINE, g.relu
    for first in range(part * slices // parts * LINE, (part + 1) * slices // parts * LINE, LINE):
        total, k, count = load_line(bias, first), indptr[first], LINE
        longest, shortest = indptr[first + 1] - k, indptr[first + LINE] - indptr[first + LINE - 1]
        for begin in range(0, longest, RUN):
            line = zero_line()
            for j in range(begin, min(begin + RUN, longest)):
                while shortest <= j:
                    count -= 1
                    shortest = indptr[first + count] - indptr[first + count - 1]
                line = fma_line(line, values, offsets, k, count, x, 0)
                k += count
            total = add_lines(total, line)
        for lane in range(LINE):
            o, number = outputs[first + lane], number_of(total, lane)
            if o >= 0:
                y[o] = np.float32(0) if relu and number < 0 else number


@kernel
def multiply_slices_of_pairs(g, x, samples, values, offsets, indptr, outputs, bias, y, pairs, part, parts):
    """The same for two samples (the last may be missing), whose inputs lie beside each other in `pairs`."""
    slices, relu, count = outputs.size // LINE, g.relu, g.outputs
    second = g.inputs * (samples - 1)  # where there is one sample it is both
    for i in range(g.inputs):
        pairs[2 * i] = x[i]
        pairs[2 * i + 1] = x[second + i]
    for first in range(part * slices // parts * LINE, (part + 1) * slices // parts * LINE, LINE):
        total, k, present = load_twice(bias, first), indptr[first], LINE
        longest, shortest = indptr[first + 1] - k, indptr[first + LINE] - indptr[first + LINE - 1]
        for begin in range(0, longest, RUN):
            line = zero_pairs()
            for j in range(begin, min(begin + RUN, longest)):
                while shortest <= j:
                    present -= 1
                    shortest = indptr[first + present] - indptr[first + present - 1]
                line = fma_pairs(line, values, offsets, k, present, pairs)
                k += present
            total = add_lines(total, line)
        for lane in range(LINE):
            o = outputs[first + lane]
            for n in range(samples if o >= 0 else 0):
                number = number_of(total, 2 * lane + n)
                y[n * count + o] = np.float32(0) if relu and number < 0 else number
