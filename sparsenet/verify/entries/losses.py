"""Entries of losses and metrics: the value against its definition, the gradient against central differences."""

from collections.abc import Callable, Iterator

import numpy as np

from ...nn import losses
from ...nn.distillation import distillation, with_teacher
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


def _distilled(rng: np.random.Generator) -> Iterator[tuple[dict, tuple, np.ndarray]]:
    """(settings, (logits, labels, the teacher's logits), targets)."""
    for settings in ({"temperature": 3.0, "weight": 0.7}, {"temperature": 0.5, "weight": 1.0}, {}):
        (logits, labels), (teacher, _) = _logits(rng), _logits(rng)
        yield settings, (logits, labels, teacher), with_teacher(labels, teacher)


def _distillation(function, oracle, rng) -> Iterator[Comparison]:
    for settings, (logits, *rest), targets in _distilled(rng):
        numbers = {"temperature": 4.0, "weight": 0.5} | settings
        yield (
            f"L, {settings or 'by default'}",
            function(**settings)(logits, targets)[0],
            oracle(logits, *rest, **numbers),
        )


def _distillation_gradient(function, oracle, rng) -> Iterator[Comparison]:
    for settings, (logits, *_), targets in _distilled(rng):
        loss = function(**settings)
        yield f"dL/dz, {settings or 'by default'}", *_slopes(loss, oracle, logits, targets)


def _slopes(loss: Callable, oracle: Callable, logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return loss(logits, targets)[1], oracle(lambda: loss(logits, targets)[0], logits)


def _calibration(function, oracle, rng) -> Iterator[Comparison]:
    for options in ({}, {"bins": 4}, {"bins": 1}):
        logits, labels = 2 * rng.standard_normal((60, 3)), rng.integers(3, size=60)
        yield f"ECE, {options or 'by default'}", function(logits, labels, **options), oracle(logits, labels, **options)


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
        "losses.agreement",
        "loss",
        losses.agreement,
        definitions.agreement,
        same(lambda rng: [tuple(rng.integers(3, size=(2, 40, 4)).astype(float))]),  # with ties
        "definition",
        EXACT,
    ),
    Entry(
        "losses.expected_calibration_error",
        "loss",
        losses.expected_calibration_error,
        definitions.expected_calibration_error,
        _calibration,
        "Naeini et al. 2015; Guo et al. 2017, equation 3",
    ),
    Entry(
        "losses.r_squared",
        "loss",
        losses.r_squared,
        definitions.r_squared,
        same(lambda rng: [_regression(rng)]),
        "definition",
    ),
    Entry(
        "distillation.distillation",
        "loss",
        distillation,
        definitions.distillation,
        _distillation,
        "Hinton et al. 2015, section 2",
    ),
    Entry(
        "distillation.distillation.gradient",
        "loss",
        distillation,
        central_difference,
        _distillation_gradient,
        "calculus",
        SLOPE,
    ),
)
