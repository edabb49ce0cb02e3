"""Entries of quantisation: codebooks against a plain loop, shared gradients against the slope of a shared value."""

from collections.abc import Iterator

import numpy as np

from ...nn.optimizers import shared_gradient
from ...pruning.codebook import kmeans_codebook
from ...pruning.quantization import quantize
from ..definitions import quantization as definitions
from ..entry import SLOPE, Comparison, Entry
from .networks import masked, plain_network

PAPER = "Han et al. 2016"


def _codebook(function, oracle, rng) -> Iterator[Comparison]:
    for count, bits in ((5, 3), (60, 1), (200, 3), (300, 5)):
        values = rng.standard_normal(count)
        expected, nearest = oracle(values.tolist(), bits)
        codebook, indices = function(values, bits)
        yield f"{count} values, {bits} bits", codebook, np.array(expected)
        yield f"{count} values, {bits} bits: indices", indices, np.array(nearest)


def _shared(function, oracle, rng) -> Iterator[Comparison]:
    """L = sum over i of sin(a_i w_i), whose slope by each weight alone is a_i cos(a_i w_i)."""
    for count, size in ((3, 2), (40, 5)):
        a, codebook = rng.standard_normal(count), rng.standard_normal(size)
        cluster = rng.integers(0, size, count)
        gradient = a * np.cos(a * codebook[cluster])
        expected = oracle(lambda w, a=a: float(np.sin(a * w).sum()), codebook, cluster)
        yield f"{count} weights, {size} values", function(gradient, cluster), expected


def _quantize(function, oracle, rng) -> Iterator[Comparison]:
    network = masked(plain_network(rng), rng, 0.5).astype(np.float64)
    before = network.copy().weights()
    for name, codebook in function(network, 2).items():
        weight = network.weights()[name]
        centroids, nearest = oracle(before[name].value[weight.mask].tolist(), 2)
        yield f"codebook of {name}", codebook, np.array(centroids)
        yield f"weights of {name}", weight.value[weight.mask], np.array(centroids)[nearest]


ENTRIES = (
    Entry(
        "codebook.kmeans_codebook",
        "quantisation",
        kmeans_codebook,
        definitions.kmeans,
        _codebook,
        f"{PAPER}, eq. 2",
    ),
    Entry("quantization.quantize", "quantisation", quantize, definitions.kmeans, _quantize, f"{PAPER}, section 3"),
    Entry(
        "optimizers.shared_gradient",
        "quantisation",
        shared_gradient,
        definitions.slope_of_shared,
        _shared,
        f"{PAPER}, eq. 3",
        SLOPE,
    ),
)
