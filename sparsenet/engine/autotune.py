"""Which form of a layer is the fastest on this machine: candidates, measured; and the machine's peak beside them."""

import time
from collections.abc import Callable
from functools import cache, partial

import numpy as np

from ..kernels.tiling import tile_convolution, tile_product
from ..kernels.weight_packing import is_blocked
from ..machine.vectors import LINE
from ..nn.layer import Layer
from ..nn.layers import Conv2d
from .fallbacks import Run, run_blas, run_loops, run_scipy
from .folding import FrozenWeights
from .lowering import geometry_of, native_convolution, native_product, native_single
from .program import Native, Program

FORMS = ("auto", "dense", "csr", "blas", "loops", "scipy")
BLOCKS = (LINE, 4, 2)  # outputs of the blocks that have kernels
# Above these sparsities the dense forms are not even tried: the stream has won by then. Sample by sample it reads as
# many bytes of indices as of values in a fully connected layer, and wins later.
DENSE_BELOW, DENSE_BELOW_SINGLE = 0.75, 0.85
FEW = 2  # samples of a fully connected layer that are faster one by one than as lanes
TRIALS = 7  # timed calls of each candidate, at most
CLEARLY = 0.9  # what a call of Python must stay below, of the best native time, to be taken: it interrupts a program

Candidate = Native | Run


def candidates(
    form: str, layer: Layer, frozen: FrozenWeights, relu: bool, input_shape: tuple, batch: int, threads: int = 1
) -> dict[str, Callable[[], Candidate]]:
    """The forms that a layer may take, by name; each is packed (and compiled) only when called."""
    python = {"blas": run_blas, "loops": run_loops, "scipy": run_scipy}
    if form in python:
        return {form: lambda: python[form](layer, frozen, relu)}

    single = not isinstance(layer, Conv2d) and batch <= FEW

    def native(mask, block):
        if isinstance(layer, Conv2d):
            return partial(native_convolution, layer, frozen, mask, relu, input_shape, block)
        if single:
            return lambda: native_single(frozen, mask, relu)
        return lambda: native_product(frozen, mask, relu, batch, block, threads)

    pattern, found = frozen.pattern, {}
    if form in ("auto", "csr") and (form == "csr" or not pattern.all()):
        found["csr"] = native(pattern, 1)
    if form == "auto" and not pattern.all() and not single:
        found |= {f"bsr {block}x1": native(pattern, block) for block in _blocks(layer) if is_blocked(pattern, block)}
    limit = DENSE_BELOW_SINGLE if single else DENSE_BELOW
    if form == "dense" or (form == "auto" and frozen.sparsity < limit):
        found["dense"] = native(frozen.full, _dense_block(layer, input_shape, -(-batch // threads)))
        found["blas"] = lambda: run_blas(layer, frozen, relu)
    return found


def _blocks(layer: Layer) -> tuple[int, ...]:
    """Outputs of the blocks that a layer may take: none may reach over two groups of a convolution."""
    if not isinstance(layer, Conv2d):
        return BLOCKS[1:]
    outputs = layer.out_channels // layer.groups
    # a tall tile's positions lie beside each other in the window, before whose rows is one line of zeros
    tall = layer.stride[1] == 1 and layer.padding[1] <= LINE <= outputs
    return tuple(n for n in BLOCKS if (n < LINE or tall) and (layer.groups == 1 or outputs % n == 0))


def _dense_block(layer: Layer, input_shape: tuple, batch: int) -> int:
    """M of the dense form's tiles: the cheapest for this layer."""
    if isinstance(layer, Conv2d):
        g = geometry_of(layer, input_shape)
        return min(_blocks(layer) or (1,), key=lambda block: tile_convolution(g, block).cost)
    sizes = layer.in_features, layer.out_features, batch
    return min(_blocks(layer), key=lambda block: tile_product(*sizes, block).cost)


def choose(
    found: dict[str, Callable[[], Candidate]],
    input_shape: tuple,
    shape: tuple,
    batch: int,
    threads: int,
    seconds: float,
) -> tuple[str, Candidate, dict[str, float]]:
    """The fastest candidate (the only one unmeasured), and what each took: best of several interleaved calls."""
    built = {name: build() for name, build in found.items()}
    if len(built) == 1:
        return *next(iter(built.items())), {}
    runs = {name: runnable(candidate, batch, threads) for name, candidate in built.items()}
    measured = _measure(runs, (batch, *input_shape), (batch, *shape), seconds)
    handicap = {name: 1.0 if isinstance(built[name], Native) else 1 / CLEARLY for name in built}
    best = min(measured, key=lambda name: measured[name] * handicap[name])
    return best, built[best], measured


def _measure(runs: dict[str, Run], input_shape: tuple, shape: tuple, seconds: float) -> dict[str, float]:
    """Seconds that a call of each takes: the best of several, in turn."""
    x, y = np.random.default_rng(0).random(input_shape, np.float32), np.empty(shape, np.float32)
    measured = dict.fromkeys(runs, float("inf"))
    deadline = time.perf_counter() + seconds
    for trial in range(TRIALS):
        for name, run in runs.items():
            run(x, y)  # the weights of the one before are in the caches
            start = time.perf_counter()
            run(x, y)
            measured[name] = min(measured[name], time.perf_counter() - start)
        if trial and time.perf_counter() > deadline:
            break
    return measured


def pays(fused: Native, apart: list[Native], batch: int, threads: int, seconds: float) -> bool:
    """Whether one step is faster than those that it would take the place of."""
    runs = {name: Program(row, batch, threads).prepare().run for name, row in (("fused", [fused]), ("apart", apart))}
    measured = _measure(runs, (batch, fused.input_size), (batch, fused.output_size), seconds)
    return measured["fused"] < measured["apart"]


def runnable(candidate: Candidate, batch: int, threads: int) -> Run:
    """A candidate as run(x, y)."""
    return Program([candidate], batch, threads).prepare().run if isinstance(candidate, Native) else candidate


@cache
def measure_peak() -> float:
    """Multiply-adds a second of one core of this machine in float32, measured.

    A dense convolution so small that all it reads again and again stays in the first-level cache.
    """
    layer, shape = Conv2d(32, LINE, 3, padding=1), (32, 24, 24)
    frozen = FrozenWeights(layer.weight.value, None, layer.bias.value)
    run = runnable(native_convolution(layer, frozen, frozen.full, False, shape, LINE), 1, 1)
    x, y = np.ones((1, *shape), np.float32), np.empty((1, LINE, *shape[1:]), np.float32)
    run(x, y)
    best, deadline = float("inf"), time.perf_counter() + 0.05
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        run(x, y)
        best = min(best, time.perf_counter() - start)
    return layer.weight.value.size * shape[1] * shape[2] / best
