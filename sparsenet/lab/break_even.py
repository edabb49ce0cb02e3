"""Break-even sparsity: from how many zeros on the sparse form of a layer is the faster one, on this machine."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from ..checks import check_count, check_fraction, check_positive
from ..engine.compile import compile
from ..engine.plan import Plan
from ..nn.layers import Conv2d, Linear, ReLU
from ..nn.network import Network, chain
from ..pruning.masks import make_masks
from .environment import describe_environment
from .latency import Latency, in_turn
from .tables import describe_batch, format_table

LAYER = "layer"


@dataclass(frozen=True)
class LayerShape:
    """A layer to measure: a convolution where `kernel` and `size` are given, else a linear layer.

    Attributes
    ----------
    inputs, outputs : int
        Channels of a convolution, features of a linear layer.
    kernel, stride : int
        Of a square convolution, with padding kernel // 2.
    size : int
        Height and width of the convolution's input.
    """

    inputs: int
    outputs: int
    kernel: int | None = None
    stride: int = 1
    size: int | None = None

    def __post_init__(self):
        if (self.kernel is None) != (self.size is None):
            raise ValueError("a convolution has both kernel and size, a linear layer neither")
        if self.kind == "linear" and self.stride != 1:
            raise ValueError(f"stride is for convolutions: a linear layer has stride 1, not {self.stride}")
        for name in ("inputs", "outputs", "stride", *(("kernel", "size") if self.kind == "conv" else ())):
            check_count(name, getattr(self, name))

    @property
    def kind(self) -> str:
        """What it is: "conv" or "linear"."""
        return "linear" if self.kernel is None else "conv"

    @property
    def name(self) -> str:
        """For instance 64->128 3x3/2 @28 (stride 2, images of 28 x 28), or 1568->128."""
        if self.kind == "linear":
            return f"{self.inputs}->{self.outputs}"
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.inputs}->{self.outputs} {self.kernel}x{self.kernel}{stride} @{self.size}"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return (self.inputs,) if self.kind == "linear" else (self.inputs, self.size, self.size)


DEFAULT_SHAPES = (
    LayerShape(16, 32, kernel=3, size=14),
    LayerShape(64, 64, kernel=3, size=28),
    LayerShape(128, 128, kernel=3, size=14),
    LayerShape(64, 128, kernel=3, stride=2, size=28),
    LayerShape(128, 128, kernel=1, size=28),
    LayerShape(1568, 128),
    LayerShape(1024, 1024),
)
DEFAULT_SPARSITIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def break_even(sparsities: Sequence[float], sparse_latency: Sequence[float], dense_latency: float) -> float | None:
    """The lowest sparsity from which on the sparse form is faster than the dense one; None where it never is.

    Parameters
    ----------
    sparsities : ascending fractions
        Where the sparse form was measured.
    sparse_latency, dense_latency : float
        Of the sparse form at each of them, and of the dense form, in the same unit.

    Notes
    -----
    With d_k = t_sparse(s_k) - t_dense and i the last index where d_i >= 0 (not faster), the line through the two points
    around this crossing meets zero at

    s* = s_i + (s_{i+1} - s_i) d_i / (d_i - d_{i+1})

    So of several crossings the last one counts, and equal times at s_i give s_i itself. 0 where every d is below zero,
    None where the last one is not.
    """
    gaps = [latency - dense_latency for _, latency in zip(sparsities, sparse_latency, strict=True)]
    slower = [index for index, gap in enumerate(gaps) if gap >= 0]
    if not slower:
        return 0.0
    i = slower[-1]
    if i == len(gaps) - 1:
        return None
    return sparsities[i] + (sparsities[i + 1] - sparsities[i]) * gaps[i] / (gaps[i] - gaps[i + 1])


def theoretical_speedup(sparsity: float) -> float:
    """1 / (1 - s): what the arithmetic alone would give."""
    return 1 / (1 - sparsity)


def describe_break_even(sparsity: float | None) -> str:
    """A percentage; in a word where the sparse form is faster at every sparsity, or at none."""
    return "never" if sparsity is None else f"{100 * sparsity:.0f} %" if sparsity else "always"


@dataclass(frozen=True)
class LayerLatency:
    """Latency of one layer in the dense form and, by sparsity, in the sparse one.

    `dense_form` is what the dense form runs as: "dense" (tiles in registers) or "blas", the faster of the two.
    """

    shape: LayerShape
    dense_form: str
    dense: Latency
    sparse: dict[float, Latency]

    @property
    def break_even(self) -> float | None:
        """The sparsity from which the sparse form is the faster one, by the medians; see `break_even`."""
        medians = [latency.median_us for latency in self.sparse.values()]
        return break_even(tuple(self.sparse), medians, self.dense.median_us)

    def speedup(self, sparsity: float) -> float:
        """Measured: median time of the dense form / median time of the sparse one. Below 1 is a loss."""
        return self.dense.median_us / self.sparse[sparsity].median_us

    def to_json(self) -> dict:
        """The latencies as plain numbers, with the speed-ups worked out."""
        points = [
            {
                "sparsity": sparsity,
                "latency": asdict(latency),
                "theoretical_speedup": theoretical_speedup(sparsity),
                "measured_speedup": self.speedup(sparsity),
            }
            for sparsity, latency in self.sparse.items()
        ]
        form = {"dense_form": self.dense_form, "dense_latency": asdict(self.dense)}
        return {"kind": self.shape.kind} | asdict(self.shape) | form | {"break_even": self.break_even, "points": points}


@dataclass(frozen=True)
class BreakEvenReport:
    """What `calibrate` measured, by the name of the layer's shape, with the conditions of the measurement."""

    layers: dict[str, LayerLatency]
    sparsities: tuple[float, ...]
    batch: int
    threads: int
    environment: dict[str, str]

    def to_json(self) -> dict:
        """The report as plain numbers."""
        return {
            "batch": self.batch,
            "threads": self.threads,
            "sparsities": list(self.sparsities),
            "layers": {name: layer.to_json() for name, layer in self.layers.items()},
            "environment": self.environment,
        }

    def __str__(self) -> str:
        """Layer by layer the dense latency, the measured speed-up at each sparsity, and the break-even sparsity."""
        rows = [("layer", "dense, us", *(f"{100 * sparsity:g} %" for sparsity in self.sparsities), "break-even")]
        for name, layer in self.layers.items():
            speedups = (f"{layer.speedup(sparsity):.2f}x" for sparsity in self.sparsities)
            rows.append((name, f"{layer.dense.median_us:,.0f}", *speedups, describe_break_even(layer.break_even)))
        rows.append(("theory", "", *(f"{theoretical_speedup(sparsity):.2f}x" for sparsity in self.sparsities), ""))
        conditions = describe_batch(self.batch, self.threads)
        return f"speed-up of the sparse form over the dense one, by sparsity; {conditions}\n{format_table(rows)}"


