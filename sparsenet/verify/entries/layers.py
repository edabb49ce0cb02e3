"""Entries of the layers with weights and of their initial values: forward against loops, backward by differences."""

import copy
from collections.abc import Callable, Iterator

import numpy as np

from ...nn import layer, normalization
from ...nn.layer import Layer
from ...nn.layers import Conv2d, Dropout, Flatten, Linear, ReLU
from ...nn.network import convert_layer
from ...nn.normalization import BatchNorm, WeightNorm
from ..definitions import convolution
from ..definitions import layers as definitions
from ..definitions.differences import central_difference
from ..entry import EXACT, SINGLE, SLOPE, Comparison, Entry
from ..slopes import compare_slopes
from .draws import away_from_ties, some_mask

Cases = Callable[[Callable, np.random.Generator], Iterator[tuple[str, Layer, np.ndarray]]]

GEOMETRIES = {  # in, out, kernel, stride, padding, dilation, groups
    "3x3": (2, 3, 3, 1, 0, 1, 1),
    "stride, padding": (2, 3, (3, 2), (2, 1), (1, 2), 1, 1),
    "dilation": (1, 2, (2, 3), 1, (0, 1), (3, 2), 1),
    "groups": (4, 6, 2, 2, 1, 1, 2),
    "depthwise": (3, 6, 3, (1, 2), 1, (1, 2), 3),
}


def ready(built: Layer, rng: np.random.Generator) -> Layer:
    """The layer in float64, its one-dimensional parameters drawn too (they start at 0 or 1)."""
    built = convert_layer(built, np.float64)
    for parameter in built.parameters().values():
        if parameter.value.ndim == 1:
            parameter.value += rng.uniform(-0.5, 0.5, parameter.shape)
    return built


def _convolutions(function: Callable, rng: np.random.Generator) -> Iterator[tuple[str, Layer, np.ndarray]]:
    for what, arguments in GEOMETRIES.items():
        yield what, ready(function(*arguments, seed=rng), rng), rng.standard_normal((2, arguments[0], 5, 6))


def _conv2d(function, oracle, rng) -> Iterator[Comparison]:
    for what, built, x in _convolutions(function, rng):
        yield what, built.forward(x), oracle(x, built.weight.value, built.bias.value, *built.geometry)


def _linears(function: Callable, rng: np.random.Generator) -> Iterator[tuple[str, Layer, np.ndarray]]:
    yield "", ready(function(5, 3, seed=rng), rng), rng.standard_normal((4, 5))


def _linear(function, oracle, rng) -> Iterator[Comparison]:
    for _, built, x in _linears(function, rng):
        yield "y", built.forward(x), oracle(x, built.weight.value, built.bias.value)


def _normalized(function: Callable, rng: np.random.Generator) -> Iterator[tuple[str, Layer, np.ndarray]]:
    """Weight normalisations, one of them masked, whose gains are not the norms of their directions."""
    for what, plain, shape in (
        ("linear", Linear(5, 3, seed=rng), (4, 5)),
        ("convolution", Conv2d(2, 3, 3, padding=1, seed=rng), (2, 2, 4, 3)),
    ):
        built = ready(function(plain), rng)
        built.set_mask(some_mask(rng, built.weight.shape, 0.8))
        yield what, built, rng.standard_normal(shape)


def _weight_norm_layer(function, oracle, rng) -> Iterator[Comparison]:
    for what, built, x in _normalized(function, rng):
        weight, bias = oracle(built.direction.value, built.gain.value), built.bias.value
        y = definitions.linear(x, weight, bias) if x.ndim == 2 else convolution.conv2d(x, weight, bias, padding=(1, 1))
        yield what, built.forward(x), y


def _directions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    direction = rng.standard_normal((4, 2, 3))
    direction[1] = 0
    return direction, rng.standard_normal(4)


def _weight_norm(function, oracle, rng) -> Iterator[Comparison]:
    arguments = _directions(rng)
    yield "w", function(*arguments), oracle(*arguments)


def _weight_norm_gradient(function, oracle, rng) -> Iterator[Comparison]:
    direction, gain = _directions(rng)
    direction[1] = 1  # at 0 there is no slope
    dw = rng.standard_normal(direction.shape)
    dv, dg = function(dw, direction, gain)

    def loss() -> float:
        return float((definitions.weight_norm(direction, gain) * dw).sum())

    yield "dv", dv, oracle(loss, direction)
    yield "dg", dg, oracle(loss, gain)


def _norms(function: Callable, rng: np.random.Generator) -> Iterator[tuple[str, Layer, np.ndarray]]:
    for what, shape in (("images", (3, 2, 2, 3)), ("features", (4, 3))):
        built = ready(function(shape[1], eps=0.01, momentum=0.3), rng)
        built.running_mean = rng.standard_normal(shape[1])
        built.running_var = rng.uniform(0.5, 2, shape[1])
        yield what, built, 1 + 2 * rng.standard_normal(shape)


def _batch_norm(function, oracle, rng) -> Iterator[Comparison]:
    for what, built, x in _norms(function, rng):
        scale_shift, count = (built.gamma.value, built.beta.value, built.eps), x.size // x.shape[1]
        mean, var = definitions.moments(x)
        before = built.running_mean.copy(), built.running_var.copy()
        yield f"{what}, else", built.forward(x), oracle(x, *before, *scale_shift)
        yield f"{what}, in training", built.forward(x, training=True), oracle(x, mean, var, *scale_shift)
        new = mean, var * count / (count - 1)
        for name, old, value in zip(("mean", "variance"), before, new, strict=True):
            running = built.running_mean if name == "mean" else built.running_var
            yield f"{what}, running {name}", running, definitions.running_average(old, value, built.momentum)


