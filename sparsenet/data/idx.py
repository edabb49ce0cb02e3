"""The IDX format of MNIST: two zero bytes, a type code, the number of dimensions, their sizes, the data; big-endian."""

import struct

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def parse(content: bytes, name: str = "IDX data") -> np.ndarray:
    """The array in the bytes of an IDX file.

    Raises
    ------
    ValueError
        Naming `name`, when the bytes are no IDX file, too few or too many.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise ValueError(f"{name} is not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}")
    dtype, ndim = np.dtype(TYPES[content[2]]), content[3]
    header = 4 + 4 * ndim
    if ndim > 8:
        raise ValueError(f"{name} is not an IDX file of images or labels: it announces {ndim} dimensions")
    if len(content) < header:
        raise ValueError(f"{name} is truncated: {len(content)} bytes end inside the header of {header}")
    shape = struct.unpack(f">{ndim}I", content[4:header])
    expected = header + dtype.itemsize * int(np.prod(shape, dtype=object))
    if len(content) != expected:
        word = "truncated" if len(content) < expected else "too long"
        raise ValueError(f"{name} is {word}: {len(content)} bytes, its header {shape} announces {expected}")
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))
