"""Steps of compiled kernels as one table that threads walk through without Python (see `kernels/crew.py`)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..kernels.direct_sparse_conv import Convolution, Target
from ..kernels.tiling import PACKED
from ..kernels.weight_packing import NOTHING, Stream
from ..machine.vectors import LANES, LINE
from ..machine.worker_pool import JOB, SPACING, run_job
from . import entry_points as calls

SHARED = 100  # what a cache line that two threads write to costs, in multiply-adds of a vector
WORTH = 150_000  # multiply-adds for which a second thread is worth the meeting at the end of a step
TURNS = 4  # parts for each thread: the more, the better they even out, and the more often something is done twice
PAGE = 4096
NO_TARGET = Target(*[0] * len(Target._fields))


@dataclass(frozen=True, eq=False)
class Native:
    """What a compiled step needs: where it is, its sizes and weights, its scratch memory, and how its work divides.

    Attributes
    ----------
    address : function
        Compiles the step, once, and returns its address.
    sizes : NamedTuple
        The numbers that the kernel reads.
    input_size, output_size : int
        Numbers of one sample.
    multiply : function, optional
        Compiles the multiplier of the tiles, once, and returns its address.
    target : Target
        What the multiplier reads.
    stream : Stream, optional
        Packed weights.
    window, sums : int
        float32 numbers of scratch memory for each thread.
    samples : int
        Samples that one call should get: 1, or those of a few tiles of a fully connected layer.
    parts, pieces : int
        The most parts that the work on these samples divides into, and the fewest, so that scratch memory stays small.
    work : int
        Multiply-adds of these samples, or what takes as long.
    """

    address: Callable[[], int]
    sizes: NamedTuple
    input_size: int
    output_size: int
    stream: Stream | None = None
    multiply: Callable[[], int] | None = None
    target: Target = NO_TARGET
    window: int = 0
    sums: int = 0
    samples: int = 1
    parts: int = 1
    pieces: int = 1
    work: int = 0

    def divided(self, threads: int, batch: int) -> "Native":
        """The same step for few images, its outputs divided among the threads where that is better than its areas."""
        few = isinstance(self.sizes, Convolution) and batch < 2 * threads and self.work >= WORTH
        if not few or not self._shares_outputs(threads):
            return self
        splits = min(threads, self.target.blocks)
        return replace(self, sizes=self.sizes._replace(splits=splits), parts=self.parts * splits)

    def _shares_outputs(self, threads: int) -> bool:
        """Whether threads lose less by packing every window each than by writing to the same cache lines.

        Threads that share the areas of an image also wait for the one that has an area more.
        """
        g, areas = self.sizes, self.parts
        pack = areas * g.channels * g.length // LINE * PACKED
        lines = self.target.outputs * (g.area_rows if areas // threads % g.areas_x else 1)  # that two threads write to
        most = -(-areas // threads) / areas
        return pack < pack * most + (most - 1 / threads) * self.work / LANES + lines * SHARED


class Program:
    """A row of native steps for batches of up to `batch` samples and a number of threads."""

    def __init__(self, natives: list[Native], batch: int, threads: int):
        self.natives = [native.divided(threads, batch) for native in natives] if threads > 1 else natives
        self.stages = np.array(_cut_into_stages(self.natives, batch, threads), np.int64)
        most = max(-(-batch // group) * parts for _, _, group, parts in self.stages.tolist())
        self.batch, self.threads = batch, min(threads, most)

    def prepare(self) -> "Prepared":
        """Memory and table for one caller at a time."""
        return Prepared(self)


def _cut_into_stages(natives: list[Native], batch: int, threads: int) -> list[tuple[int, ...]]:
    """Rows of (first step, last step, samples of a task, parts); the steps of a stage run one after the other."""
    stages = []
    for index, native in enumerate(natives):
        parts, tasks = native.pieces, -(-batch // native.samples)
        if native.samples > 1:  # each part reads all inputs anew
            wanted = -(-threads // tasks)
        else:
            wanted = TURNS * threads if threads > 1 and batch < 2 * threads else 1
        parts = max(parts, min(native.parts, wanted, max(1, native.work * tasks // WORTH)))
        if stages and parts == native.samples == 1 and stages[-1][2:] == (1, 1):
            stages[-1] = (stages[-1][0], index + 1, 1, 1)
        else:
            stages.append((index, index + 1, native.samples, parts))
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
    """A program with memory of its own: buffers, a workspace for each thread, the table, the job.

    One block of memory: what whole stages hand on, for the batch, and behind it the workspaces, each with a window,
    sums and two buffers in turn for what steps of one stage hand on, for one sample.
    """

    def __init__(self, program: Program):
        self.threads, self.keep = program.threads, program.natives
        self.stages = np.ascontiguousarray(program.stages)
        self.table = np.zeros((len(program.natives), calls.ROW), np.int64)
        workspaces, stride = self._fill_table(program.natives, program.batch)
        self.progress = np.zeros(len(self.stages) * (1 + self.threads) * SPACING, np.int64)
        self.job = self._describe_job(workspaces, stride)

    def _fill_table(self, natives: list[Native], batch: int) -> tuple[int, int]:
        """Get the memory and write where each step finds its arrays; returns address and stride of the workspaces."""
        shared, own = _Room(), _Room()
        window = own.take(max(native.window for native in natives) + LANES)
        sums = own.take(max(native.sums for native in natives) + LANES)
        largest = max(native.output_size for native in natives)
        turns = [own.take(largest + LANES), own.take(largest + LANES)]
        inside = _inside(self.stages)
        places = [turns[k % 2] if k in inside else shared.take(n.output_size * batch) for k, n in enumerate(natives)]
        stride = -(-own.bytes // PAGE) * PAGE + 2 * 64  # not all at the same place of the cache
        self.memory = _aligned(shared.bytes + stride * self.threads)
        base = self.memory.ctypes.data
        where = [place if k in inside else base + place for k, place in enumerate(places)]
        for k, native in enumerate(natives):
            frame = _frame(native, window, sums)._replace(y=where[k], y_local=int(k in inside))
            if k:
                frame = frame._replace(x=where[k - 1], x_local=int(k - 1 in inside))
            self.table[k, : calls.SIZES] = *frame, *native.target
            self.table[k, calls.SIZES : calls.SIZES + len(native.sizes)] = native.sizes
        return base + shared.bytes, stride

    def _describe_job(self, workspaces: int, stride: int) -> np.ndarray:
        """The numbers that the crew reads."""
        job, fields = np.zeros(JOB.size, np.int64), calls.Frame._fields
        job[JOB.workers] = self.threads
        job[JOB.steps], job[JOB.row] = self.table.ctypes.data, self.table.strides[0]
        job[JOB.stages], job[JOB.stage_count] = self.stages.ctypes.data, len(self.stages)
        job[JOB.progress] = self.progress.ctypes.data
        job[JOB.workspace], job[JOB.workspace_size] = workspaces, stride
        job[JOB.x] = self.table[0, fields.index("x") :].ctypes.data
        job[JOB.y] = self.table[-1, fields.index("y") :].ctypes.data
        return job

    def run(self, x: np.ndarray, y: np.ndarray) -> None:
        """Compute y (N, ...) from x (N, ...), both contiguous float32, N at most the program's batch."""
        run_job(self.job, x.ravel(), y.ravel(), len(x), self.threads)  # views: quicker than by reshape


def _inside(stages: np.ndarray) -> set[int]:
    """The steps whose output is read by the next step of the same stage only."""
    return {k for first, last, *_ in stages.tolist() for k in range(first, last - 1)}


def _frame(native: Native, window: int, sums: int) -> calls.Frame:
    stream = native.stream or Stream(*[NOTHING] * 6)
    return calls.Frame(
        call=native.address(),
        x=0,
        x_size=native.input_size,
        x_local=0,
        y=0,
        y_size=native.output_size,
        y_local=0,
        multiply=native.multiply() if native.multiply else 0,
        values=stream.values.ctypes.data,
        value_count=stream.values.size,
        entries=stream.entries.ctypes.data,
        entry_count=stream.entries.size,
        pointers=stream.pointers.ctypes.data,
        pointer_count=len(stream.pointers),
        spans=stream.spans.ctypes.data,
        bias=stream.bias.ctypes.data,
        bias_size=len(stream.bias),
        reads=stream.reads.ctypes.data,
        read_count=stream.reads.size,
        window=window,
        window_size=native.window,
        sums=sums,
        sums_size=native.sums,
    )
