"""Moving lanes between images and packed inputs: lines with an edge, every second number, transposed squares.

Each operation is a few lines of NumPy here, and the LLVM instructions of `machine/vector_copy.py` when compiled.
"""

from ..machine import vector_copy
from ..machine.vectors import LANES, LINE, compiled_as


@compiled_as(vector_copy.clear_line)
def clear_line(target, place):
    """target[place : place + LINE] = 0."""
    target[place : place + LINE] = 0


@compiled_as(vector_copy.copy_line)
def copy_line(source, start, first, last, target, place):
    """target[place + l] = source[start + l] for the lanes first <= l < last of a line, 0 for the others, not read."""
    clear_line(target, place)
    last = min(last, LINE)
    if first < last:
        target[place + first : place + last] = source[start + first : start + last]


@compiled_as(vector_copy.copy_every_second)
def copy_every_second(source, start, first, last, target, place):
    """target[place + l] = source[start + 2 l] for the lanes first <= l < last of a line, 0 for the others, not read."""
    clear_line(target, place)
    if first < last:
        target[place + first : place + last] = source[start + 2 * first : start + 2 * last - 1 : 2]


@compiled_as(vector_copy.put_lanes)
def put_lanes(source, start, count, target, place):
    """target[place : place + n] = source[start : start + n], n = max(0, min(count, LANES)); all LANES are read."""
    count = max(0, min(count, LANES))
    target[place : place + count] = source[start : start + count]


@compiled_as(vector_copy.add_lanes)
def add_lanes(source, start, count, target, place):
    """target[place : place + n] += source[start : start + n], n as in `put_lanes`; LANES of the target are written."""
    count = max(0, min(count, LANES))
    target[place : place + count] += source[start : start + count]


@compiled_as(vector_copy.prefetch)
def prefetch(source, start):
    """Ask for source[start] to be brought near, if there is such an element: it will be read soon."""


@compiled_as(vector_copy.transpose)
def transpose(source, start, pitch, target, place, target_pitch):
    """target[place + i target_pitch + l] = source[start + l pitch + i] for i, l < LANES."""
    for lane in range(LANES):
        row = source[start + lane * pitch : start + lane * pitch + LANES]
        target[place + lane : place + lane + (LANES - 1) * target_pitch + 1 : target_pitch] = row
