"""Compiled steps as one table of records that threads walk through without Python (see `machine/worker_pool.py`)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..kernels.direct_sparse_conv import TILE_CALL, ConvSizes, Scratch, TileSizes
from ..kernels.tiling import PACK_LINE
from ..machine.pointers import write_record
from ..machine.vectors import LANES, LINE
from ..machine.worker_pool import JOB, SPACING, STAGE, run_job
from .entry_points import Frame

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
    input_size, output_size : int
        Numbers of one sample.
    weights : NamedTuple of arrays, optional
        Packed weights.
    multiply : function, optional
        Compiles the multiplier of its tiles, once, and returns its address.
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
    """

    code: Callable[[], int]
    record: np.dtype
    sizes: tuple
    input_size: int
    output_size: int
    weights: tuple | None = None
    multiply: Callable[[], int] | None = None
    tiles: TileSizes | None = None
    packed: int = 0
    sums: int = 0
    samples: int = 1
    parts: int = 1
    pieces: int = 1
    work: int = 0

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
        """Write all that the step's code reads into its record."""
        write_record(record, frame)
        write_record(record["sizes"], self.sizes)
        if self.tiles is not None:
            record["multiply"] = self.multiply()
            write_record(record["tiled"], self.tiles)
            write_record(record["tiled"]["weights"], self.weights)
            write_record(record["tiled"]["scratch"], scratch)
        elif self.weights is not None:
            write_record(record["weights"], self.weights)


class Program:
    """A row of compiled steps for batches of up to `batch` samples and a number of threads."""

    def __init__(self, steps: list[CompiledStep], batch: int, threads: int):
        self.steps = [step.divided(threads, batch) for step in steps] if threads > 1 else steps
        self.stages = _cut_into_stages(self.steps, batch, threads)
        most = max(-(-batch // group) * parts for _, _, group, parts in self.stages)
        self.batch, self.threads = batch, min(threads, most)

    def prepare(self) -> "Prepared":
        """Memory and table for one caller at a time."""
        return Prepared(self)


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


def _aligned(size: int) -> np.ndarray:
    """Zeroed bytes that begin at a page."""
    room = np.zeros(size + PAGE, np.uint8)
    start = -room.ctypes.data % PAGE
    return room[start : start + size]


class Prepared:
    """A program with memory of its own: buffers, a workspace for each thread, the records of its steps, the job.

    One block of memory: what whole stages hand on, for the batch, and behind it the workspaces, each with the tile's
    call, packed input, sums, and two buffers in turn for what steps of one stage hand on, for one sample.
    """

    def __init__(self, program: Program):
        self.threads, self.keep = program.threads, program.steps
        self.records = [np.zeros(1, step.record) for step in program.steps]
        self.addresses = np.array([record.ctypes.data for record in self.records], np.int64)
        self.stages = np.array(program.stages, STAGE)
        workspaces, stride = self._write_records(program.steps, program.batch)
        self.progress = np.zeros(len(self.stages) * (1 + self.threads) * SPACING, np.int64)
        self.job = self._describe_job(workspaces, stride)
        self._job_address = self.job.ctypes.data

    def _write_records(self, steps: list[CompiledStep], batch: int) -> tuple[int, int]:
        """Get the memory and tell each step where its arrays are; returns address and stride of the workspaces."""
        shared, own = _Room(), _Room()
        own.take(TILE_CALL.itemsize // 4)
        packed = own.take(max(step.packed for step in steps) + LANES)
        sums = own.take(max(step.sums for step in steps) + LANES)
        largest = max(step.output_size for step in steps)
        turns = [own.take(largest + LANES), own.take(largest + LANES)]
        inside = _inside(self.stages)
        places = [turns[k % 2] if k in inside else shared.take(s.output_size * batch) for k, s in enumerate(steps)]
        stride = -(-own.bytes // PAGE) * PAGE + 2 * 64  # not all at the same place of the cache
        self.memory = _aligned(shared.bytes + stride * self.threads)
        base = self.memory.ctypes.data
        where = [place if k in inside else base + place for k, place in enumerate(places)]
        for k, step in enumerate(steps):
            x = (where[k - 1], step.input_size, int(k - 1 in inside)) if k else (0, step.input_size, 0)
            frame = Frame(step.code(), *x, where[k], step.output_size, int(k in inside))
            step.write(self.records[k][0], frame, Scratch(packed, step.packed, sums, step.sums))
        return base + shared.bytes, stride

    def _describe_job(self, workspaces: int, stride: int) -> np.ndarray:
        """The record that the worker pool reads."""
        job = np.zeros(1, JOB)
        job["steps"], job["workers"] = self.addresses.ctypes.data, self.threads
        job["stages"], job["stage_count"] = self.stages.ctypes.data, len(self.stages)
        job["progress"] = self.progress.ctypes.data
        job["workspace"], job["workspace_size"] = workspaces, stride
        # the program's own input and output are known at each call only: where the first and the last step find them
        at = self.records[0].dtype.fields["x"][1], self.records[-1].dtype.fields["y"][1]
        job["x_at"], job["y_at"] = self.addresses[0] + at[0], self.addresses[-1] + at[1]
        return job

    def run(self, x: np.ndarray, y: np.ndarray) -> None:
        """Compute y (N, ...) from x (N, ...), both contiguous float32, N at most the program's batch."""
        run_job(self._job_address, x.ravel(), y.ravel(), len(x), self.threads)  # views: quicker than by reshape


def _inside(stages: np.ndarray) -> set[int]:
    """The steps whose output is read by the next step of the same stage only."""
    return {k for stage in stages for k in range(stage["first"], stage["last"] - 1)}
