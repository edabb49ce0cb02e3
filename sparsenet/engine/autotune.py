"""Which form of a layer is the fastest on this machine: candidates, measured."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.sparse import bsr_array, csr_array

from ..kernels.sparse_matrix import is_blocked
from ..kernels.tiling import tile_convolution, tile_linear
from ..machine.vectors import LINE, WIDTHS
from ..nn.layers import Conv2d
from .fallbacks import Run, run_blas, run_csr_loops, run_scipy
from .folding import FoldedLayer
from .lowering import (
    IN_PLACE,
    can_be_in_place,
    geometry_of,
    lower_convolution,
    lower_in_place,
    lower_linear,
    lower_single,
    name_of,
)
from .peak import numbers_at_once
from .program import CompiledStep, Program

ANY_DENSE = "any dense"  # the faster of "dense" and "blas"
FORMS = ("auto", "dense", "csr", "blas", "csr loops", "scipy")
BLOCKS = (LINE, 4, 2)  # outputs of the blocks that have kernels
# Above these sparsities the dense forms are not even tried: the sparse one has won by then. Sample by sample it reads
# as many bytes of indices as of values in a fully connected layer, and wins later.
MOST_DENSE, MOST_DENSE_SINGLE = 0.75, 0.85
FEW_SAMPLES = 2  # of a fully connected layer, which are faster one by one than as lanes
TRIALS = 7  # timed calls of each candidate, at most
UNLIKELY = 1.5  # times as much as the best form by the model: a form that wins nevertheless is measured again
DOUBTFUL = 2  # times as slow, against the best form, as by the model: a form with about its cost is measured again
REPEATS = 3  # of such a measurement, at most
PYTHON_GAIN = 0.9  # of the best compiled time: what a call of Python must stay below, as it interrupts a program

Matrix = csr_array | bsr_array


@dataclass(frozen=True, eq=False)
class Candidate:
    """One form that a layer may take: what gives the matrix that it multiplies by, and the step or a call of Python."""

    matrix: Callable[[], Matrix]
    compiled: CompiledStep | None = None
    run: Run | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """The form that was chosen, by name; seconds that each candidate took; what the model thinks that each costs."""

    form: str
    candidate: Candidate
    measured: dict[str, float]
    costs: dict[str, float]


@dataclass(frozen=True)
class Setting:
    """What a layer is tuned for."""

    input_shape: tuple[int, ...]
    shape: tuple[int, ...]
    batch: int
    threads: int
    seconds: float


def candidates(form: str, folded: FoldedLayer, setting: Setting) -> dict[str, Callable[[], Candidate]]:
    """The forms that a layer may take, by name; each is packed only when called."""
    python = {"csr loops": run_csr_loops, "scipy": run_scipy}
    if form in python:
        return {form: lambda: Candidate(lambda: folded.matrix, run=python[form](folded))}
    base, way = _split(form)
    found, several = {}, base in ("auto", ANY_DENSE)
    for name, (rows, matrix) in _matrices(base, folded, setting).items():
        if several or way != IN_PLACE:
            for exact, widths in _widths(name, rows, several and not _is_single(folded, setting), way):
                found[exact] = partial(_lower, folded, matrix, setting, widths)
        in_place = isinstance(folded.layer, Conv2d) and can_be_in_place(folded.layer) and name in ("csr", "dense")
        if in_place and (several or way == IN_PLACE):
            single = matrix if rows == 1 else partial(folded.as_dense, 1)
            found[f"{name}, {IN_PLACE}"] = partial(_lower_in_place, folded, single, setting)
    if base in ("blas", ANY_DENSE) or (base == "auto" and _may_be_dense(folded, setting)):
        found["blas"] = lambda: Candidate(partial(folded.as_dense, 1), run=run_blas(folded))
    return found


def _matrices(base: str, folded: FoldedLayer, setting: Setting) -> dict[str, tuple[int, Callable[[], Matrix]]]:
    """The compiled forms: outputs of a block, and what gives the matrix."""
    full, single, found = folded.sparsity == 0, _is_single(folded, setting), {}
    if base == "csr" or (base == "auto" and not full):
        found["csr"] = 1, lambda: folded.matrix
    for rows in _blocks(folded) if not single and not full else ():
        name = f"bsr {rows}x1"
        if base in ("auto", name) and is_blocked(folded.matrix, rows):
            found[name] = rows, partial(folded.as_blocks, rows)
    if base in ("dense", ANY_DENSE) or (base == "auto" and _may_be_dense(folded, setting)):
        rows = _dense_block(folded, setting)
        found["dense"] = rows, partial(folded.as_dense, rows)
    return found


def _may_be_dense(folded: FoldedLayer, setting: Setting) -> bool:
    return folded.sparsity < (MOST_DENSE_SINGLE if _is_single(folded, setting) else MOST_DENSE)


def _split(form: str) -> tuple[str, str]:
    """A form of the engine's own kernels, and how its tiles are made: "8 lanes", "in place", or ""."""
    base, _, way = form.partition(", ")
    own = re.fullmatch(r"csr|dense|bsr \d+x1", base) and re.fullmatch(rf"(4|8|16) lanes|{IN_PLACE}", way)
    return (base, way) if own else (form, "")


