"""Weights as a stream for the kernels: values, offsets into the window, row pointers, chunk by chunk of input channels.

This is compressed sparse row storage (CSR; BSR with blocks of M x 1), cut along the input channels so that the inputs
of one chunk fit the first-level cache, with each column index already turned into the place that the kernel reads.
"""

from dataclasses import dataclass

import numpy as np

from ..kernels.conv import output_size
from ..kernels.simd import LANES, REGISTERS
from ..kernels.sparse import Convolution, Product

WINDOW = 28 * 1024  # bytes of the window, which has to stay in the first-level cache (32 to 64 KB); measured
LINE = 16  # float32 numbers in a cache line
STACK = 14  # vectors below each other that one window serves, about: more waste less on its upper and lower edge
OVERHEAD = 4  # what one entry of the stream costs beside its multiply-adds, in multiply-adds of a vector (measured)
VECTORS = {  # numbers of vectors R worth compiling, by M: M R sums, and what is held beside them, fit the registers
    16: {1: (14, 12, 8, 7, 4, 1), 2: (6, 5, 4, 1), 4: (3, 2, 1)},
    32: {1: (16, 14, 12, 8, 7, 4, 1), 2: (8, 7, 4, 1), 4: (4, 2, 1)},
}[REGISTERS]


@dataclass(frozen=True, eq=False)
class Stream:
    """Packed weights: an entry holds M values and an offset; row o of chunk c begins at entry rows[c blocks + o].

    Attributes
    ----------
    values : float32, (entries M,)
    offsets : int32, (entries,)
    rows : int64, (chunks blocks + 1,)
    bias : float32, (blocks M,)
    """

    values: np.ndarray
    offsets: np.ndarray
    rows: np.ndarray
    bias: np.ndarray


def is_blocked(mask: np.ndarray, rows: int) -> bool:
    """Whether each run of `rows` outputs shares its columns: the last run may be shorter."""
    matrix = mask.reshape(len(mask), -1)
    starts = np.arange(0, len(mask), rows)
    return bool(np.array_equal(np.logical_and.reduceat(matrix, starts), np.logical_or.reduceat(matrix, starts)))


