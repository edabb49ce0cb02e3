"""Entries of the criteria of weights, and of how a filter's score is spread over its weights."""

from collections.abc import Callable, Iterator

import numpy as np

from ...pruning import scores
from ...pruning.criteria.spread import over_weights
from ..definitions import criteria_article, criteria_weights
from ..entry import EXACT, Comparison, Entry, same
from .draws import some_mask


def pruned_weight(rng: np.random.Generator, filters: int = 4) -> np.ndarray:
    """A weight of which some are 0, a whole filter among them, and some are equal.

    Examples
    --------
    >>> weight = pruned_weight(np.random.default_rng(0))
    >>> weight.shape, bool(weight[1].any())
    ((4, 2, 2, 3), False)
    """
    shape = filters, 2, 2, 3
    weight = rng.standard_normal(shape) * some_mask(rng, shape, 0.8)
    weight[0, 0] = np.round(2 * weight[0, 0])
    weight[1] = 0
    return weight


def _weights(rng: np.random.Generator) -> list[tuple]:
    return [(pruned_weight(rng),), (rng.standard_normal((3, 5)),)]


def _powers(rng: np.random.Generator) -> list[tuple]:
    return [(pruned_weight(rng), n) for n in (1, 2, 3, 0.5)]


def spread(draw: Callable) -> Callable[..., Iterator[Comparison]]:
    """`function(weight, array)` against the oracle's score of each filter, from the array, in equal parts."""

    def compare(function, oracle, rng):
        weight = pruned_weight(rng)
        array = draw(rng, len(weight))
        yield "I", function(weight, array), criteria_weights.shared_out(oracle(array), weight)

    return compare


def _fpgm(function, oracle, rng) -> Iterator[Comparison]:
    for (weight,) in _weights(rng):
        yield f"{weight.shape}", function(weight), criteria_weights.shared_out(oracle(weight), weight)


def _criterion(name: str, oracle: Callable, compare: Callable, source: str, **options) -> Entry:
    return Entry(f"scores.{name}", "criterion", getattr(scores, name), oracle, compare, source, **options)


ENTRIES = (
    _criterion("ln", criteria_weights.power, same(_powers), "norms"),
    _criterion("lamp", criteria_weights.layer_adaptive, same(_weights), "Lee et al. 2021, eq. 1"),
    _criterion("fpgm", criteria_weights.geometric_median, _fpgm, "He et al. 2019, section 3.3"),
    _criterion(
        "slimming",
        criteria_article.magnitude,
        spread(lambda rng, filters: rng.standard_normal(filters)),
        "Liu et al. 2017, section 3",
    ),
    Entry(
        "spread.over_weights",
        "criterion",
        over_weights,
        criteria_weights.shared_out,
        same(lambda rng: [(rng.random(4), pruned_weight(rng))]),
        "definition",
        EXACT,
    ),
)
