"""A network frozen for inference: `compile` -> `Plan`, plan(x) -> the network's outputs."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..checks import check_count
from ..kernels.threads import available_threads
from ..kernels.threads import threads as use_threads
from ..nn.layer import Layer, Shape
from ..nn.layers import Conv2d, Dropout, Flatten, Linear, ReLU
from ..nn.network import INPUT, Network, Node
from ..nn.normalization import BatchNorm, WeightNorm
from .steps import FrozenWeights, Run, Step, freeze_conv, freeze_linear, freeze_plain, freeze_scipy

FORMS = ("auto", "dense", "csr", "scipy")
TRIALS = 5  # timed calls of each form of a layer when the plan chooses


class Plan:
    """A frozen network: a list of steps and a set of buffers per thread that calls it.

    Batches of any size go; larger ones than `batch` are cut, and the steps have been chosen for `batch`. A plan may be
    called from several threads at once. It does not follow later changes of the network.
    """

    def __init__(self, steps: list[Step], input_shape: Shape, output_shape: Shape, batch: int, threads: int):
        self.steps = steps
        self.input_shape, self.output_shape = tuple(input_shape), tuple(output_shape)
        self.batch, self.threads = batch, threads
        self._local = threading.local()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs for x (N, *input_shape), float32. A new array: later calls do not change it."""
        x = self._check(x)
        out = np.empty((len(x), *self.output_shape), np.float32)
        with use_threads(self.threads):
            for start in range(0, len(x), self.batch):
                last = piece = x[start : start + self.batch]
                for step, source, last in self._arguments(piece):
                    step.run(source, last)
                out[start : start + self.batch] = last.reshape(len(piece), *self.output_shape)
        return out

    def profile(self, x: np.ndarray) -> dict[str, float]:
        """Seconds that each step takes for one batch x, by step name, in one run."""
        x, seconds = self._check(x), {}
        if len(x) > self.batch:
            raise ValueError(f"profile takes at most one batch of {self.batch}, not {len(x)}")
        with use_threads(self.threads):
            for step, source, target in self._arguments(x):
                start = time.perf_counter()
                step.run(source, target)
                seconds[step.name] = time.perf_counter() - start
        return seconds

    def explain(self) -> str:
        """One line per step: layer, form, what is folded into it, output shape."""
        lines = [f"plan for batch {self.batch}, {self.threads} thread{'s' * (self.threads != 1)}"]
        for step in self.steps:
            folded = "".join(f" + {name}" for name in step.folded)
            lines.append(f"  {step.name + folded:30} {step.form or '-':6} {step.shape}")
        return "\n".join(lines)

    def _check(self, x: np.ndarray) -> np.ndarray:
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            raise TypeError(f"a plan takes float32 arrays, not {getattr(x, 'dtype', type(x).__name__)}")
        if x.shape[1:] != self.input_shape:
            raise ValueError(f"this plan takes (N, {', '.join(map(str, self.input_shape))}), not shape {x.shape}")
        return np.ascontiguousarray(x)

    def _buffers(self) -> dict[str, np.ndarray]:
        if not hasattr(self._local, "buffers"):
            self._local.buffers = {s.name: np.empty((self.batch, *s.shape), np.float32) for s in self.steps}
        return self._local.buffers

    def _arguments(self, x: np.ndarray) -> Iterator[tuple[Step, np.ndarray, np.ndarray]]:
        """(step, its input, its output) in order, for one batch; a flatten is a view, as all buffers are contiguous."""
        values = {INPUT: x} | {name: buffer[: len(x)] for name, buffer in self._buffers().items()}
        for step in self.steps:
            yield step, values[step.source].reshape(len(x), *step.input_shape), values[step.name]


