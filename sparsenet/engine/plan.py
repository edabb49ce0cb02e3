"""`Plan`: a row of compiled steps; plan(x) -> the network's outputs."""

import threading
import time

import numpy as np

from ..machine.threads import threads as use_threads
from ..nn.layer import Shape
from .autotune import measure_peak, runnable
from .fallbacks import Run, Step
from .program import Prepared, Program

FLOAT = np.dtype(np.float32)  # found once: comparing and creating with it takes half as long
Segment = Program | Step  # native steps in a row, or one call of Python


class Plan:
    """A frozen network: a row of steps, and a set of buffers for each thread that calls it.

    Batches of any size go; larger ones than `batch` are cut, one sample alone takes a shorter way, and the forms of the
    layers have been chosen for `batch`. A plan may be called from several threads at once. It does not follow later
    changes of the network.
    """

    def __init__(self, steps: list[Step], input_shape: Shape, output_shape: Shape, batch: int, threads: int):
        self.steps = steps
        self.input_shape, self.output_shape = tuple(input_shape), tuple(output_shape)
        self.batch, self.threads = batch, threads
        self._segments = {size: _cut(steps, size, threads) for size in {1, batch}}
        self._local = threading.local()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs for x (N, *input_shape), float32. A new array: later calls do not change it."""
        x = self._check(x)
        count = len(x)
        out = np.empty((count, *self.output_shape), FLOAT)
        if count <= self.batch:  # without the slices, which would take as long as a small layer
            self._run(x, out)
            return out
        for start in range(0, count, self.batch):
            self._run(x[start : start + self.batch], out[start : start + self.batch])
        return out

    def _run(self, x: np.ndarray, out: np.ndarray) -> None:
        segments = self._prepared(1 if len(x) == 1 else self.batch)
        if not segments:
            out[...] = x.reshape(out.shape)
            return
        last = segments[-1]
        for segment in segments:
            run, buffer, guarded = segment
            y = out if segment is last else buffer[: len(x)]
            if guarded is None:
                run(x, y)
            else:
                with use_threads(self.threads):
                    run(x.reshape(len(x), *guarded.input_shape), y.reshape(len(x), *guarded.shape))
            x = y

    def _prepared(self, size: int) -> list[tuple[Run, np.ndarray | None, Step | None]]:
        """(run, output buffer, its step where it is a call of Python) of each segment, for the calling thread."""
        try:
            return self._local.segments[size]
        except (AttributeError, KeyError):
            cache = self._local.__dict__.setdefault("segments", {})
            return cache.setdefault(size, [_prepare(segment, size) for segment in self._segments[size]])

    def profile(self, x: np.ndarray) -> dict[str, float]:
        """Seconds that each step takes for one batch x, by step name, in one run."""
        x, seconds = self._check(x), {}
        if len(x) > self.batch:
            raise ValueError(f"profile takes at most one batch of {self.batch}, not {len(x)}")
        cache = self._local.__dict__.setdefault("steps", {})
        for step in self.steps:
            if step.name not in cache:
                run = runnable(step.native, self.batch, self.threads) if step.native else step.run
                cache[step.name] = run, np.empty((self.batch, *step.shape), np.float32)
            run, buffer = cache[step.name]
            x, y = x.reshape(len(x), *step.input_shape), buffer[: len(x)]
            with use_threads(self.threads):
                start = time.perf_counter()
                run(x, y)
                seconds[step.name] = time.perf_counter() - start
            x = y
        return seconds

    def explain(self) -> str:
        """A line per step: layer, form, output shape, time for a batch, share of the machine's peak, why this form.

        The peak is measured now: multiply-adds a second of one core with all operands in the first-level cache, times
        the threads. The share counts multiply-adds with the weights of the form: the kept ones, in a dense form all.
        """
        peak = measure_peak() * self.threads
        x = np.random.default_rng(0).random((self.batch, *self.input_shape), np.float32)
        runs = [self.profile(x) for _ in range(6)][1:]
        lines = [
            f"plan for batch {self.batch}, {self.threads} thread{'s' * (self.threads != 1)}; "
            f"measured peak {2 * peak / 1e9:.0f} GFLOP/s"
        ]
        for step in self.steps:
            folded = "".join(f" + {name}" for name in step.folded)
            seconds = min(run[step.name] for run in runs)
            share = f"{step.kept * self.batch / seconds / peak:5.0%} of peak" if step.kept else ""
            line = (
                f"  {step.name + folded:30} {step.form or '-':8} {step.shape!s:16} {1e6 * seconds:9,.1f} us {share:14}"
            )
            lines.append(f"{line} {_reason(step)}".rstrip())
        return "\n".join(lines)

    def _check(self, x: np.ndarray) -> np.ndarray:
        if not isinstance(x, np.ndarray) or x.dtype != FLOAT:
            raise TypeError(f"a plan takes float32 arrays, not {getattr(x, 'dtype', type(x).__name__)}")
        if x.shape[1:] != self.input_shape or not x.ndim:
            raise ValueError(f"this plan takes (N, {', '.join(map(str, self.input_shape))}), not shape {x.shape}")
        return np.ascontiguousarray(x)


def _reason(step: Step) -> str:
    """Why a step has its form: what the candidates took, if there was more than one."""
    if step.measured:
        tried = sorted(step.measured.items(), key=lambda pair: pair[1])
        return "candidates, us: " + ", ".join(f"{name} {1e6 * seconds:,.1f}" for name, seconds in tried)
    return "the only candidate" if step.form else ""


def _cut(steps: list[Step], batch: int, threads: int) -> list[Segment]:
    """Segments for batches of this size: native steps in a row are one program."""
    segments, row = [], []
    for step in steps:
        native = step.single if batch == 1 and step.single is not None else step.native
        if native is not None:
            row.append(native)
            continue
        segments += [Program(row, batch, threads)] if row else []
        segments, row = [*segments, step], []
    return segments + ([Program(row, batch, threads)] if row else [])


def _prepare(segment: Segment, batch: int) -> tuple[Run, np.ndarray | None, Step | None]:
    if isinstance(segment, Step):
        return segment.run, np.empty((batch, *segment.shape), np.float32), segment
    prepared: Prepared = segment.prepare()
    return prepared.run, np.empty((batch, segment.natives[-1].output_size), np.float32), None
