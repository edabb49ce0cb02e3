"""What joins branches: sums, copies of channels, and the shortcut that pads channels; each on a range of one sample."""

from ..machine.jit import kernel


@kernel
def add_two(begin, end, x, z, relu, y):
    """y[p] = x[p] + z[p] for begin <= p < end, then max(y, 0) where `relu`; NaN stays NaN."""
    zero = x.dtype.type(0)
    x, z, y = x[begin:end], z[begin:end], y[begin:end]  # loops from 0: from an unknown start they become no vector code
    if relu:
        for p in range(y.size):
            total = x[p] + z[p]
            y[p] = zero if total < zero else total
    else:
        for p in range(y.size):
            y[p] = x[p] + z[p]


@kernel
def add_to(begin, end, x, relu, y):
    """y[p] += x[p] likewise."""
    zero = x.dtype.type(0)
    x, y = x[begin:end], y[begin:end]
    if relu:
        for p in range(y.size):
            total = y[p] + x[p]
            y[p] = zero if total < zero else total
    else:
        for p in range(y.size):
            y[p] += x[p]


@kernel
def copy_to(begin, end, x, place, y):
    """y[place + p] = x[p] for begin <= p < end."""
    y[place + begin : place + end] = x[begin:end]


@kernel
def pad_channels(begin, end, g, x, y):
    """y[c, r, q] = x[c - f, r s, q s] for begin <= c < end, f the channels of zeros before; 0 where x has no channel.

    g has `channels`, `height`, `width` of x, `out_height`, `out_width`, `stride` (s) and `before` (f).
    """
    plane = g.out_height * g.out_width
    for c in range(begin, end):
        source = c - g.before
        if source < 0 or source >= g.channels:
            zeros = y[c * plane : (c + 1) * plane]
            for p in range(zeros.size):
                zeros[p] = 0
            continue
        for r in range(g.out_height):
            begin_x, begin_y = (source * g.height + r * g.stride) * g.width, c * plane + r * g.out_width
            row, target = x[begin_x : begin_x + g.width], y[begin_y : begin_y + g.out_width]
            if g.stride == 1:  # fixed strides become vector code
                for q in range(target.size):
                    target[q] = row[q]
            elif g.stride == 2:
                for q in range(target.size):
                    target[q] = row[2 * q]
            else:
                for q in range(target.size):
                    target[q] = row[q * g.stride]
