"""Entries of granularities and mask rules: every mask must be the same, weight by weight."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ...pruning import granularity, masks, strategies, ties
from ...pruning.granularity import Block, Channel, Filter, Granularity, Weight
from ..definitions import masks as definitions
from ..entry import EXACT, Comparison, Entry
from .draws import some_mask

GRANULARITIES = {
    Weight(): definitions.weights,
    Filter(): definitions.filters,
    Channel(): definitions.channels,
    Block(2, 3): partial(definitions.blocks, rows=2, columns=3),
}
SHAPES = {"conv": (5, 3, 2, 2), "fc": (4, 6), "out": (3, 4)}


def _scores(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Whole numbers, so that many are equal."""
    return {name: rng.integers(1, 9, shape).astype(float) for name, shape in SHAPES.items()}


def _current(rng: np.random.Generator, unit: Granularity) -> dict[str, np.ndarray]:
    """Masks so far, of which whole units of the first layer are gone too."""
    current = {name: some_mask(rng, SHAPES[name], 0.8) for name in ("conv", "fc")}
    gone = GRANULARITIES[unit](SHAPES["conv"])[1]
    for index in gone:
        current["conv"][index] = False
    return current


def _sums(function, oracle, rng) -> Iterator[Comparison]:
    for unit, units_of in GRANULARITIES.items():
        for shape in ((5, 3, 2, 2), (4, 6)):
            scores = rng.standard_normal(shape)
            yield f"{unit} of {shape}", function(scores, unit), oracle(scores, units_of(shape))


def _spread(function, oracle, rng) -> Iterator[Comparison]:
    for unit, units_of in GRANULARITIES.items():
        for shape in ((5, 3, 2, 2), (4, 6)):
            kept = rng.random(len(units_of(shape))) < 0.5
            yield f"{unit} of {shape}", function(kept, shape, unit), oracle(kept, shape, units_of(shape))


def _lowest(function, oracle, rng) -> Iterator[Comparison]:
    for count in (0, 3, 7, 11, 12):
        scores = rng.integers(4, size=12).astype(float)
        arguments = scores, count, rng.random(12) < 0.8, rng.random(12) < 0.3
        yield f"{count} of 12", function(*arguments), oracle(*arguments)


def _make_masks(function, oracle, rng) -> Iterator[Comparison]:
    for unit, units_of in GRANULARITIES.items():
        for sparsity in (0.3, 0.55, 0.95):
            scores = {name: array + rng.random(array.shape) for name, array in _scores(rng).items()}  # no warning
            settings = {"current": _current(rng, unit), "keep_at_least": int(rng.integers(3))}
            own = {"exclude": ["out"], "overrides": {"fc": 0.6}}
            for scope, pools in _pools(scores, sparsity).items():
                made = function(scores, sparsity, granularity=unit, scope=scope, **settings)
                yield f"{unit}, {scope}, {sparsity}", made, oracle(scores, pools, units_of, **settings)
            made = function(scores, sparsity, granularity=unit, **settings, **own)
            pools = [(["conv"], sparsity), (["fc"], 0.6)]
            yield f"{unit}, overrides, {sparsity}", made, oracle(scores, pools, units_of, **settings)
    made = function(scores, 0.5)
    yield "default", made, oracle(scores, [(list(scores), 0.5)], definitions.weights)


def _pools(scores: dict[str, np.ndarray], sparsity: float) -> dict[str, list]:
    return {"layer": [([name], sparsity) for name in scores], "global": [(list(scores), sparsity)]}


def _prune_lowest_units(function, oracle, rng) -> Iterator[Comparison]:
    """As above, with many equal scores."""
    for unit, units_of in GRANULARITIES.items():
        for sparsity in (0.25, 0.6):
            scores, current = _scores(rng), _current(rng, unit)
            for scope, pools in _pools(scores, sparsity).items():
                made = function(scores, sparsity, granularity=unit, scope=scope, current=current)
                yield f"{unit}, {scope}, {sparsity}", made, oracle(scores, pools, units_of, current)


