"""Direct sparse convolution of small images in batches: lanes are samples.

An image narrower than a vector leaves lanes empty; a batch of them does not. The same tiles as in
`direct_sparse_conv.py` multiply, with a position of the image in the place of a row and samples in the place of
columns: every tap is a whole number of lines away, and nothing is shifted.

    y[n, o, r, q] = b[o] + sum_k weight[k] packed[offset[k] + (r, q)][n],   k over row o of the weights
"""

from typing import NamedTuple

from ..machine.jit import kernel
from ..machine.pointers import call_tile
from ..machine.vectors import LINE
from .input_packing import pack_samples, unpack_samples
from .lane_copy import clear_line, copy_line


class SampleConvSizes(NamedTuple):
    """Sizes of one convolution of `lanes` samples at a time, in numbers of elements.

    The packed input has a line for each position: of each of `chunk` channels, `columns` x `phases` phases of the
    strides, each of `depth` rows of `pitch` positions, the padding's zeros among them; `length` numbers in all. A tile
    has `tile_rows` positions beside each other in a row of the output, and runs with the weights of `block_rows`.
    `inputs` and `outputs` are the numbers of one sample; `lines` is 1: one line for all samples of a position.
    """

    channels: int
    height: int
    width: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    out_height: int
    out_width: int
    columns: int
    phases: int
    depth: int
    pitch: int
    length: int
    chunk: int
    tile_rows: int
    block_rows: int
    inputs: int
    outputs: int
    lines: int
    lanes: int


@kernel
def pack_small_images(g, x, samples, reads, first_channel, last_channel, lines, packed):
    """Copy some channels of x, samples as lanes, into the packed input; `lines` is room for these channels unpadded.

    line ((c columns + p) phases + h) depth pitch + t pitch + l, lane n
        = x[n, c, h + t stride - pad, p + l stride - pad], 0 outside the image.
    """
    plane = g.height * g.width
    pack_samples(g, x, 0, samples, first_channel * plane, last_channel * plane, LINE, lines)
    for c in range(last_channel - first_channel):
        for copy in range(g.columns * g.phases):
            if not reads[copy * g.channels + first_channel + c]:
                continue
            left, top = copy // g.phases - g.pad_x, copy % g.phases - g.pad_y
            target = c * g.length + copy * g.depth * g.pitch * LINE
            for row in range(top, top + g.depth * g.stride_y, g.stride_y):
                for column in range(left, left + g.pitch * g.stride_x, g.stride_x):
                    if 0 <= row < g.height and 0 <= column < g.width:
                        copy_line(lines, (c * plane + row * g.width + column) * LINE, 0, LINE, packed, target)
                    else:
                        clear_line(packed, target)
                    target += LINE


@kernel
def convolve_samples(multiply, tiles, workspace, work, g, t, x, samples, reads, y, packed, waiting, part, parts):
    """Write the part-th of `parts` parts of the output channels of a convolution of up to `lanes` samples x into y.

    As in `direct_sparse_conv.convolve`; the tiles leave the outputs, samples as lanes, at the beginning of `waiting`,
    with the sums that wait between chunks behind them. Unpadded channels lie behind the packed ones.
    """
    first, last = part * t.blocks // parts, (part + 1) * t.blocks // parts
    positions, room = g.out_height * g.out_width, (last - first) * t.block * t.plane
    work.y, work.y_size = waiting.ctypes.data, waiting.size
    work.z, work.z_size = work.y, work.y_size  # nothing is added: but it must be an array
    lines = packed[g.chunk * g.length :]
    for chunk in range(t.chunks):
        pack_small_images(g, x, samples, reads, chunk * g.chunk, min((chunk + 1) * g.chunk, g.channels), lines, packed)
        work.chunk = chunk
        for o in range(first, last, g.block_rows):
            work.first, work.last = o, min(o + g.block_rows, last)
            work.begin = room + (o - first) * t.sums
            for r in range(g.out_height):
                for q in range(0, g.out_width, g.tile_rows):
                    q = min(q, g.out_width - g.tile_rows)
                    place = (r * g.out_width + q) * g.lanes
                    work.source, work.place = (r * g.pitch + q) * LINE, place - first * t.block * t.plane
                    work.room = t.plane - place
                    call_tile(multiply, tiles, workspace)
                    work.begin += (last - first) * t.sums
    unpack_samples(
        g, waiting, 0, 0, samples, first * t.block * positions, min(last * t.block * positions, g.outputs), y
    )