def compile(
    network: Network,
    input_shape: Shape,
    *,
    batch: int = 1,
    threads: int | None = None,
    form: str = "auto",
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
    form : "auto", "dense", "csr" or "scipy"
        How layers with weights run. "auto" measures the dense and the CSR form of each masked layer on this machine and
        takes the faster; "scipy" is the reference path through SciPy's own sparse product.

    Notes
    -----
    Batch normalisation is folded into the layer before it, ReLU into the kernel's last pass over its output; dropout
    disappears. The pattern of a sparse layer is its mask.
    """
    check_count("batch", batch)
    threads = available_threads() if threads is None else check_count("threads", threads)
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    network = network.astype(np.float32)
    shapes = network.shapes(tuple(input_shape))
    steps, done = [], set()
    aliases = {INPUT: INPUT}  # layers that are folded away -> the step that holds their output
    with use_threads(threads):
        for node in network.nodes:
            if node.name in done:
                continue
            step = _freeze(network, node, shapes, batch, form)
            if step is not None:
                steps.append(replace(step, source=aliases[node.inputs[0]]))
            names = [node.name, *(step.folded if step else ())]
            aliases |= dict.fromkeys(names, step.name if step else aliases[node.inputs[0]])
            done |= set(names)
    return Plan(steps, input_shape, shapes[network.nodes[-1].name], batch, threads)


def _freeze(network: Network, node: Node, shapes: dict[str, Shape], batch: int, form: str) -> Step | None:
    """The step of a node with the nodes folded into it; None for one that leaves no trace."""
    if len(node.inputs) != 1:
        raise ValueError(f"layer {node.name!r} joins branches: a plan takes layers of one input")
    kind = type(node.layer)
    if kind in (Conv2d, Linear, WeightNorm):
        return _freeze_weighted(network, node, shapes, batch, form)
    if kind in (Dropout, Flatten):
        return None
    source = node.inputs[0]
    return Step(node.name, "", source, shapes[source], shapes[node.name], freeze_plain(node.layer))


def _followers(network: Network, node: Node) -> Iterator[Node]:
    """The nodes behind `node` while each has one reader only."""
    readers = network.consumers(node.name)
    while len(readers) == 1 and len(readers[0].inputs) == 1:
        yield readers[0]
        readers = network.consumers(readers[0].name)


def _freeze_weighted(network: Network, node: Node, shapes: dict[str, Shape], batch: int, form: str) -> Step:
    layer = node.layer
    frozen = FrozenWeights(layer.weight.value, layer.weight.mask, layer.bias.value)
    folded, relu = [], False
    for follower in _followers(network, node):
        kind = type(follower.layer)
        if kind is BatchNorm:
            frozen = frozen.fold(*follower.layer.affine())
        elif kind not in (ReLU, Dropout):
            break
        folded.append(follower.name)
        relu = kind is ReLU
        if relu:
            break
    plain = layer.layer if isinstance(layer, WeightNorm) else layer
    chosen, run = _choose(form, plain, frozen, relu, (batch, *shapes[node.inputs[0]]), (batch, *shapes[node.name]))
    source = node.inputs[0]
    return Step(node.name, chosen, source, shapes[source], shapes[node.name], run, tuple(folded))


def _choose(
    form: str, layer: Layer, frozen: FrozenWeights, relu: bool, input_shape: Shape, output_shape: Shape
) -> tuple[str, Run]:
    """The form asked for, or the faster of dense and CSR by measurement on random inputs."""
    is_conv = isinstance(layer, Conv2d)
    if form == "scipy":
        return form, freeze_scipy(layer if is_conv else None, frozen, relu)

    def build(form):
        return freeze_conv(form, layer, frozen, relu) if is_conv else freeze_linear(form, frozen, relu)

    if form != "auto":
        return form, build(form)
    if frozen.mask is None or frozen.mask.all():
        return "dense", build("dense")
    x = np.random.default_rng(0).random(input_shape, np.float32)
    y = np.empty(output_shape, np.float32)
    runs = {name: build(name) for name in ("dense", "csr")}
    seconds = {name: [] for name in runs}
    for trial in range(TRIALS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x, y)
            if trial:  # the first call compiles
                seconds[name].append(time.perf_counter() - start)
    best = min(seconds, key=lambda name: min(seconds[name]))
    return best, runs[best]