def _widths(name: str, rows: int, several: bool, way: str) -> list[tuple[str, tuple[int, ...]]]:
    """The exact names of a form, with the widths that its tiles may have: those that are named, or all."""
    if several and rows < LINE and len(WIDTHS) > 1:
        return [(name_of(name, lanes), (lanes,)) for lanes in WIDTHS]
    return [(name, tuple(lanes for lanes in WIDTHS if way == f"{lanes} lanes") or WIDTHS)]


def _is_single(folded: FoldedLayer, setting: Setting) -> bool:
    return not isinstance(folded.layer, Conv2d) and setting.batch <= FEW_SAMPLES


def _lower(folded: FoldedLayer, matrix: Callable[[], Matrix], setting: Setting, widths: tuple[int, ...]) -> Candidate:
    if isinstance(folded.layer, Conv2d):
        step = lower_convolution(folded, matrix(), setting.input_shape, batch=setting.batch, widths=widths)
    elif _is_single(folded, setting):
        step = lower_single(folded, matrix(), batch=setting.batch)
    else:
        step = lower_linear(folded, matrix(), setting.batch, setting.threads, widths=widths)
    return Candidate(matrix, step)


def _lower_in_place(folded: FoldedLayer, matrix: Callable[[], Matrix], setting: Setting) -> Candidate:
    return Candidate(matrix, lower_in_place(folded, matrix(), setting.input_shape))


