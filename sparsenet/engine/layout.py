"""The steps of a plan for batches of one size: which run as one program, and where what they hand on lies."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import bsr_array, csr_array

from ..machine.threads import threads as use_threads
from ..nn.network import INPUT
from .buffers import GIVEN, assign_buffers
from .fallbacks import Run
from .program import CompiledStep, Prepared, Program, aligned_memory
from .records import ConcatSizes

FLOAT = np.dtype(np.float32)  # found once: comparing and creating with it takes half as long


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a plan: y (N, *shape) from one or more x (N, *input_shape), all contiguous.

    Attributes
    ----------
    name : str
        The layer it comes from.
    form : str
        How a layer with weights runs (see `compile`), else "".
    input_shapes, shape : tuple
        Of each x and of y, without the sample axis.
    inputs : tuple of str
        The steps whose outputs it reads; "input" is what the plan is given.
    compiled : CompiledStep, optional
        The step for compiled programs; without it `run(*inputs, y)` is called.
    single : CompiledStep, optional
        What runs in its place for one sample alone.
    folded : names
        The layers behind it that are folded into it.
    macs : int
        Multiply-adds for one sample with the weights of its form: the kept ones, in a dense form all.
    measured : dict form -> seconds
        What each candidate took for a batch when the plan chose.
    costs : dict form -> float
        What the model thinks that each costs, 0 where it does not know; for comparison with each other only.
    matrix : function () -> csr_array or bsr_array, optional
        The weights that it multiplies by.
    """

    name: str
    form: str
    input_shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    inputs: tuple[str, ...] = (INPUT,)
    compiled: CompiledStep | None = None
    single: CompiledStep | None = None
    run: Run | None = None
    folded: tuple[str, ...] = ()
    macs: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    matrix: Callable[[], csr_array | bsr_array] | None = None

    def compile(self) -> None:
        """Compile its code, for a batch and for one sample; a call of Python compiles at its first call."""
        for step in (self.compiled, self.single):
            if step is not None:
                step.compile()


class Layout:
    """Steps as segments for batches of up to `batch` samples: programs of compiled steps in a row, and calls of Python.

    The last step writes the output. With `apart` every step is a segment of its own, to be timed.
    """

    def __init__(self, steps: list[Step], batch: int, threads: int, *, apart: bool = False):
        self.steps, self.batch, self.threads = steps, batch, threads
        numbers = {INPUT: GIVEN} | {step.name: number for number, step in enumerate(steps)}
        self.reads = [tuple(numbers[name] for name in step.inputs) for step in steps]
        self.compiled = [s.single if batch == 1 and s.single is not None else s.compiled for s in steps]
        self.segments = self._cut(apart)
        times = []
        for _, program in self.segments:
            start = times[-1] + 1 if times else 0
            times += [start] if program is None else [start + time for time in program.times]
        sizes = [int(np.prod(step.shape)) for step in steps]
        self.buffers = assign_buffers(sizes, self.reads, times, batch, self._find_parts()) if steps else None

    def _cut(self, apart: bool) -> list[tuple[int, Program | None]]:
        """(number of the first step, the program) of each segment, None for a call of Python."""
        rows, open_row = [], False
        for number, step in enumerate(self.compiled):
            if step is None or apart or not open_row:
                rows.append((number, [] if step is None else [step]))
            else:
                rows[-1][1].append(step)
            open_row = step is not None
        return [(first, Program(row, self.batch, self.threads) if row else None) for first, row in rows]

    def _find_parts(self) -> dict[int, tuple[int, int]]:
        """Inputs of concatenations that are written straight to their place in its output: value -> (whole, place).

        All that writes and reads them must be compiled, and go sample by sample: then samples may be further apart.
        """
        program_of = {}
        for first, program in self.segments:
            program_of |= {first + k: first for k in range(len(program.steps))} if program else {}
        spaced = {k for k in program_of if self.compiled[k].samples == 1}
        parts = {}
        for whole, sources in enumerate(self.reads[:-1]):  # the output of the plan is the caller's array
            if whole not in spaced or not isinstance(self.compiled[whole].sizes, ConcatSizes):
                continue
            place = 0
            for value, size in zip(sources, self.compiled[whole].input_sizes, strict=True):
                users = {value, *(k for k, read in enumerate(self.reads) if value in read)}
                near = users <= spaced and {program_of[k] for k in users} == {program_of[whole]}
                if near and value not in parts and sources.count(value) == 1:
                    parts[value] = whole, place
                place += size
        return parts

    def prepare(self) -> list[Callable[[np.ndarray, np.ndarray], None]]:
        """Each segment as run(x, y), x the plan's input and y its output; with memory for one caller at a time."""
        if not self.steps:
            return []
        shared = aligned_memory(self.buffers.shared)
        runs = []
        for first, program in self.segments:
            if program is None:
                runs.append(self._call_python(first, shared))
            else:
                reads = self.reads[first : first + len(program.steps)]
                runs.append(Prepared(program, reads, self.buffers, first, shared).run)
        return runs

    def _call_python(self, number: int, shared: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
        step, reads = self.steps[number], self.reads[number]
        inputs = [self._array(v, shape, shared) for v, shape in zip(reads, step.input_shapes, strict=True)]
        output = self._array(number, step.shape, shared)

        def run(x, y):
            count = len(x)
            arrays = [
                x.reshape(count, *shape) if array is None else array[:count]
                for array, shape in zip(inputs, step.input_shapes, strict=True)
            ]
            with use_threads(self.threads):
                step.run(*arrays, y.reshape(count, *step.shape) if output is None else output[:count])

        return run

    def _array(self, value: int, shape: tuple[int, ...], shared: np.ndarray) -> np.ndarray | None:
        """A value in a shared buffer as an array (batch, *shape); None for what the caller has."""
        region = None if value == GIVEN else self.buffers.regions[value]
        if region is None or region.kind == "wanted":
            return None
        end = region.offset + 4 * self.batch * int(np.prod(shape))
        return shared[region.offset : end].view(FLOAT).reshape(self.batch, *shape)