def _pack(
    weight: np.ndarray, mask: np.ndarray, bias: np.ndarray, rows: int, chunk_of: np.ndarray, offset_of: np.ndarray
) -> Stream:
    """Stream of a matrix (outputs, columns); `chunk_of` and `offset_of` say for each column where its input lies."""
    blocks = -(-len(weight) // rows)
    room = ((0, blocks * rows - len(weight)), (0, 0))
    values = np.pad(weight * mask, room).astype(np.float32).reshape(blocks, rows, -1)
    block, column = np.nonzero(np.pad(mask, room).reshape(blocks, rows, -1).any(axis=1))
    order = np.lexsort((offset_of[block, column], block, chunk_of[block, column]))
    block, column = block[order], column[order]
    chunks = int(chunk_of.max(initial=0)) + 1
    counts = np.bincount(chunk_of[block, column] * blocks + block, minlength=chunks * blocks)
    return Stream(
        np.ascontiguousarray(values[block, :, column]).reshape(-1),
        offset_of[block, column].astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.pad(bias, (0, blocks * rows - len(bias))).astype(np.float32),
    )


def pack_convolution(
    weight: np.ndarray,
    mask: np.ndarray,
    bias: np.ndarray,
    g: Convolution,
    rows: int,
    *,
    dilation_y: int = 1,
    groups: int = 1,
) -> Stream:
    """Stream of a convolution's weights (O, C / groups, kh, kw) for kernels with sizes `g` and tiles of M = rows.

    Notes
    -----
    offset of (c, i, j) = (((c' kw + j) s + (i d) mod s) depth + floor(i d / s)) LANES, c' = c within its chunk; where
    one copy of wider rows serves all shifts, ((c' s + (i d) mod s) depth + floor(i d / s)) 2 LANES + j d.
    """
    outputs, inputs, kernel_h, kernel_w = weight.shape
    blocks = -(-outputs // rows)
    c, i, j = np.indices((inputs, kernel_h, kernel_w)).reshape(3, -1)
    group = np.arange(blocks) * rows // (outputs // groups)
    channel = group[:, None] * inputs + c
    copy, shift = (j, 0) if g.shifts > 1 else (0, j * g.dilation_x)
    place = ((channel % g.chunk * g.shifts + copy) * g.stride_y + i * dilation_y % g.stride_y) * g.depth
    offset = (place + i * dilation_y // g.stride_y) * g.spread * LANES + shift
    flat = (outputs, -1)
    return _pack(weight.reshape(flat), mask.reshape(flat), bias, rows, channel // g.chunk, offset)


def pack_product(weight: np.ndarray, mask: np.ndarray, bias: np.ndarray, g: Product, rows: int, vectors: int) -> Stream:
    """Stream of a fully connected layer's weights (O, I); `vectors` 0 is for one sample at a time."""
    column = np.broadcast_to(np.arange(g.inputs), (-(-len(weight) // rows), g.inputs))
    return _pack(weight, mask, bias, rows, column // g.chunk, column % g.chunk * max(vectors * LANES, 1))


def size_convolution(
    shape: tuple[int, int, int],
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    rows: int,
    *,
    dilation: tuple[int, int] = (1, 1),
    relu: bool = False,
) -> tuple[Convolution, int]:
    """Sizes of a convolution of images (C, H, W) in tiles of M = rows, and the number R of vectors of its tiles."""
    channels, height, width = shape
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    out_h, out_w = output_size((height, width), extent, stride, padding)
    pointwise = kernel == (1, 1) and stride == (1, 1) and padding == (0, 0)
    vectors, tall, flat = _choose_tile(out_h, out_w, rows, pointwise)
    depth = tall + (extent[0] - 1) // stride[0]
    reach = (kernel[1] - 1) * dilation[1]
    shared = kernel[1] > 1 and stride[1] == 1 and reach <= LANES <= LINE // 2
    shifts, spread = (1, 2) if shared else (kernel[1], 1)
    chunk = max(1, WINDOW // (shifts * spread * stride[0] * depth * LANES * 4))
    chunks = -(-channels // chunk)
    pitch = (LANES, LANES) if flat else (width, out_w)
    g = Convolution(
        channels=channels,
        height=tall if flat else height,
        width=height * width if flat else width,
        pitch=pitch[0],
        plane=height * width,
        outputs=outputs,
        out_height=tall if flat else out_h,
        out_width=out_h * out_w if flat else out_w,
        out_pitch=pitch[1],
        out_plane=out_h * out_w,
        kernel_width=kernel[1],
        stride_y=stride[0],
        stride_x=stride[1],
        pad_y=padding[0],
        pad_x=padding[1],
        dilation_x=dilation[1],
        shifts=shifts,
        spread=spread,
        depth=depth,
        chunk=-(-channels // chunks),
        chunks=chunks,
        tiles_y=1 if flat else -(-out_h // tall),
        tiles_x=-(-out_h * out_w // (tall * LANES)) if flat else -(-out_w // LANES),
        tall=tall,
        flat=int(flat),
        splits=1,
        relu=int(relu),
    )
    return g, vectors


def _choose_tile(out_h: int, out_w: int, rows: int, pointwise: bool) -> tuple[int, int, bool]:
    """(R, rows of a window, flat) that cover the output with the least work.

    A flat tile takes R LANES positions of a 1 x 1 convolution in a row, wherever the image's rows end.
    """
    options = []
    for vectors in VECTORS[rows]:
        for length, across, flat in ((out_h, -(-out_w // LANES), False), (-(-out_h * out_w // LANES), 1, True)):
            tall = _divide(length, vectors)
            if flat and (not pointwise or tall * LANES > out_h * out_w):
                continue
            work = -(-length // tall) * across * -(-tall // vectors) * (rows * vectors + OVERHEAD)
            options.append((work, -vectors, vectors, tall, flat))
    return min(options)[2:]


def _divide(length: int, vectors: int) -> int:
    """Rows of a window: the image's in equal pieces of at most about STACK, and at least those of a tile."""
    return max(vectors, -(-length // max(1, round(length / STACK))))


def size_product(inputs: int, outputs: int, samples: int, rows: int, *, relu: bool = False) -> tuple[Product, int]:
    """Sizes of a fully connected layer for batches of so many samples, and the number R of vectors of its tiles."""

    def cost(vectors):
        return -(-samples // (vectors * LANES)) * (rows * vectors + OVERHEAD)

    vectors = min(VECTORS[rows], key=lambda v: (cost(v), -v))
    chunk = max(LANES, WINDOW // (vectors * LANES * 4) // LANES * LANES)
    return Product(inputs, outputs, min(chunk, inputs), -(-inputs // chunk), int(relu)), vectors


def size_single(inputs: int, outputs: int, *, relu: bool = False) -> Product:
    """Sizes of a fully connected layer for one sample at a time."""
    return Product(inputs, outputs, inputs, 1, int(relu))


def split_outputs(g: Convolution, rows: int, least: int) -> Convolution:
    """The same convolution with its outputs in several parts, where the image has fewer tiles than `least`."""
    splits = -(-least // (g.tiles_y * g.tiles_x))
    return replace_sizes(g, splits=max(1, min(splits, -(-g.outputs // rows))))


replace_sizes = Convolution._replace