def _dense_block(folded: FoldedLayer, setting: Setting) -> int:
    """Outputs of the blocks of the dense form: those of the cheapest tiles for this layer."""
    if _is_single(folded, setting):
        return 1
    batch = -(-setting.batch // setting.threads)

    def cost(rows: int) -> float:
        if isinstance(folded.layer, Conv2d):
            g = geometry_of(folded.layer, setting.input_shape)
            return tile_convolution(g, rows, samples=setting.batch, at_once=numbers_at_once()).cost
        inputs, outputs = folded.layer.in_features, folded.layer.out_features
        return tile_linear(inputs, outputs, batch, rows, at_once=numbers_at_once()).cost

    return min(_blocks(folded) or (1,), key=cost)


def _blocks(folded: FoldedLayer) -> tuple[int, ...]:
    """Outputs of the blocks that a layer may take: none may reach over two groups of a convolution."""
    layer = folded.layer
    if not isinstance(layer, Conv2d):
        return BLOCKS[1:]
    outputs = layer.out_channels // layer.groups
    # where lanes are channels, positions lie beside each other, and before a row is one line of zeros
    by_channel = layer.stride[1] == 1 and layer.padding[1] <= LINE <= outputs
    return tuple(n for n in BLOCKS if (n < LINE or by_channel) and (layer.groups == 1 or outputs % n == 0))


def choose(found: Mapping[str, Callable[[], Candidate]], setting: Setting) -> Choice:
    """The fastest candidate (the only one unmeasured), and what each took: best of several interleaved calls.

    A winner that the model of costs thinks much slower than another one may owe it to a burst of the machine's other
    users: then all are measured again. Of the widths of a form's tiles those are measured of which the model is unsure.
    """
    built = {name: build() for name, build in found.items()}
    costs = {name: candidate.compiled.cost for name, candidate in built.items() if candidate.compiled}
    built = {name: candidate for name, candidate in built.items() if not _is_poor_width(name, costs)}
    if len(built) == 1:
        return Choice(*next(iter(built.items())), {}, costs)
    runs = {name: runnable(candidate, setting) for name, candidate in built.items()}
    handicap = {name: 1.0 if candidate.compiled else 1 / PYTHON_GAIN for name, candidate in built.items()}
    measured = dict.fromkeys(runs, float("inf"))
    for _ in range(1 + REPEATS):
        again = _measure(runs, (setting.batch, *setting.input_shape), (setting.batch, *setting.shape), setting.seconds)
        measured = {name: min(measured[name], again[name]) for name in runs}
        best = min(measured, key=lambda name: measured[name] * handicap[name])
        if not is_unlikely(best, costs) and not is_doubtful(best, costs, measured):
            break
    return Choice(best, built[best], measured, costs)


def is_unlikely(best: str, costs: Mapping[str, float]) -> bool:
    """Whether the model thinks that another form is much faster than this one.

    One that the model does not know multiplies every weight, as "dense" does; where that is not known either, nothing
    is unlikely.

    Examples
    --------
    >>> is_unlikely("dense", {"csr": 1.0, "dense": 3.0}), is_unlikely("blas", {"csr": 1.0, "dense": 1.2})
    (True, False)
    """
    dense = (cost for name, cost in costs.items() if _split(name)[0] == "dense")
    cost = costs.get(best) or min(dense, default=0.0)
    return cost > UNLIKELY * min((each for each in costs.values() if each), default=cost)


def is_doubtful(best: str, costs: Mapping[str, float], measured: Mapping[str, float]) -> bool:
    """Whether a form that the model thinks about as fast took much longer: perhaps it had bad luck all the time.

    Examples
    --------
    >>> is_doubtful("csr", {"csr": 1.2, "bsr 2x1": 1.0}, {"csr": 0.02, "bsr 2x1": 0.05})
    True
    """
    rivals = [
        name for name, cost in costs.items() if name in measured and cost and cost <= UNLIKELY * costs.get(best, 0)
    ]
    return any(measured[name] / costs[name] > DOUBTFUL * measured[best] / costs[best] for name in rivals)


def _is_poor_width(name: str, costs: Mapping[str, float]) -> bool:
    """Whether the model is sure that the same form is faster in tiles of another width."""
    form, _ = _split(name)
    same = {each: costs[each] for each in (name_of(form, lanes) for lanes in WIDTHS) if each in costs}
    return name in same and same[name] > UNLIKELY * min(same.values())


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


def pays(fused: CompiledStep, apart: list[CompiledStep], setting: Setting) -> bool:
    """Whether one step is faster than those that it would take the place of."""
    rows = {"fused": [fused], "apart": apart}
    runs = {name: Program(row, setting.batch, setting.threads).prepare().run for name, row in rows.items()}
    sizes = (setting.batch, *fused.input_sizes), (setting.batch, fused.output_size)
    measured = _measure(runs, *sizes, setting.seconds)
    return measured["fused"] < measured["apart"]


def runnable(candidate: Candidate, setting: Setting) -> Run:
    """A candidate as run(x, y)."""
    if candidate.compiled is None:
        return candidate.run
    return Program([candidate.compiled], setting.batch, setting.threads).prepare().run
