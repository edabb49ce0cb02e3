"""Entries of the criteria of activations, under losses whose slope is known without a backward pass."""

from collections.abc import Callable, Iterator

import numpy as np

from ...nn.layers import Conv2d, Flatten, Linear
from ...nn.losses import softmax_cross_entropy
from ...nn.network import chain
from ...pruning import scores
from ...pruning.probe import Batches
from ...pruning.statistics import input_norms
from ..definitions import criteria_activations as definitions
from ..definitions.criteria_weights import shared_out
from ..entry import EXACT, SLOPE, Comparison, Entry, same
from .criteria_weights import pruned_weight, spread
from .layers import GEOMETRIES


def _emitted(rng: np.random.Generator, filters: int) -> np.ndarray:
    """Behind a ReLU, with zeros; and one filter in front of it."""
    a = np.maximum(rng.standard_normal((5, filters, 3, 2)), 0)
    a[:, -1] = rng.standard_normal((5, 3, 2))
    return a


def _squares(rng: np.random.Generator, filters: int, *positions: int) -> tuple:
    """(a, dL/da, L_n) of L = 1/N sum_n L_n, L_n(z) = |U (z a_n)|^2, z a factor on each filter's map."""
    a = rng.standard_normal((4, filters, *positions))
    u = rng.standard_normal((3, a[0].size))
    gradient = np.stack([(2 * u.T @ (u @ sample.ravel())).reshape(sample.shape) for sample in a]) / len(a)

    def of(sample):
        return lambda z: float(np.square(u @ (z.reshape(-1, *[1] * len(positions)) * sample).ravel()).sum())

    return a, gradient, [of(sample) for sample in a]


def _feature_maps(function, oracle, rng) -> Iterator[Comparison]:
    for positions in ((3, 2), ()):
        weight = pruned_weight(rng)
        a, gradient, losses = _squares(rng, len(weight), *positions)
        expected = oracle(losses, len(weight), int(np.prod(positions)))
        yield f"{positions} positions", function(weight, a, gradient), shared_out(expected, weight)


def _gates(function, oracle, rng) -> Iterator[Comparison]:
    for positions in ((3, 2), ()):
        weight = pruned_weight(rng)
        a, gradient, losses = _squares(rng, len(weight), *positions)

        def mean(z, losses=losses):
            return sum(loss(z) for loss in losses) / len(losses)

        expected = oracle([(len(a), mean)], len(weight))
        yield f"{positions} positions", function(weight, a, gradient), shared_out(expected, weight)


def _norms(function, oracle, rng) -> Iterator[Comparison]:
    for what, arguments in GEOMETRIES.items():
        layer = Conv2d(*arguments, seed=rng)
        network = chain({"conv": layer}).astype(np.float64)
        x = rng.standard_normal((3, arguments[0], 5, 6))
        batches = Batches(x, np.zeros(3, int), [np.array([2]), np.array([0, 1])])
        found = function(network, batches, softmax_cross_entropy)["conv"]
        yield what, found, oracle(x, layer.weight.shape, *layer.geometry)
    x = rng.standard_normal((3, 2, 1, 2))
    network = chain({"flatten": Flatten(), "fc": Linear(4, 2, seed=rng)}).astype(np.float64)
    found = function(network, Batches(x, np.zeros(3, int), [np.arange(3)]), softmax_cross_entropy)
    yield "linear", found["fc"], oracle(x.reshape(3, 4), (2, 4))


def _criterion(name: str, oracle: Callable, compare: Callable, source: str, *tolerance) -> Entry:
    return Entry(f"scores.{name}", "criterion", getattr(scores, name), oracle, compare, source, *tolerance)


ENTRIES = (
    _criterion("apoz", definitions.not_zero, spread(_emitted), "Hu et al. 2016, eq. 1"),
    _criterion("mean_activation", definitions.mean_magnitude, spread(_emitted), "Molchanov et al. 2016, section 2.2"),
    _criterion(
        "taylor_feature_maps", definitions.magnitude_by_sample, _feature_maps, "Molchanov et al. 2016, eq. 8", SLOPE
    ),
    _criterion("taylor_gates", definitions.squared_by_batch, _gates, "Molchanov et al. 2019, section 3", SLOPE),
    _criterion(
        "wanda",
        definitions.weight_times_norm,
        same(lambda rng: [(rng.standard_normal((3, 2, 2, 2)), rng.random((3, 2, 2, 2)))]),
        "Sun et al. 2023, eq. 1",
        EXACT,
    ),
    Entry("statistics.input_norms", "quantity", input_norms, definitions.input_norms, _norms, "Sun et al. 2023, eq. 1"),
)
