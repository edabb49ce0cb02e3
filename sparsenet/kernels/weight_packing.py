"""Weights as a stream for the kernels: values, offsets into the window, row pointers, chunk by chunk of input channels.

This is compressed sparse row storage (CSR; BSR with blocks of M x 1), cut along the input channels so that the inputs
of one chunk fit the first-level cache, with each column index already turned into the place that the kernel reads.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..machine.vectors import LINE
from .sparse_linear import Product
from .tiling import Geometry, Tiling, column_taps, row_taps

SHORT = 1 << 16  # inputs that an offset of 16 bits reaches
SORTED = 16 * LINE  # outputs that are sorted by their number of entries: threads get about as much of each
ADDING = 0.5  # what it takes to add up the lanes of a line, in gathers of LINE numbers
NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class Stream:
    """Packed weights: block row o of chunk c has the entries from pointers[c blocks + o] on.

    Attributes
    ----------
    entries : int32, (entries, 1 + M)
        An offset into the window and the bits of M float32 weights; uint16, (entries,), offsets alone, for one sample.
    pointers : int64, (chunks blocks + 1,)
    spans : int64, (blocks, 2)
        The first and the last chunk in which a block row has entries; (0, 0) where it has none. In slices (slots,):
        the output of each slot, -1 behind the last one.
    bias : float32, (blocks M,)
    values : float32
        The weights for one sample, which are loaded many at a time.
    reads : int64, (copies, channels)
        Whether a convolution has a weight for this copy of an input channel: the others are not made.

    A layer that only scales has its factors in `values`, what it adds in `bias`, and nothing else.
    """

    entries: np.ndarray
    pointers: np.ndarray
    spans: np.ndarray
    bias: np.ndarray
    values: np.ndarray
    reads: np.ndarray

    @property
    def weights(self) -> int:
        """Number of weights, those included that only fill up a block."""
        return self.values.size or self.entries.size - len(self.entries)


def is_blocked(mask: np.ndarray, block: int) -> bool:
    """Whether each `block` outputs in a row share their columns: the last ones may be fewer."""
    matrix = mask.reshape(len(mask), -1)
    starts = np.arange(0, len(mask), block)
    return bool(np.array_equal(np.logical_and.reduceat(matrix, starts), np.logical_or.reduceat(matrix, starts)))


def _pack(
    weight: np.ndarray,
    mask: np.ndarray,
    bias: np.ndarray,
    block: int,
    chunks: int,
    chunk_of: np.ndarray,
    offset_of: np.ndarray,
) -> Stream:
    """Stream of a matrix (outputs, columns); `chunk_of` and `offset_of` say where each block's columns lie."""
    blocks = -(-len(weight) // block)
    room = ((0, blocks * block - len(weight)), (0, 0))
    values = np.pad(weight * mask, room).astype(np.float32).reshape(blocks, block, -1)
    row, column = np.nonzero(np.pad(mask, room).reshape(blocks, block, -1).any(axis=1))
    order = np.lexsort((offset_of[row, column], row, chunk_of[row, column]))
    row, column = row[order], column[order]
    counts = np.bincount(chunk_of[row, column] * blocks + row, minlength=chunks * blocks)
    entries = np.column_stack([offset_of[row, column], values[row, :, column].view(np.int32)])
    return Stream(
        np.ascontiguousarray(entries, np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        _spans(counts.reshape(chunks, blocks) > 0),
        np.pad(bias, (0, blocks * block - len(bias))).astype(np.float32),
        NOTHING,
        NOTHING,
    )


def _spans(present: np.ndarray) -> np.ndarray:
    """First and last True of each column, (0, 0) where there is none."""
    first, last = present.argmax(axis=0), len(present) - 1 - present[::-1].argmax(axis=0)
    return np.ascontiguousarray(np.where(present.any(axis=0), (first, last), 0).T).astype(np.int64)


def pack_convolution(weight: np.ndarray, mask: np.ndarray, bias: np.ndarray, g: Geometry, tiling: Tiling) -> Stream:
    """Stream of a convolution's weights (O, C / groups, kh, kw).

    Notes
    -----
    Tap (i, j) of channel c lies in copy p and row phase h, `down` lines and `right` places further (`tiling.Taps`):
    offset = c' length + ((p phases + h) depth + down) LINE + right, c' = c within its chunk; in a strip it is
    c' length + i d strip + j d.
    """
    outputs, inputs, kernel_h, kernel_w = weight.shape
    sizes, block, blocks = tiling.sizes, tiling.target.block, tiling.target.blocks
    across, below = column_taps(g), row_taps(g)
    c, i, j = np.indices((inputs, kernel_h, kernel_w)).reshape(3, -1)
    group = np.arange(blocks) * block // (outputs // g.groups)
    channel = group[:, None] * inputs + c
    if sizes.strip:
        copy, place = 0 * j, i * g.dilation[0] * sizes.strip + j * g.dilation[1]
    else:
        copy = np.array(across.copies)[j] * sizes.phases + np.array(below.copies)[i]
        place = (copy * sizes.depth + np.array(below.shifts)[i]) * LINE + np.array(across.shifts)[j]
    offset = channel % sizes.chunk * sizes.length + place
    flat = (outputs, -1)
    stream = _pack(
        weight.reshape(flat), mask.reshape(flat), bias, block, tiling.target.chunks, channel // sizes.chunk, offset
    )
    taps = mask.reshape(g.groups, -1, c.size).any(axis=1)
    reads = np.zeros((sizes.columns * sizes.phases, g.groups, inputs), np.int64)
    np.logical_or.at(reads, (copy, slice(None), c), taps.T)
    return replace(stream, reads=reads)


def _alike(rows: int, column: np.ndarray) -> np.ndarray:
    """The same numbers for each of so many rows, which take no memory."""
    return np.broadcast_to(column, (rows, len(column)))


def pack_product(weight: np.ndarray, mask: np.ndarray, bias: np.ndarray, tiling: Tiling) -> Stream:
    """Stream of a fully connected layer's weights (O, I) for batches: input i lies `lines` behind input i - 1."""
    sizes, (_, block, _, blocks, chunks, *_) = tiling.sizes, tiling.target
    column = np.arange(sizes.inputs)
    offset = column % sizes.chunk * sizes.lines * LINE
    return _pack(weight, mask, bias, block, chunks, _alike(blocks, column // sizes.chunk), _alike(blocks, offset))


def pack_single(weight: np.ndarray, mask: np.ndarray, bias: np.ndarray) -> Stream:
    """Stream of a fully connected layer's weights (O, I) for one sample: an offset is an input's place in its chunk."""
    (outputs, inputs), column = weight.shape, np.arange(weight.shape[1])
    places = _alike(outputs, column // SHORT), _alike(outputs, column % SHORT)
    stream = _pack(weight, mask, bias, 1, -(-inputs // SHORT), *places)
    offsets, values = np.pad(stream.entries, ((0, LINE), (0, 0))).T
    return replace(stream, entries=offsets.astype(np.uint16), values=values.copy().view(np.float32))


def _sliced(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs in the order of their slots, and how many entries each has: within SORTED, the longest first."""
    counts = mask.sum(axis=1)
    order = np.lexsort((-counts, np.arange(len(mask)) // SORTED))
    return order, counts[order]


def is_better_sliced(mask: np.ndarray) -> bool:
    """Whether LINE numbers are gathered less often for one sample with outputs as lanes than with entries."""
    (_, counts), (outputs, inputs) = _sliced(mask), mask.shape
    return inputs <= SHORT and counts[::LINE].sum() < (-(-counts // LINE)).sum() + ADDING * outputs


def pack_slices(weight: np.ndarray, mask: np.ndarray, bias: np.ndarray) -> Stream:
    """Stream of the same in slices of LINE outputs, for no more than SHORT inputs: see `sparse.multiply_slices`."""
    (order, counts), empty = _sliced(mask), -len(mask) % LINE
    slot, column = np.nonzero(mask[order])
    pointers = np.concatenate([[0], np.cumsum(counts), np.full(empty, counts.sum())]).astype(np.int64)
    nth = np.arange(slot.size) - pointers[slot]  # which of its output's entries it is
    turn = np.lexsort((slot, nth, slot // LINE))
    slot, column = slot[turn], column[turn]
    return Stream(
        np.pad(column, (0, LINE)).astype(np.uint16),
        pointers,
        np.pad(order, (0, empty), constant_values=-1).astype(np.int64),
        np.pad(bias[order], (0, empty)).astype(np.float32),
        np.pad(weight[order[slot], column], (0, LINE)).astype(np.float32),
        NOTHING,
    )


def size_single(inputs: int, outputs: int, *, relu: bool = False) -> Product:
    """Sizes of a fully connected layer for one sample at a time."""
    return Product(inputs, outputs, SHORT, 1, 1, int(relu))
