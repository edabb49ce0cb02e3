"""Where values lie between the steps that write and read them: buffers are used again by lifetime.

Letters: steps are numbered in the order in which they run, and so are the values that they write; value GIVEN is the
input of all of them. The *time* of a step is the number of its stage (see `program.py`): within a stage workers are at
different samples and steps, between two stages all have met.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..machine.vectors import LINE

GIVEN = -1
ALIGNMENT = 64  # bytes: a cache line


class Region(NamedTuple):
    """Where a value lies.

    kind : "given", "wanted" (the caller's arrays), "shared" (for the whole batch) or "local" (a worker's, for a sample)
    offset : bytes from the start of the shared or the worker's local buffers
    stride : numbers from a sample to the next
    """

    kind: str
    offset: int
    stride: int


class Buffers(NamedTuple):
    """The region of each value, and the bytes of all shared and of one worker's local buffers."""

    regions: dict[int, Region]
    shared: int
    local: int


class Block(NamedTuple):
    """Memory of some bytes, needed from `first` to `last`, both included."""

    bytes: int
    first: int
    last: int


def place_by_lifetime(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Offsets at which no two blocks that live at once overlap, each the lowest one left, and the bytes of all."""
    offsets, end = [], 0
    for block in blocks:
        placed = zip(offsets, blocks, strict=False)
        alive = sorted((o, o + b.bytes) for o, b in placed if b.first <= block.last and block.first <= b.last)
        offset = 0
        for start, stop in alive:
            if offset + block.bytes <= start:
                break
            offset = max(offset, stop)
        offsets.append(offset)
        end = max(end, offset + block.bytes)
    return offsets, end


def _aligned_bytes(numbers: int) -> int:
    return -(-numbers * 4 // ALIGNMENT) * ALIGNMENT


def assign_buffers(
    sizes: Sequence[int],
    reads: Sequence[tuple[int, ...]],
    times: Sequence[int],
    batch: int,
    parts: Mapping[int, tuple[int, int]] | None = None,
) -> Buffers:
    """Regions for the values of steps that run one after the other.

    Parameters
    ----------
    sizes : list of int
        Numbers of a sample of each step's value.
    reads : list of tuples
        The values that each step reads.
    times : list of int
        The time of each step, never falling.
    batch : int
        Samples of a shared buffer.
    parts : dict value -> (value, numbers)
        Values that lie within a later one (a concatenation), at so many numbers from its start.

    Notes
    -----
    A value that is written and read within one stage stays with the worker: it lives from its step to the last that
    reads it. Any other lives, for all samples, from the first time to the last.
    """
    last, parts = len(sizes) - 1, parts or {}
    whole = {v: _whole(v, parts) for v in range(last + 1)}
    used = {root: [] for root, _ in whole.values()}  # the steps that write or read each buffer
    for v, (root, _) in whole.items():
        used[root] += [v, *(k for k, sources in enumerate(reads) if v in sources)]
    inner = {root: steps for root, steps in used.items() if root != last}
    local = {root: steps for root, steps in inner.items() if times[min(steps)] == times[max(steps)]}
    shared = {root: steps for root, steps in inner.items() if root not in local}
    # a margin, as vectors may be read whole; and so that two large buffers do not lie at the same place of the cache
    local_blocks = [Block(_aligned_bytes(sizes[root] + LINE), min(s), max(s)) for root, s in local.items()]
    blocks = [Block(_aligned_bytes(sizes[r] * batch), times[min(s)], times[max(s)]) for r, s in shared.items()]
    (local_offsets, local_bytes), (offsets, shared_bytes) = place_by_lifetime(local_blocks), place_by_lifetime(blocks)
    places = {root: ("local", offset) for root, offset in zip(local, local_offsets, strict=True)}
    places |= {root: ("shared", offset) for root, offset in zip(shared, offsets, strict=True)}
    places[last] = "wanted", 0
    regions = {}
    for v, (root, begin) in whole.items():
        kind, offset = places[root]
        regions[v] = Region(kind, offset + 4 * begin, sizes[root])
    return Buffers(regions, shared_bytes, local_bytes)


def _whole(value: int, parts: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
    """The value in whose buffer another one lies, and where in it: parts of parts resolved."""
    begin = 0
    while value in parts:
        value, offset = parts[value]
        begin += offset
    return value, begin
