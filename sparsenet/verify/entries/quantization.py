"""Entries of quantisation: codebooks against a plain loop, shared gradients against the slope of a shared value."""

from collections.abc import Iterator

import numpy as np

from ...nn.optimizers import shared_gradient
from ...pruning.codebook import kmeans_codebook
from ..definitions import quantization as definitions
from ..entry import SLOPE, Comparison, Entry

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


ENTRIES = (
    Entry(
        "codebook.kmeans_codebook",
        "quantisation",
        kmeans_codebook,
        definitions.kmeans,
        _codebook,
        f"{PAPER}, eq. 2",
    ),
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
