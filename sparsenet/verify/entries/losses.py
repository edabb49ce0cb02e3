"""Entries of losses and metrics: the value against its definition, the gradient against central differences."""

from collections.abc import Callable, Iterator

import numpy as np

from ...nn import losses
from ..definitions import losses as definitions
from ..definitions.differences import central_difference
from ..entry import EXACT, SLOPE, Comparison, Entry, same


def _logits(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return 3 * rng.standard_normal((7, 4)), rng.integers(4, size=7)


def _regression(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((7, 3)), rng.standard_normal((7, 3)) + 1


def _value(draw: Callable) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        arguments = draw(rng)
        yield "L", function(*arguments)[0], oracle(*arguments)

    return compare


def _gradient(draw: Callable) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        output, target = draw(rng)
        yield "dL/dy", function(output, target)[1], oracle(lambda: function(output, target)[0], output)

    return compare


ENTRIES = (
    Entry(
        "losses.log_softmax",
        "loss",
        losses.log_softmax,
        definitions.log_softmax,
        same(lambda rng: [_logits(rng)[:1]]),
        "Bridle 1990",
    ),
    Entry(
        "losses.softmax_cross_entropy",
        "loss",
        losses.softmax_cross_entropy,
        definitions.cross_entropy,
        _value(_logits),
        "Bridle 1990",
    ),
    Entry(
        "losses.softmax_cross_entropy.gradient",
        "loss",
        losses.softmax_cross_entropy,
        central_difference,
        _gradient(_logits),
        "calculus",
        SLOPE,
    ),
    Entry(
        "losses.mean_squared_error",
        "loss",
        losses.mean_squared_error,
        definitions.mean_squared_error,
        _value(_regression),
        "definition",
    ),
    Entry(
        "losses.mean_squared_error.gradient",
        "loss",
        losses.mean_squared_error,
        central_difference,
        _gradient(_regression),
        "calculus",
        SLOPE,
    ),
    Entry(
        "losses.accuracy",
        "loss",
        losses.accuracy,
        definitions.accuracy,
        same(lambda rng: [(rng.integers(3, size=(40, 4)).astype(float), rng.integers(4, size=40))]),  # with ties
        "definition",
        EXACT,
    ),
    Entry(
        "losses.r_squared",
        "loss",
        losses.r_squared,
        definitions.r_squared,
        same(lambda rng: [_regression(rng)]),
        "definition",
    ),
)
