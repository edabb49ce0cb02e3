"""Packed inputs: copies of the few input channels (or input features) that a tile needs next, laid out for its loads.

Lines of `LINE` numbers, each at the start of a cache line, with zeros where the image ends: a tile that reads a piece
of a line at any shift crosses no cache line and tests for no edge. Numbers of a convolution with stride s are sorted by
their phase: even columns lie beside each other, and so do odd ones. A copy of a channel that no weight reads (its
reads[copy channels + c] is 0) is left out, and its part of the packed input holds anything.
"""

from ..machine.jit import kernel
from ..machine.vectors import LANES, LINE
from .lane_copy import add_lanes, clear_line, copy_every_second, copy_line, prefetch, put_lanes, transpose

AHEAD = 4  # channels between what is copied and what is asked for


@kernel
def _meeting(start, size, stride, count):
    """First and last of the steps t < count for which 0 <= start + t stride < size."""
    if stride == 1:  # divisions are slow
        first, last = -start, size - start
    else:
        first, last = -(start // stride), (size - 1 - start) // stride + 1
    first = min(count, max(0, first))
    return first, max(first, min(count, last))


@kernel
def _copy_lines(x, source, step, first, last, ahead, packed, target, count):
    """packed[target + t LINE + lane] = x[source + t step + lane] for t < count, 0 outside first <= lane < last."""
    for _ in range(count):
        prefetch(x, source + ahead)
        copy_line(x, source, first, last, packed, target)
        source += step
        target += LINE


@kernel
def _copy_strided(x, source, step, stride, first, last, ahead, packed, target, count):
    """The same for x[source + t step + lane stride]."""
    for _ in range(count):
        if stride == 2:
            prefetch(x, source + ahead)
            prefetch(x, source + ahead + LINE)
            copy_every_second(x, source, first, last, packed, target)
        else:
            clear_line(packed, target)
            for lane in range(first, last):
                packed[target + lane] = x[source + lane * stride]
        source += step
        target += LINE


@kernel
def _ahead(g, reads, copy, c):
    """How far on to ask for input while channel c is copied."""
    later = c + AHEAD
    return AHEAD * g.plane if later < g.channels and reads[copy * g.channels + later] else 0


@kernel
def pack_lines(g, x, reads, first_channel, last_channel, top, left, packed):
    """Copy what a tile needs of some channels of x into the packed input: its first lane's first tap is x[top, left].

    Place c length + ((p phases + h) depth + t) LINE + l = x[c, top + h + t s, left + p column_step + l s], 0 outside.
    """
    step, stride = g.stride_y * g.pitch, g.stride_x
    for copy in range(g.columns * g.phases):
        column, row = left + copy // g.phases * g.column_step, top + copy % g.phases
        first, last = _meeting(column, g.width, stride, LINE)  # the lanes that meet the image
        above, below = _meeting(row, g.height, g.stride_y, g.depth)  # the lines that do
        source, target = first_channel * g.plane + (row + above * g.stride_y) * g.pitch + column, copy * g.depth * LINE
        for c in range(first_channel, last_channel):
            if reads[copy * g.channels + c]:
                for t in range(above):
                    clear_line(packed, target + t * LINE)
                place, ahead = target + above * LINE, _ahead(g, reads, copy, c)
                if stride == 1:
                    _copy_lines(x, source, step, first, last, ahead, packed, place, below - above)
                else:
                    _copy_strided(x, source, step, stride, first, last, ahead, packed, place, below - above)
                for t in range(below, g.depth):
                    clear_line(packed, target + t * LINE)
            source += g.plane
            target += g.length


@kernel
def pack_positions(g, x, reads, first_channel, last_channel, begin, packed):
    """Copy positions from `begin` on of some channels of x, wherever rows end, for 1 x 1 kernels.

    line c depth + t, lane l = x[c, begin + t LINE + l], 0 behind the image.
    """
    positions = g.height * g.width
    for c in range(first_channel, last_channel):
        if not reads[c]:
            continue
        source, rest, target = c * g.plane + begin, positions - begin, (c - first_channel) * g.length
        ahead = _ahead(g, reads, 0, c)
        for _ in range(g.depth):
            prefetch(x, source + ahead)
            copy_line(x, source, 0, rest, packed, target)
            source += LINE
            rest -= LINE
            target += LINE


@kernel
def pack_padded_rows(g, x, reads, first_channel, last_channel, top, packed):
    """Copy rows of some channels of x, each behind the one above, with the padding's zeros between them.

    packed[c length + t row_pitch + pad + l] = x[c, top + t, l]: the zeros behind a row are also those before the next.
    """
    for c in range(first_channel, last_channel):
        if not reads[c]:
            continue
        place, ahead = (c - first_channel) * g.length, _ahead(g, reads, 0, c)
        clear_line(packed, place)
        place += g.pad_x
        for row in range(top, top + g.depth):
            source, rest = c * g.plane + row * g.pitch, g.width if 0 <= row < g.height else 0
            for lane in range(0, g.row_pitch, LINE):
                prefetch(x, source + lane + ahead)
                copy_line(x, source + lane, 0, rest - lane, packed, place + lane)
            place += g.row_pitch


@kernel
def pack_samples(g, x, first_sample, last_sample, first_input, last_input, plane, packed):
    """Samples become lanes: packed[i plane + n // lanes LINE + n % lanes] = x[first_sample + n, first_input + i].

    `lanes` samples lie in each line; transposed squares of numbers go where whole ones exist.
    """
    count = min(LANES, g.lanes)
    for n in range(0, g.lines * g.lanes, count):
        i, place = first_input, n // g.lanes * LINE + n % g.lanes
        source = (first_sample + n) * g.inputs
        if count == LANES and first_sample + n + LANES <= last_sample:
            while i + LANES <= last_input:
                transpose(x, source + i, g.inputs, packed, place, plane)
                place += LANES * plane
                i += LANES
        while i < last_input:
            for lane in range(count):
                there = first_sample + n + lane < last_sample
                packed[place + lane] = x[source + lane * g.inputs + i] if there else x.dtype.type(0)
            place += plane
            i += 1


@kernel
def unpack_samples(g, sums, begin, first_sample, last_sample, first_output, last_output, y):
    """y[first_sample + n, o] = the sum of output o and sample n: what a tile of samples left in `sums`."""
    plane = g.lines * g.lanes
    count = min(plane, last_sample - first_sample)
    for n in range(0, count, LANES):
        o, place, target = first_output, begin + n, (first_sample + n) * g.outputs
        if n + LANES <= count:
            while o + LANES <= last_output:
                transpose(sums, place, plane, y, target + o, g.outputs)
                place += LANES * plane
                o += LANES
        while o < last_output:
            for lane in range(min(LANES, count - n)):
                y[target + lane * g.outputs + o] = sums[place + lane]
            place += plane
            o += 1


@kernel
def put_tile(outputs, rows, across, sums, begin, y, place, plane, pitch, step, room):
    """Write what of a tile lies within the first `room` numbers of each output's plane; a tile may reach further.

    A row of an image narrower than the tile is written with what lies beside it, over the beginning of the next row,
    which comes next.
    """
    for m in range(outputs):
        for r in range(rows):
            for a in range(across):
                there = r * pitch + a * step
                put_lanes(sums, begin, room - there, y, place + m * plane + there)
                begin += LANES


@kernel
def add_tile(outputs, rows, across, z, place, plane, pitch, step, room, sums, begin):
    """Add to what a tile has left in `sums` what lies in z where `put_tile` would write it."""
    for m in range(outputs):
        for r in range(rows):
            for a in range(across):
                there = r * pitch + a * step
                add_lanes(z, place + m * plane + there, room - there, sums, begin)
                begin += LANES


@kernel
def put_channels(outputs, positions, sums, begin, y, place, plane):
    """The same of a tile whose lanes are channels, and whose positions all lie within the image."""
    for o in range(outputs):
        for position in range(positions):
            y[place + o * plane + position] = sums[begin + position * LINE + o]
