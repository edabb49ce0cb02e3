"""Compiled steps as one table of records that threads walk through without Python (see `machine/worker_pool.py`)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..kernels.direct_sparse_conv import TILE_CALL, ConvSizes, Scratch, TileSizes
from ..kernels.tiling import PACK_LINE
from ..machine.pointers import write_record
from ..machine.tile_shape import Tile
from ..machine.vectors import LANES, LINE
from ..machine.worker_pool import JOB, SPACING, STAGE, run_job
from .buffers import GIVEN, Buffers, Region, assign_buffers
from .entry_points import SPAN
from .records import Frame, Span

SHARED_LINE = 100  # what a cache line that two threads write to costs, in multiply-adds of a vector
WORK_FOR_A_THREAD = 150_000  # multiply-adds for which a second thread is worth the meeting at the end of a step
PARTS_PER_THREAD = 4  # the more, the better they even out, and the more often something is done twice
PAGE = 4096  # bytes


@dataclass(frozen=True, eq=False)
class CompiledStep:
    """What a compiled step needs: its code, sizes and weights, its scratch memory, and how its work divides.

    Attributes
    ----------
    code : function
        Compiles the step, once, and returns its address.
    record : dtype
        What the step reads: a `Frame`, then its sizes and weights by name.
    sizes : NamedTuple
        Sizes of the layer.
    input_sizes : tuple of int
        Numbers of one sample of each input.
    output_size : int
        Numbers of one sample of the output.
    weights : NamedTuple of arrays, optional
        Packed weights.
    multiply : partial function, optional
        Compiles the multiplier of its tile, the first argument, once, and returns its address.
    tiles : TileSizes, optional
        What the multiplier reads.
    packed, sums : int
        float32 numbers of scratch memory for each thread.
    samples : int
        Samples that one call should get: 1, or those of a few tiles of a fully connected layer.
    parts, pieces : int
        The most parts that the work on these samples divides into, and the fewest, so that scratch memory stays small.
    work : int
        Multiply-adds of these samples, or what takes as long.
    cost : float
        What the model of `tiling` thinks that the layer costs, to be compared with its other forms; 0 where it has
        none.
    """

    code: Callable[[], int]
    record: np.dtype
    sizes: tuple
    input_sizes: tuple[int, ...]
    output_size: int
    weights: tuple | None = None
    multiply: partial[int] | None = None
    tiles: TileSizes | None = None
    packed: int = 0
    sums: int = 0
    samples: int = 1
    parts: int = 1
    pieces: int = 1
    work: int = 0
    cost: float = 0.0

    @property
    def tile(self) -> Tile | None:
        """The tile that its multiplier is compiled for."""
        return self.multiply.args[0] if self.multiply else None

    def divided(self, threads: int, batch: int) -> "CompiledStep":
        """The same step for few images, its outputs divided among the threads where that is better than its areas."""
        few = isinstance(self.sizes, ConvSizes) and batch < 2 * threads and self.work >= WORK_FOR_A_THREAD
        if not few or not self._shares_outputs(threads):
            return self
        splits = min(threads, self.tiles.blocks)
        return replace(self, sizes=self.sizes._replace(splits=splits), parts=self.parts * splits)

    def _shares_outputs(self, threads: int) -> bool:
        """Whether threads lose less by packing every input each than by writing to the same cache lines.

        Threads that share the areas of an image also wait for the one that has an area more.
        """
        g, areas = self.sizes, self.parts
        pack = areas * g.channels * g.length // LINE * PACK_LINE
        lines = self.tiles.outputs * (g.area_rows if areas // threads % g.areas_x else 1)  # that two threads write to
        most = -(-areas // threads) / areas
        return pack < pack * most + (most - 1 / threads) * self.work / LANES + lines * SHARED_LINE

    def compile(self) -> None:
        """Compile its code, or read it from the cache."""
        self.code()
        if self.multiply is not None:
            self.multiply()

    def write(self, record: np.ndarray, frame: Frame, scratch: Scratch) -> None:
        """Write all that the step's code reads into its record, but for where its input and output lie."""
        write_record(record, frame)
        write_record(record["sizes"], self.sizes)
        if self.tiles is not None:
            record["multiply"] = self.multiply()
            write_record(record["tiled"], self.tiles)
            write_record(record["tiled"]["weights"], self.weights)
            write_record(record["tiled"]["scratch"], scratch)
        elif self.weights is not None:
            write_record(record["weights"], self.weights)
            if self.packed:
                write_record(record["scratch"], scratch)


