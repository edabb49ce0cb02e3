"""Pictures of masks: an array of levels as a PNG, written by hand, so that no plotting library is needed."""

import base64
import struct
import zlib

import numpy as np

GAP, GONE, KEPT = 0, 1, 9  # between them: how much of a field is kept
INK, FAINT = (63, 124, 214), (128, 134, 144)  # seen on light and on dark
ALPHA = {GAP: 0, GONE: 48}


def png(levels: np.ndarray) -> bytes:
    """A PNG of an array (rows, columns) of levels: GAP is transparent, GONE faint, up to KEPT ever stronger."""
    rows, columns = levels.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)  # a byte a pixel, an index of the palette
    palette = bytes(part for level in range(KEPT + 1) for part in (FAINT if level <= GONE else INK))
    alpha = bytes(ALPHA.get(level, 135 + 120 * (level - GONE) // (KEPT - GONE)) for level in range(KEPT + 1))
    lines = np.zeros((rows, columns + 1), np.uint8)  # each after the number of its filter, 0: none
    lines[:, 1:] = levels
    chunks = {
        b"IHDR": header,
        b"PLTE": palette,
        b"tRNS": alpha,
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks.items())


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def data_url(content: bytes) -> str:
    """The PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def shade(kept: np.ndarray) -> np.ndarray:
    """Levels of fractions that are kept: what keeps anything at all is told from what keeps nothing."""
    return np.where(kept > 0, GONE + np.ceil(kept * (KEPT - GONE)), GONE).astype(np.uint8)


def shrink(matrix: np.ndarray, most: int) -> np.ndarray:
    """The matrix as means over fields, so that neither side is longer than `most`."""
    for axis in (0, 1):
        size = matrix.shape[axis]
        starts = np.arange(0, size, -(-size // most))
        counts = np.diff([*starts, size])
        matrix = np.add.reduceat(matrix, starts, axis=axis) / (counts[:, None] if axis == 0 else counts)
    return matrix
