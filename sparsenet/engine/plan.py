"""`Plan`: compiled steps, each reading what earlier ones wrote; plan(x) -> the network's outputs."""

import threading
import time
from collections.abc import Callable

import numpy as np
from scipy.sparse import bsr_array, csr_array

from ..checks import check_plain
from ..nn.layer import Shape
from .layout import FLOAT, Layout, Step
from .lowering import exact_form
from .peak import measure_peak


class Plan:
    """A frozen network: steps, the last of which writes the output, and buffers for each thread that calls it.

    Batches of any size go; larger ones than `batch` are cut, one sample alone takes a shorter way, and the forms of the
    layers have been chosen for `batch`. A plan may be called from several threads at once. It does not follow later
    changes of the network, of which it keeps a copy: pickled and copied plans are compiled again from that, each layer
    in the same form.
    """

    def __init__(
        self,
        steps: list[Step],
        input_shape: Shape,
        output_shape: Shape,
        batch: int,
        threads: int,
        again: "Callable[[], Plan]",
    ):
        self.steps = steps
        self.input_shape, self.output_shape = tuple(input_shape), tuple(output_shape)
        self.batch, self.threads, self._again = batch, threads, again
        self._layouts = {size: Layout(steps, size, threads) for size in {1, batch}}
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
        for run in segments:
            run(x, out)

    def _prepared(self, size: int) -> list[Callable[[np.ndarray, np.ndarray], None]]:
        """The segments of the calling thread, with buffers of their own."""
        try:
            return self._local.segments[size]
        except (AttributeError, KeyError):
            return self._local.__dict__.setdefault("segments", {}).setdefault(size, self._layouts[size].prepare())

    def __reduce__(self):
        return self._again, ()

    def matrices(self) -> dict[str, csr_array | bsr_array]:
        """The weights that each layer multiplies by, out_channels x in_channels kh kw, by its name.

        A `csr_array`, or a `bsr_array` for the forms in blocks (in a dense form with every block present; where the
        channels do not divide into blocks a `csr_array` of the same entries). Batch normalisation is folded in. The
        pattern is the mask: a kept weight that is 0.0 is an explicit zero. These are copies.
        """
        return {step.name: _trimmed(step.matrix(), step.shape[0]) for step in self.steps if step.matrix is not None}

    def warm_up(self) -> None:
        """Compile all that runs, for a batch and for one sample, and get the buffers of the calling thread."""
        for count in {1, min(2, self.batch)}:
            self(np.zeros((count, *self.input_shape), FLOAT))

    def profile(self, x: np.ndarray) -> dict[str, float]:
        """Seconds that each step takes for one batch x, by step name, in one run: each by itself, for all samples."""
        x, seconds = self._check(x), {}
        if len(x) > self.batch:
            raise ValueError(f"profile takes at most one batch of {self.batch}, not {len(x)}")
        if not hasattr(self._local, "apart"):
            self._local.apart = Layout(self.steps, self.batch, self.threads, apart=True).prepare()
        y = np.empty((len(x), *self.output_shape), FLOAT)
        for step, run in zip(self.steps, self._local.apart, strict=True):
            start = time.perf_counter()
            run(x, y)
            seconds[step.name] = time.perf_counter() - start
        return seconds

    def explain(self, *, verbose: bool = False) -> str:
        """A line per step: layer, form, output shape, time for a batch, share of the machine's peak, why this form.

        With `verbose` also what the model of costs thought of the forms, the best one 1, and the tile that was chosen.

        The peak is multiply-adds a second of one core with all operands in registers, measured once in a process, times
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
            share = f"{step.macs * self.batch / seconds / peak:5.0%} of peak" if step.macs else ""
            line = (
                f"  {step.name + folded:30} {step.form or '-':8} {step.shape!s:16} {1e6 * seconds:9,.1f} us {share:14}"
            )
            lines.append(f"{line} {_reason(step)}{_model(step) if verbose else ''}".rstrip())
        return "\n".join(lines)

    def _check(self, x: np.ndarray) -> np.ndarray:
        if type(x) is not np.ndarray:
            check_plain("x", x)
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


def _model(step: Step) -> str:
    """What the model of costs thought: the forms against the best one, the tile."""
    known = sorted((cost, name) for name, cost in step.costs.items() if cost)
    if not known:
        return ""
    way, tile = exact_form(step.form, step.compiled).partition(", ")[2], step.compiled.tile if step.compiled else None
    if tile:
        way = f"{tile.outputs} outputs x {tile.rows} rows x {tile.across} vectors of {tile.lanes}"
    return "; model: " + ", ".join(f"{name} {cost / known[0][0]:.2f}" for cost, name in known) + f"; {way}" * bool(way)


def _trimmed(matrix: csr_array | bsr_array, outputs: int) -> csr_array | bsr_array:
    """A copy without the rows of zeros that fill the last block."""
    return matrix.copy() if matrix.shape[0] == outputs else matrix.tocsr()[:outputs]