class Program:
    """Compiled steps in a row for batches of up to `batch` samples and a number of threads."""

    def __init__(self, steps: list[CompiledStep], batch: int, threads: int):
        self.steps = [step.divided(threads, batch) for step in steps] if threads > 1 else steps
        self.stages = _cut_into_stages(self.steps, batch, threads)
        most = max(-(-batch // group) * parts for _, _, group, parts in self.stages)
        self.batch, self.threads = batch, min(threads, most)

    @property
    def times(self) -> list[int]:
        """The number of each step's stage."""
        return [number for number, (first, last, *_) in enumerate(self.stages) for _ in range(first, last)]

    def prepare(self) -> "Prepared":
        """Memory and table for one caller at a time, where each step reads the one before."""
        reads = [(k - 1,) for k in range(len(self.steps))]
        buffers = assign_buffers([step.output_size for step in self.steps], reads, self.times, self.batch)
        return Prepared(self, reads, buffers)


def _cut_into_stages(steps: list[CompiledStep], batch: int, threads: int) -> list[tuple[int, ...]]:
    """Rows of (first step, last step, samples of a task, parts); the steps of a stage run one after the other."""
    stages = []
    for index, step in enumerate(steps):
        parts, tasks = step.pieces, -(-batch // step.samples)
        if step.samples > 1:  # each part reads all inputs anew
            wanted = -(-threads // tasks)
        else:
            wanted = PARTS_PER_THREAD * threads if threads > 1 and batch < 2 * threads else 1
        parts = max(parts, min(step.parts, wanted, max(1, step.work * tasks // WORK_FOR_A_THREAD)))
        if stages and parts == step.samples == 1 and stages[-1][2:] == (1, 1):
            stages[-1] = (stages[-1][0], index + 1, 1, 1)
        else:
            stages.append((index, index + 1, step.samples, parts))
    return stages


class _Room:
    """Hands out places in one block of memory, each at the start of a cache line."""

    def __init__(self):
        self.bytes = 0

    def take(self, count: int) -> int:
        """Offset in bytes of `count` float32 numbers."""
        place = self.bytes
        self.bytes += -(-count * 4 // 64) * 64
        return place


def aligned_memory(size: int) -> np.ndarray:
    """Zeroed bytes that begin at a page."""
    room = np.zeros(size + PAGE, np.uint8)
    start = -room.ctypes.data % PAGE
    return room[start : start + size]


class Prepared:
    """A program with memory of its own: buffers, a workspace for each thread, the records of its steps, the job.

    One block of memory: what whole stages hand on, for the batch (unless the caller has `shared` buffers), and behind
    it the workspaces, each with the tile's call, packed input, sums, and what steps of one stage hand on, for one
    sample.

    Parameters
    ----------
    program : Program
    reads : list of tuples
        Numbers of the values that each step reads.
    buffers : Buffers
        Where the values lie.
    first : int
        The number of the value that the first step writes.
    shared : array, optional
        Memory of the shared buffers.
    """

    def __init__(
        self,
        program: Program,
        reads: list[tuple[int, ...]],
        buffers: Buffers,
        first: int = 0,
        shared: np.ndarray | None = None,
    ):
        self.threads, self.keep = program.threads, (program.steps, shared)
        self.records = [np.zeros(1, step.record) for step in program.steps]
        self.more = [np.zeros(len(step.input_sizes) - 1, SPAN) for step in program.steps]
        self.addresses = np.array([record.ctypes.data for record in self.records], np.int64)
        self.stages = np.array(program.stages, STAGE)
        local, stride = self._write_records(program.steps, buffers.local)
        inside = buffers.shared if shared is None else 0
        self.memory = aligned_memory(inside + stride * self.threads)
        base = self.memory.ctypes.data
        starts = {"given": 0, "wanted": 0, "local": local, "shared": base if shared is None else shared.ctypes.data}
        self._connect(program.steps, reads, buffers.regions, first, starts)
        self.progress = np.zeros(len(self.stages) * (1 + self.threads) * SPACING, np.int64)
        self.job = self._describe_job(base + inside, stride)
        self._job_address = self.job.ctypes.data

    def _write_records(self, steps: list[CompiledStep], local_bytes: int) -> tuple[int, int]:
        """Write the steps' records but for spans; returns where in a workspace local buffers begin, and its stride."""
        own = _Room()
        own.take(TILE_CALL.itemsize // 4)
        packed = own.take(max(step.packed for step in steps) + LINE)
        sums = own.take(max(step.sums for step in steps) + LINE)
        local = own.take(local_bytes // 4)
        for step, record, more in zip(steps, self.records, self.more, strict=True):
            frame = Frame(step.code(), more.ctypes.data, len(more))
            step.write(record[0], frame, Scratch(packed, step.packed, sums, step.sums))
        return local, -(-own.bytes // PAGE) * PAGE + 2 * 64  # not all at the same place of the cache

    def _connect(
        self,
        steps: list[CompiledStep],
        reads: list[tuple[int, ...]],
        regions: dict[int, Region],
        first: int,
        starts: dict[str, int],
    ) -> None:
        """Write the span of each input and output, and note those whose arrays are known at each call only."""
        places = {"given": [], "wanted": []}

        def write(span: np.ndarray, region: Region, size: int) -> None:
            address = starts[region.kind] + region.offset
            write_record(span, Span(address, size, region.stride, int(region.kind == "local")))
            if region.kind in places:
                places[region.kind].append(span.__array_interface__["data"][0])

        for k, (step, record, more) in enumerate(zip(steps, self.records, self.more, strict=True)):
            for span, value, size in zip([record["x"], *more.reshape(-1, 1)], reads[k], step.input_sizes, strict=True):
                write(span, Region("given", 0, size) if value == GIVEN else regions[value], size)
            write(record["y"], regions[first + k], step.output_size)
        self.x_at, self.y_at = (np.array(places[kind], np.int64) for kind in ("given", "wanted"))

    def _describe_job(self, workspaces: int, stride: int) -> np.ndarray:
        """The record that the worker pool reads."""
        job = np.zeros(1, JOB)
        job["steps"], job["workers"] = self.addresses.ctypes.data, self.threads
        job["stages"], job["stage_count"] = self.stages.ctypes.data, len(self.stages)
        job["progress"] = self.progress.ctypes.data
        job["workspace"], job["workspace_size"] = workspaces, stride
        job["x_at"], job["x_count"] = self.x_at.ctypes.data, len(self.x_at)
        job["y_at"], job["y_count"] = self.y_at.ctypes.data, len(self.y_at)
        return job

    def run(self, x: np.ndarray, y: np.ndarray) -> None:
        """Compute y (N, ...) from x (N, ...), both contiguous float32, N at most the program's batch."""
        run_job(self._job_address, x.ravel(), y.ravel(), len(x), self.threads)  # views: quicker than by reshape