def _affine(function, oracle, rng) -> Iterator[Comparison]:
    for what, built, x in _norms(function, rng):
        scale, shift = built.affine()
        moments = built.running_mean, built.running_var
        y = scale[:, None, None] * x + shift[:, None, None] if x.ndim == 4 else scale * x + shift
        yield what, y, oracle(x, *moments, built.gamma.value, built.beta.value, built.eps)


def _plain(draw: Callable) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        x = draw(rng)
        yield "y", function().forward(x), oracle(x)

    return compare


def _dropouts(function: Callable, rng: np.random.Generator) -> Iterator[tuple[str, Layer, np.ndarray]]:
    for rate in (0.3, 0.6):
        yield f"rate {rate}", function(rate, seed=int(rng.integers(2**32))), rng.standard_normal((4, 8))


def _dropout(function, oracle, rng) -> Iterator[Comparison]:
    for what, built, x in _dropouts(function, rng):
        other = copy.deepcopy(built.rng)
        yield f"{what}, in training", built.forward(x, training=True), oracle(x, built.rate, other)
        yield f"{what}, else", built.forward(x), x


def slopes(cases: Cases, *, training: bool = False) -> Callable[..., Iterator[Comparison]]:
    """A `compare` of the backward pass with differences of the forward pass, for the layers and inputs of `cases`."""

    def compare(function, oracle, rng):
        for what, built, x in cases(function, rng):
            inputs = x if isinstance(x, tuple) else (x,)
            for name, value, expected in compare_slopes(built, inputs, rng, training=training, oracle=oracle):
                yield f"{what}: {name}" if what else name, value, expected

    return compare


def _one(draw: Callable) -> Cases:
    return lambda function, rng: iter([("", function(), draw(rng))])


def _initial(*shapes: tuple[int, ...], **options: int) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        for shape in shapes:
            seed = int(rng.integers(2**32))
            own, other = np.random.default_rng(seed), np.random.default_rng(seed)
            yield str(shape), function(shape, own, **options), oracle(shape, other, **options)

    return compare


def entries_of(
    cls: type[Layer], source: str, oracle: Callable, forward: Callable, backward: Callable, **options
) -> tuple[Entry, Entry]:
    """The entries of a layer's forward pass and of its backward pass."""
    name, options = cls.__name__, {"source": source} | options
    return (
        Entry(f"{name}.forward", "layer", cls, oracle, forward, at=cls.forward, **options),
        Entry(
            f"{name}.backward",
            "layer",
            cls,
            central_difference,
            backward,
            "calculus",
            SLOPE,
            at=cls.input_gradient,
        ),
    )


ENTRIES = (
    *entries_of(Conv2d, "LeCun et al. 1998", convolution.conv2d, _conv2d, slopes(_convolutions)),
    *entries_of(Linear, "definition", definitions.linear, _linear, slopes(_linears)),
    *entries_of(
        WeightNorm,
        "Salimans & Kingma 2016, eq. 2, 3",
        definitions.weight_norm,
        _weight_norm_layer,
        slopes(_normalized),
        formula="w[o] = g[o] v[o] / ||v[o]||, then the layer with the weight w",
    ),
    Entry(
        "normalization.weight_norm",
        "layer",
        normalization.weight_norm,
        definitions.weight_norm,
        _weight_norm,
        "Salimans & Kingma 2016, eq. 2",
    ),
    Entry(
        "normalization.weight_norm_gradient",
        "layer",
        normalization.weight_norm_gradient,
        central_difference,
        _weight_norm_gradient,
        "Salimans & Kingma 2016, eq. 3",
        SLOPE,
    ),
    *entries_of(
        BatchNorm,
        "Ioffe & Szegedy 2015, alg. 1, 2",
        definitions.batch_norm,
        _batch_norm,
        slopes(_norms, training=True),
    ),
    Entry(
        "BatchNorm.backward.evaluation",
        "layer",
        BatchNorm,
        central_difference,
        slopes(_norms),
        "calculus",
        SLOPE,
        at=BatchNorm.input_gradient,
    ),
    Entry(
        "BatchNorm.affine",
        "layer",
        BatchNorm,
        definitions.batch_norm,
        _affine,
        "Ioffe & Szegedy 2015, alg. 2",
        at=BatchNorm.affine,
    ),
    *entries_of(
        ReLU,
        "Nair & Hinton 2010",
        definitions.relu,
        _plain(lambda rng: rng.standard_normal((3, 7))),
        slopes(_one(lambda rng: away_from_ties(rng, (3, 7)))),
        tolerance=EXACT,
    ),
    *entries_of(
        Flatten,
        "definition",
        definitions.flatten,
        _plain(lambda rng: rng.standard_normal((2, 3, 2, 4))),
        slopes(_one(lambda rng: rng.standard_normal((2, 3, 2, 4)))),
        tolerance=EXACT,
    ),
    *entries_of(Dropout, "Srivastava et al. 2014", definitions.dropout, _dropout, slopes(_dropouts, training=True)),
    Entry(
        "layer.he_normal",
        "layer",
        layer.he_normal,
        definitions.he_normal,
        _initial((4, 3), (4, 3, 2, 2)),
        "He et al. 2015, eq. 10",
        SINGLE,
    ),
    Entry(
        "layer.glorot_uniform",
        "layer",
        layer.glorot_uniform,
        definitions.glorot_uniform,
        _initial((4, 6), (4, 3, 2, 5), groups=2),
        "Glorot & Bengio 2010, eq. 16",
        SINGLE,
    ),
)