def calibrate(
    shapes: Sequence[LayerShape] = DEFAULT_SHAPES,
    *,
    batch: int = 1,
    threads: int = 1,
    sparsities: Sequence[float] = DEFAULT_SPARSITIES,
    seconds: float = 6.0,
    on_layer: Callable[[LayerLatency], None] | None = None,
) -> BreakEvenReport:
    """Measure the break-even sparsity of layers on this machine.

    Each layer, with bias and ReLU, is compiled once in the dense form and once for every sparsity in the sparse one
    ("csr"), and all these are timed in turn. Which weights go is random; the more sparse forms keep a part of what the
    less sparse ones keep.

    Parameters
    ----------
    shapes : sequence of LayerShape
        The layers.
    batch, threads : int
        Conditions of the measurement.
    sparsities : ascending fractions in [0, 1)
        Exactly round(s n) of a layer's n weights go.
    seconds : float
        Time to spend on measuring each layer; every form is called six times at least.
    on_layer : function (LayerLatency), optional
        Called after each layer.

    Notes
    -----
    Measured is the layer's step alone, without what a call of a plan costs around it. Each timed call follows an
    untimed one of the same form, so that the caches hold what that form itself has left there: otherwise the weights of
    all forms together would drive out those of the dense one, and the sparse ones, which have fewer, would look better
    than they are.
    """
    check_count("batch", batch)
    check_count("threads", threads)
    check_positive("seconds", seconds)
    shapes, sparsities = _check_shapes(shapes), _check_sparsities(sparsities)
    layers = {}
    for shape in shapes:
        layers[shape.name] = _measure_layer(shape, sparsities, batch, threads, seconds)
        if on_layer is not None:
            on_layer(layers[shape.name])
    return BreakEvenReport(layers, sparsities, batch, threads, describe_environment())


def _check_shapes(shapes: Sequence[LayerShape]) -> tuple[LayerShape, ...]:
    shapes = tuple(shapes)
    if not shapes or not all(isinstance(shape, LayerShape) for shape in shapes):
        raise ValueError(f"shapes must hold LayerShape objects, at least one, not {shapes!r}")
    if len(set(shapes)) < len(shapes):
        raise ValueError("shapes must differ")
    return shapes


def _check_sparsities(sparsities: Sequence[float]) -> tuple[float, ...]:
    sparsities = tuple(check_fraction("sparsities", sparsity) for sparsity in sparsities)
    if not sparsities or any(a >= b for a, b in pairwise(sparsities)):
        raise ValueError(f"sparsities must ascend, at least one, not {sparsities}")
    return sparsities


def build_network(shape: LayerShape) -> Network:
    """The layer with random weights and biases, and a ReLU behind it."""
    rng = np.random.default_rng(0)
    if shape.kind == "linear":
        layer = Linear(shape.inputs, shape.outputs, seed=rng)
    else:
        layer = Conv2d(shape.inputs, shape.outputs, shape.kernel, shape.stride, shape.kernel // 2, seed=rng)
    layer.bias.value = rng.standard_normal(shape.outputs).astype(np.float32)
    return chain({LAYER: layer, "relu": ReLU()})


def prune_at_random(network: Network, sparsity: float) -> Network:
    """A copy of the network with round(s n) of the layer's n weights gone, the same random order for every s."""
    pruned, rng = network.copy(), np.random.default_rng(1)
    scores = {LAYER: rng.random(network[LAYER].weight.value.shape)}
    pruned.apply_masks(make_masks(scores, sparsity))
    return pruned


def _measure_layer(
    shape: LayerShape, sparsities: tuple[float, ...], batch: int, threads: int, seconds: float
) -> LayerLatency:
    network, options = build_network(shape), {"batch": batch, "threads": threads, "seconds": seconds}
    dense = compile(network, shape.input_shape, form="dense", **options)
    sparse = {s: compile(prune_at_random(network, s), shape.input_shape, form="csr", **options) for s in sparsities}
    x = np.random.default_rng(2).random((batch, *shape.input_shape), np.float32)
    latency = _measure({"dense": dense} | sparse, x, seconds)
    return LayerLatency(shape, dense.steps[0].form, latency.pop("dense"), latency)


def _measure(plans: dict[str | float, Plan], x: np.ndarray, seconds: float) -> dict[str | float, Latency]:
    """Latency of the one step of each plan, in turn."""
    profiles = in_turn({name: partial(plan.profile, x) for name, plan in plans.items()}, seconds)
    return {name: Latency.of([each[LAYER] for each in taken]) for name, taken in profiles.items()}
