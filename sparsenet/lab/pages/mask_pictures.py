"""Masks as pictures: filters of a convolution as tiles, matrices as bitmaps, the columns of them that are kept."""

import numpy as np

from .bitmap import GAP, GONE, KEPT, data_url, png, shade, shrink
from .page import TIMES, Markup, figure, tag

MOST = 480  # pixels of a side: larger matrices are shown by fields
FEW = 4  # channels: so narrow a convolution is laid out in several columns
STRIP = 3  # pixels of the height of the strip that tells the kept columns


def mask_figure(name: str, mask: np.ndarray) -> Markup:
    """A mask as a picture with what it shows in words."""
    tiles = tile_filters(mask) if mask.ndim == 4 and mask[0, 0].size > 1 else None
    levels = bitmap(mask.reshape(*mask.shape[:2], -1).mean(axis=2)) if tiles is None else tiles
    kept = f"{int(mask.sum()):,} of {mask.size:,} weights are kept"
    alt = f"Mask of {name}, {f' {TIMES} '.join(map(str, mask.shape))}: {kept}, {_kept_parts(mask)}."
    height, width = levels.shape
    address = data_url(png(levels))
    times = max(1, MOST // (2 * width))  # whole pixels for each of its own
    size = {"width": width, "height": height, "style": f"max-width: {times * width}px"}
    picture = tag("img", src=address, alt=alt, class_="enlarged" if times > 1 else None, **size)
    matrix = "a row for each output, a column for each input"
    how = matrix if tiles is None else "a tile for each filter and input channel"
    return figure(picture, f"{name}: {kept}, {_kept_parts(mask)} ({how})")


def _kept_parts(mask: np.ndarray) -> str:
    outputs, inputs = (
        int(mask.any(axis=axes).sum()) for axes in ((1, *range(2, mask.ndim)), (0, *range(2, mask.ndim)))
    )
    what = ("filters", "input channels") if mask.ndim == 4 else ("outputs", "inputs")
    return f"{outputs:,} of {len(mask):,} {what[0]} and {inputs:,} of {mask.shape[1]:,} {what[1]} keep one"


def tile_filters(mask: np.ndarray) -> np.ndarray | None:
    """Levels of a convolution's mask (outputs, inputs, height, width): a row of tiles for each filter; or None.

    With few input channels several filters share a row, so that the picture is about as wide as high. None where it
    would be too large.
    """
    outputs, inputs, height, width = mask.shape
    across = max(1, round(np.sqrt(outputs / inputs))) if inputs <= FEW else 1
    down = -(-outputs // across)
    levels = np.full((across * down, inputs, height + 1, width + 1), GAP, np.uint8)
    levels[:outputs, :, :height, :width] = np.where(mask, KEPT, GONE)
    rows = levels.reshape(down, across, inputs, height + 1, width + 1).transpose(0, 3, 1, 2, 4)
    picture = rows.reshape(down * (height + 1), across * inputs * (width + 1))[:-1, :-1]
    return picture if max(picture.shape) <= MOST else None


def bitmap(matrix: np.ndarray) -> np.ndarray:
    """Levels of a matrix (outputs, inputs), by fields where it is large, above a strip of the columns that keep any.

    The rows of one that is more than eight times as wide as high are stretched.
    """
    fields = shade(shrink(matrix.astype(np.float64), MOST))
    fields = np.repeat(fields, max(1, fields.shape[1] // (8 * len(fields))), axis=0)
    columns = np.where((fields > GONE).any(axis=0), KEPT, GONE).astype(np.uint8)
    gap = np.full((2, fields.shape[1]), GAP, np.uint8)
    return np.vstack([fields, gap, np.repeat(columns[None], STRIP, axis=0)])