def _below_maximum(function, oracle, rng) -> Iterator[Comparison]:
    for unit, units_of in GRANULARITIES.items():
        for rate in (0.2, 0.5, 0.8):
            scores, current = _scores(rng), _current(rng, unit)
            made = function(
                scores, rate, granularity=unit, current=current, exclude=["out"], overrides={"fc": rate + 0.1}
            )
            rates = {"conv": rate, "fc": rate + 0.1}
            yield f"{unit}, {rate}", made, oracle(scores, rates, units_of, current)


def _strategy(unit: Granularity, scope: str) -> Callable[..., Iterator[Comparison]]:
    """A strategy, one layer left out; `scope` "rate" prunes below a part of the maximum."""

    def compare(function, oracle, rng):
        for sparsity in (0.2, 0.5, 0.9):
            scores = {name: array + rng.random(array.shape) for name, array in _scores(rng).items()}
            current, left = _current(rng, unit), {name: scores[name] for name in ("conv", "fc")}
            asked = dict.fromkeys(left, sparsity) if scope == "rate" else _pools(left, sparsity)[scope]
            made = function(scores, sparsity, current=current, exclude=["out"])
            yield f"{sparsity}", made, oracle(scores, asked, GRANULARITIES[unit], current)

    return compare


def _ties(function, oracle, rng) -> Iterator[Comparison]:
    for unit, units_of in GRANULARITIES.items():
        for highest in (1, 2, 9):
            scores = {str(n): rng.integers(highest, size=(8, 2)).astype(float) for n in range(20)}
            current = {name: some_mask(rng, array.shape, 0.9) for name, array in scores.items()}
            settings = {"granularity": unit, "scope": "layer", "current": current}
            made = masks.prune_lowest_units(scores, 0.5, **settings)
            names = function(scores, made, unit, current)
            units = units_of((8, 2))
            expected = [name for name in scores if oracle(scores[name], made[name], units, current[name])]
            yield f"{unit}, {highest}", {name: name in names for name in scores}, {n: n in expected for n in scores}


def _entry(name: str, function: Callable, oracle: Callable, compare: Callable, source: str) -> Entry:
    return Entry(name, "mask", function, oracle, compare, source, EXACT)


def _strategy_entry(name: str, compare: Callable, formula: str) -> Entry:
    by_rate = name == "max_threshold"
    return Entry(
        f"strategies.{name}",
        "mask",
        strategies.STRATEGIES[name],
        definitions.below_maximum if by_rate else definitions.make_masks,
        compare,
        f"the article, section {'5.2.2' if by_rate else '4.1'}",
        EXACT,
        at=strategies.Strategy.__call__,
        formula=formula,
    )


ENTRIES = (
    Entry(
        "granularity.sum_over_structures",
        "mask",
        granularity.sum_over_structures,
        definitions.sums,
        _sums,
        "Li et al. 2017, section 3.1",
    ),
    _entry(
        "granularity.spread_over_weights", granularity.spread_over_weights, definitions.spread, _spread, "definition"
    ),
    _entry("masks.prune_lowest", masks.prune_lowest, definitions.lowest, _lowest, "definition"),
    _entry("masks.make_masks", masks.make_masks, definitions.make_masks, _make_masks, "the article, section 4.1"),
    _entry(
        "masks.prune_lowest_units", masks.prune_lowest_units, definitions.make_masks, _prune_lowest_units, "definition"
    ),
    _entry(
        "masks.mask_below_maximum",
        masks.mask_below_maximum,
        definitions.below_maximum,
        _below_maximum,
        "the article, section 5.2.2",
    ),
    _strategy_entry(
        "layerwise",
        _strategy(Weight(), "layer"),
        "theta_ij = 0 if I_ij < tau_l, tau_l the quantile of layer l's importances for the sparsity",
    ),
    _strategy_entry(
        "channelwise",
        _strategy(Filter(), "layer"),
        "theta_ij = 0 for all i if sum_i I_ij < tau_l, tau_l the quantile of layer l's sums for the sparsity",
    ),
    _strategy_entry(
        "proportional",
        _strategy(Weight(), "global"),
        "theta_ij = 0 if I_ij < tau, tau the quantile of all importances of the network for the sparsity",
    ),
    _strategy_entry(
        "max_threshold", _strategy(Weight(), "rate"), "theta_ij = 0 if I_ij < rate max I, the maximum of the layer"
    ),
    _entry("ties.settled_by_index", ties.settled_by_index, definitions.tied, _ties, "definition"),
)
