"""Entries of the article's criteria. Where a gradient is needed the loss is one whose slope is known without it."""

from collections.abc import Iterator

import numpy as np

from ...pruning import scores
from ..definitions import criteria_article as definitions
from ..definitions.differences import central_difference
from ..entry import EXACT, SLOPE, Comparison, Entry, same

ARTICLE = "the article, section 4.1"  # "Optimising neural networks by sparsity-based pruning"


def _weight(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((3, 2, 2, 2)),)]


def _linear_loss(rng: np.random.Generator) -> tuple:
    """(theta, dL/dtheta, L) of L = sum over n of y_n (theta . x_n): linear, so that the first order is all there is."""
    theta, x, y = rng.standard_normal((3, 4)), rng.standard_normal((5, 4)), rng.standard_normal((5, 3))
    return theta, y.T @ x, lambda: float(sum(y[n] @ theta @ x[n] for n in range(5)))


def _sensitivity(function, oracle, rng) -> Iterator[Comparison]:
    theta, gradient, loss = _linear_loss(rng)
    yield "|dL/dtheta|", function(gradient), np.abs(oracle(loss, theta))


def _taylor(function, oracle, rng) -> Iterator[Comparison]:
    theta, gradient, loss = _linear_loss(rng)
    yield "|L without theta - L|, L linear", function(theta, gradient), np.abs(oracle(loss, theta))


def _random(function, oracle, rng) -> Iterator[Comparison]:
    weight, seed = rng.standard_normal((3, 4)), int(rng.integers(2**32))
    yield "I", function(weight, np.random.default_rng(seed)), oracle(weight, np.random.default_rng(seed))


ENTRIES = (
    Entry("scores.l1", "criterion", scores.l1, definitions.magnitude, same(_weight), "Han et al. 2015", EXACT),
    Entry("scores.l2", "criterion", scores.l2, definitions.square, same(_weight), ARTICLE, EXACT),
    Entry(
        "scores.sensitivity",
        "criterion",
        scores.sensitivity,
        central_difference,
        _sensitivity,
        ARTICLE,
        SLOPE,
    ),
    Entry(
        "scores.taylor",
        "criterion",
        scores.taylor,
        definitions.deletion_change,
        _taylor,
        "Molchanov et al. 2019, eq. 8",
    ),
    Entry("scores.random", "criterion", scores.random, definitions.drawn, _random, "definition", EXACT),
)
