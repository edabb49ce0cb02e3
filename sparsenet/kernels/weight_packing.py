"""Sparse matrices packed for the kernels: a CSR or BSR array, cut into chunks of inputs that fit the cache.

Each column index is turned into the place that the kernel reads, and offsets and values lie in the order of use.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import bsr_array, csr_array

from ..machine.vectors import LINE
from .depthwise_conv import TapWeights
from .direct_sparse_conv import TiledWeights
from .sample_lanes_conv import SampleConvSizes
from .sparse_linear import LinearSizes, RowWeights, SlicedWeights
from .tiling import Geometry, Tiling, column_taps, phases, row_taps

OFFSETS = 1 << 16  # inputs that an offset of 16 bits reaches
SIGMA = 16 * LINE  # outputs that are sorted by their number of entries: threads get about as much of each
ADD_LANES = 0.5  # what it takes to add up the lanes of a line, in gathers of LINE numbers


class _Blocks(NamedTuple):
    """The entries of a CSR array (M = 1) or of a BSR array with blocks of M x 1, row by row."""

    row: np.ndarray
    column: np.ndarray
    values: np.ndarray  # (entries, M)
    count: int  # block rows


def block_of(matrix: csr_array | bsr_array) -> int:
    """M of its M x 1 blocks."""
    return matrix.blocksize[0] if isinstance(matrix, bsr_array) else 1


def _blocks_of(matrix: csr_array | bsr_array) -> _Blocks:
    values = matrix.data.reshape(len(matrix.indices), block_of(matrix))
    count = len(matrix.indptr) - 1
    return _Blocks(np.repeat(np.arange(count), np.diff(matrix.indptr)), matrix.indices, values, count)


def _pack(
    blocks: _Blocks, bias: np.ndarray, chunks: int, chunk_of: np.ndarray, offset_of: np.ndarray, reads: np.ndarray
) -> TiledWeights:
    """Entries sorted by chunk, block row and offset; `chunk_of` and `offset_of` say where each column lies."""
    chunk, offset = chunk_of[blocks.column], offset_of[blocks.column]
    order = np.lexsort((offset, blocks.row, chunk))
    counts = np.bincount(chunk * blocks.count + blocks.row, minlength=chunks * blocks.count)
    m = blocks.values.shape[1]
    entries = np.empty((len(order), 1 + m), np.int32)
    entries[:, 0] = offset[order]
    entries[:, 1:] = blocks.values[order].astype(np.float32, copy=False).view(np.int32)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    bias = np.pad(bias, (0, blocks.count * m - len(bias))).astype(np.float32)
    return TiledWeights(entries, indptr, _spans(counts.reshape(chunks, blocks.count) > 0), bias, reads)


def _spans(present: np.ndarray) -> np.ndarray:
    """First and last True of each column, (0, 0) where there is none."""
    first, last = present.argmax(axis=0), len(present) - 1 - present[::-1].argmax(axis=0)
    return np.ascontiguousarray(np.where(present.any(axis=0), (first, last), 0).T).astype(np.int64)


def pack_convolution(matrix: csr_array | bsr_array, bias: np.ndarray, g: Geometry, tiling: Tiling) -> TiledWeights:
    """Packed weights of a convolution, from its matrix (O, C kh kw).

    Notes
    -----
    Column (c, i, j) lies in copy p and row phase h, `down` lines and `right` places further (`tiling.Taps`):
    offset = c' length + ((p phases + h) depth + down) LINE + right, c' = c within its chunk; in zero-padded rows it is
    c' length + i d row_pitch + j d; where lanes are samples, with a line for each place,
    c' length + (((p phases + h) depth + down) pitch + right) LINE.
    """
    sizes, by_sample = tiling.sizes, isinstance(tiling.sizes, SampleConvSizes)
    below, lanes = row_taps(g), tiling.tile.lanes
    across = phases(g.kernel[1], g.stride[1], g.dilation[1]) if by_sample else column_taps(g, lanes)
    channel, i, j = np.indices((g.shape[0], *g.kernel)).reshape(3, -1)
    if not by_sample and sizes.row_pitch:
        copy, place = 0 * j, i * g.dilation[0] * sizes.row_pitch + j * g.dilation[1]
    else:
        copy = np.array(across.copies)[j] * sizes.phases + np.array(below.copies)[i]
        down, right = copy * sizes.depth + np.array(below.shifts)[i], np.array(across.shifts)[j]
        place = (down * sizes.pitch + right) * LINE if by_sample else down * LINE + right
    reads = np.zeros((sizes.columns * sizes.phases, g.shape[0]), np.int64)
    used = np.unique(matrix.indices)
    reads[copy[used], channel[used]] = 1
    offset = channel % sizes.chunk * sizes.length + place
    return _pack(_blocks_of(matrix), bias, tiling.tiles.chunks, channel // sizes.chunk, offset, reads)


def pack_taps(matrix: csr_array, bias: np.ndarray, g: Geometry) -> TapWeights:
    """The weights of a depthwise convolution, from its matrix (O, C kh kw), with the places of their taps."""
    _, i, j = np.unravel_index(matrix.indices, (g.shape[0], *g.kernel))
    return TapWeights(
        values=matrix.data.astype(np.float32),
        down=(i * g.dilation[0]).astype(np.int64),
        right=(j * g.dilation[1]).astype(np.int64),
        indptr=matrix.indptr.astype(np.int64),
        bias=bias.astype(np.float32),
    )


def pack_linear(matrix: csr_array | bsr_array, bias: np.ndarray, tiling: Tiling) -> TiledWeights:
    """Packed weights of a fully connected layer for batches: input i lies `apart` numbers behind input i - 1."""
    sizes, column = tiling.sizes, np.arange(matrix.shape[1])
    offset, reads = column % sizes.chunk * sizes.apart, np.zeros(0, np.int64)
    return _pack(_blocks_of(matrix), bias, tiling.tiles.chunks, column // sizes.chunk, offset, reads)


def pack_rows(matrix: csr_array, bias: np.ndarray) -> RowWeights:
    """A fully connected layer's weights for one sample: an offset is an input's place in its chunk of OFFSETS."""
    column, chunks = np.arange(matrix.shape[1]), -(-matrix.shape[1] // OFFSETS)
    packed = _pack(_blocks_of(matrix), bias, chunks, column // OFFSETS, column % OFFSETS, np.zeros(0, np.int64))
    offsets, values = np.pad(packed.entries, ((0, LINE), (0, 0))).T
    return RowWeights(values.copy().view(np.float32), offsets.astype(np.uint16), packed.indptr, packed.bias)


def _sorted(matrix: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """The outputs in the order of their slots, and how many entries each has: within SIGMA, the longest first."""
    counts = np.diff(matrix.indptr)
    order = np.lexsort((-counts, np.arange(len(counts)) // SIGMA))
    return order, counts[order]


def is_better_sliced(matrix: csr_array) -> bool:
    """Whether LINE numbers are gathered less often for one sample with outputs as lanes than with entries."""
    (_, counts), (outputs, inputs) = _sorted(matrix), matrix.shape
    return inputs <= OFFSETS and counts[::LINE].sum() < (-(-counts // LINE)).sum() + ADD_LANES * outputs


def pack_slices(matrix: csr_array, bias: np.ndarray) -> SlicedWeights:
    """The same in SELL-C-sigma, C = LINE, for no more than OFFSETS inputs: see `sparse_linear.multiply_slices`."""
    (order, counts), empty = _sorted(matrix), -matrix.shape[0] % LINE
    indptr = np.concatenate([[0], np.cumsum(counts), np.full(empty, counts.sum())]).astype(np.int64)
    slot = np.repeat(np.arange(len(order)), counts)
    nth = np.arange(slot.size) - indptr[slot]  # which of its output's entries it is
    source = matrix.indptr[order[slot]] + nth
    turn = np.lexsort((slot, nth, slot // LINE))
    source = source[turn]
    return SlicedWeights(
        values=np.pad(matrix.data[source], (0, LINE)).astype(np.float32),
        offsets=np.pad(matrix.indices[source], (0, LINE)).astype(np.uint16),
        indptr=indptr,
        outputs=np.pad(order, (0, empty), constant_values=-1).astype(np.int64),
        bias=np.pad(bias[order], (0, empty)).astype(np.float32),
    )


def count_weights(weights: TiledWeights | RowWeights | SlicedWeights) -> int:
    """Number of packed weights, those included that only fill up a block."""
    if isinstance(weights, TiledWeights):
        return weights.entries.size - len(weights.entries)
    return weights.values.size - LINE


def size_single(matrix: csr_array, *, relu: bool = False) -> LinearSizes:
    """Sizes of a fully connected layer for one sample at a time."""
    outputs, inputs = matrix.shape
    return LinearSizes(inputs, outputs, OFFSETS, 1, 1, 1, int(relu))
