"""A network frozen for inference: `compile` -> `Plan`, plan(x) -> the network's outputs."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..checks import check_count, check_positive
from ..kernels.threads import available_threads
from ..kernels.threads import threads as use_threads
from ..nn.layer import Shape
from ..nn.layers import Conv2d, Dropout, Flatten, Linear, ReLU
from ..nn.network import Network, Node
from ..nn.normalization import BatchNorm, WeightNorm
from .native import native_single
from .program import Native, Prepared, Program
from .steps import Run, Step, freeze_plain, is_pool_of_squares, run_forward
from .tuning import FORMS, candidates, choose, measure_peak, pays, runnable
from .weights import FrozenWeights

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


def compile(
    network: Network,
    input_shape: Shape,
    *,
    batch: int = 1,
    threads: int | None = None,
    form: str = "auto",
    seconds: float = 0.05,
) -> Plan:
    """Freeze a network into a plan of float32 kernels.

    Parameters
    ----------
    input_shape : tuple
        Of one sample, (C, H, W) or (features,).
    batch : int
        The batch size that buffers and choices are made for.
    threads : int, optional
        Threads of the kernels (None: all available ones).
    form : str
        How layers with weights run. "auto" measures the forms that may be the fastest for each layer, on this machine,
        at this batch and with these threads: "dense" (by tiles in registers), "blas" (im2col and BLAS), "csr" (direct
        sparse convolution), "bsr 2x1", "bsr 4x1" and "bsr 16x1" (the same for blocks of output channels). "dense"
        measures the dense forms only; "csr" and "blas" are fixed choices, as are "loops" (plain loops over CSR, to
        read) and "scipy" (SciPy's own sparse product, the reference).
    seconds : float
        Time to spend on measuring each layer.

    Notes
    -----
    Batch normalisation is folded into the layer before it, ReLU into the kernel's last pass over its output, and behind
    a convolution max pooling of 2 x 2 squares too, where tiles allow it and it is faster (with a fixed choice, wherever
    they do); dropout disappears. The pattern of a sparse layer is its mask: a pruned weight contributes nothing, not
    0 x NaN. A layer whose fastest form is a dense one multiplies pruned weights as zeros, as the network itself does.

    A plan gives the same bits for the same samples in every call, from whichever threads. Another plan of the same
    network, for another batch or other threads or with other choices, adds in another order.
    """
    check_count("batch", batch)
    check_positive("seconds", seconds)
    threads = available_threads() if threads is None else check_count("threads", threads)
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    network = network.astype(np.float32)
    shapes = network.shapes(tuple(input_shape))
    steps, done = [], set()
    with use_threads(threads):
        for node in network.nodes:
            if node.name in done:
                continue
            step = _freeze(network, node, shapes, batch, threads, form, seconds)
            if step is not None:
                steps.append(step)
                done |= set(step.folded)
    return Plan(steps, input_shape, shapes[network.nodes[-1].name], batch, threads)


def _freeze(
    network: Network, node: Node, shapes: dict[str, Shape], batch: int, threads: int, form: str, seconds: float
) -> Step | None:
    """The step of a node with the nodes folded into it; None for one that leaves no trace."""
    if len(node.inputs) != 1:
        raise ValueError(f"layer {node.name!r} joins branches: a plan takes layers of one input")
    kind, source = type(node.layer), node.inputs[0]
    if kind in (Conv2d, Linear, WeightNorm):
        return _freeze_weighted(network, node, shapes, batch, threads, form, seconds)
    if kind in (Dropout, Flatten):
        return None
    native = freeze_plain(node.layer, shapes[source], shapes[node.name])
    run = None if native else run_forward(node.layer)
    return Step(node.name, "", shapes[source], shapes[node.name], native=native, run=run)


def _followers(network: Network, node: Node) -> Iterator[Node]:
    """The nodes behind `node` while each has one reader only."""
    readers = network.consumers(node.name)
    while len(readers) == 1 and len(readers[0].inputs) == 1:
        yield readers[0]
        readers = network.consumers(readers[0].name)


def _fold(network: Network, node: Node) -> tuple[FrozenWeights, list[str], bool]:
    """Weights with what follows folded in, the names of the folded layers, and whether the last of them is a ReLU."""
    layer = node.layer
    frozen = FrozenWeights(layer.weight.value, layer.weight.mask, layer.bias.value)
    folded = []
    for follower in _followers(network, node):
        kind = type(follower.layer)
        if kind is BatchNorm:
            frozen = frozen.fold(*follower.layer.affine())
        elif kind not in (ReLU, Dropout):
            break
        folded.append(follower.name)
        if kind is ReLU:
            return frozen, folded, True
    return frozen, folded, False


def _freeze_weighted(
    network: Network, node: Node, shapes: dict[str, Shape], batch: int, threads: int, form: str, seconds: float
) -> Step:
    frozen, folded, relu = _fold(network, node)
    layer = node.layer.layer if isinstance(node.layer, WeightNorm) else node.layer
    source, shape = node.inputs[0], shapes[node.name]
    found = candidates(form, layer, frozen, relu, shapes[source], batch, threads)
    chosen, candidate, measured = choose(found, shapes[source], shape, batch, threads, seconds)
    native, run = (candidate, None) if isinstance(candidate, Native) else (None, candidate)
    pool = _pool_behind(network, folded[-1] if folded else node.name)
    if native and pool and isinstance(layer, Conv2d):
        fused, after = found[chosen](pool=True), freeze_plain(pool.layer, shape, shapes[pool.name])
        if fused and (not measured or pays(fused, [native, after], batch, threads, seconds)):
            native, folded = fused, [*folded, pool.name]
    single = None
    if native and batch > 1 and not isinstance(layer, Conv2d):
        single = native_single(frozen, frozen.full if chosen == "dense" else frozen.pattern, relu)
    kept = frozen.pattern.sum() if chosen not in ("dense", "blas") else frozen.weight.size
    out = shapes[folded[-1] if folded else node.name]
    step = Step(node.name, chosen, shapes[source], out, native, single, run, tuple(folded))
    return replace(step, kept=int(kept) * int(np.prod(shape[1:])), measured=measured)


def _pool_behind(network: Network, name: str) -> Node | None:
    """The max pooling of 2 x 2 squares that alone reads the output of a node."""
    readers = network.consumers(name)
    if len(readers) == 1 and is_pool_of_squares(readers[0].layer):
        return readers[0]
    return None
