"""Which weights go: units as lists of the places of their weights, ranked one by one in plain Python.

A granularity is the units that it makes of a shape: `weights`, `filters`, `channels`, or `blocks` of rows x columns.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

Units = list[list[tuple[int, ...]]]
Arrays = Mapping[str, np.ndarray]


def weights(shape: tuple[int, ...]) -> Units:
    """Each weight alone."""
    return [[index] for index in np.ndindex(shape)]


def filters(shape: tuple[int, ...]) -> Units:
    """All weights of an output."""
    return [[index for index in np.ndindex(shape) if index[0] == o] for o in range(shape[0])]


def channels(shape: tuple[int, ...]) -> Units:
    """All weights that read an input."""
    return [[index for index in np.ndindex(shape) if index[1] == c] for c in range(shape[1])]


def blocks(shape: tuple[int, ...], rows: int, columns: int) -> Units:
    """`rows` outputs by `columns` columns of the weight as a matrix; fewer where the matrix ends."""
    found: dict[tuple[int, int], list] = {}
    width = math.prod(shape[1:])
    for number, index in enumerate(np.ndindex(shape)):
        found.setdefault((number // width // rows, number % width // columns), []).append(index)
    return [found[place] for place in sorted(found)]


def sums(scores: np.ndarray, units: Units) -> np.ndarray:
    """The sum of the scores of each unit's weights."""
    return np.array([math.fsum(float(scores[index]) for index in unit) for unit in units])


def spread(kept: Iterable[bool], shape: tuple[int, ...], units: Units) -> np.ndarray:
    """A mask: what a unit is, all of its weights are."""
    mask = np.zeros(shape, bool)
    for keep, unit in zip(kept, units, strict=True):
        for index in unit:
            mask[index] = keep
    return mask


def lowest(scores: np.ndarray, count: int, kept: np.ndarray, protected: np.ndarray) -> np.ndarray:
    """Take one after the other: what is gone already; what is not protected, of the lowest score and index."""
    left, mask = set(range(len(scores))), np.ones(len(scores), bool)
    while len(mask) - mask.sum() < max(count, (~kept).sum()):
        gone = min(left, key=lambda k: (bool(kept[k]), bool(kept[k] and protected[k]), scores[k], k))
        left.remove(gone)
        mask[gone] = False
    return mask


def make_masks(
    scores: Arrays,
    pools: Iterable[tuple[list[str], float]],
    units_of: Callable[[tuple[int, ...]], Units],
    current: Arrays | None = None,
    keep_at_least: int = 1,
) -> dict[str, np.ndarray]:
    """Of the units of each pool of layers, round(sparsity n) in all are taken; each layer keeps its highest ones.

    Layers in no pool stay as they are.
    """
    masks = {name: np.array((current or {}).get(name, np.ones(array.shape, bool))) for name, array in scores.items()}
    for names, sparsity in pools:
        ranked = []  # (score, place in the pool, layer, unit, whether it is there still)
        for name in names:
            for unit in units_of(scores[name].shape):
                alive = [index for index in unit if masks[name][index]]
                value = math.fsum(float(scores[name][index]) for index in alive)
                ranked.append((value, len(ranked), name, unit, bool(alive)))
        kept = {name: sorted((entry for entry in ranked if entry[2] == name and entry[4]), key=_rank) for name in names}
        free = [entry for own in kept.values() for entry in own[: max(len(own) - keep_at_least, 0)]]
        gone = sum(not entry[4] for entry in ranked)
        for _, _, name, unit, _ in sorted(free, key=_rank)[: max(round(sparsity * len(ranked)) - gone, 0)]:
            for index in unit:
                masks[name][index] = False
    return masks


def _rank(entry: tuple) -> tuple[float, int]:
    return entry[0], entry[1]


def below_maximum(
    scores: Arrays, rates: Mapping[str, float], units_of: Callable, current: Arrays | None = None
) -> dict[str, np.ndarray]:
    """Of each layer with a rate, the units below that part of the highest of those that are still there."""
    masks = {name: np.array((current or {}).get(name, np.ones(array.shape, bool))) for name, array in scores.items()}
    for name, rate in rates.items():
        values = []
        for unit in units_of(scores[name].shape):
            alive = [index for index in unit if masks[name][index]]
            values.append((math.fsum(float(scores[name][index]) for index in alive), unit, bool(alive)))
        top = max((value for value, _, alive in values if alive), default=0.0)
        for value, unit, _ in values:
            if value < rate * top:
                for index in unit:
                    masks[name][index] = False
    return masks


def tied(scores: np.ndarray, mask: np.ndarray, units: Units, current: np.ndarray, most: float = 0.75) -> bool:
    """Whether, of the units that were there, some went and some stay at one score, held by `most` of them or more."""
    had = [unit for unit in units if any(current[index] for index in unit)]
    values = [math.fsum(float(scores[index]) for index in unit if current[index]) for unit in had]
    stay = [any(mask[index] for index in unit) for unit in had]
    for (one, first), (other, second) in itertools.product(zip(values, stay, strict=True), repeat=2):
        if one == other and second and not first and sum(value == one for value in values) >= max(2, most * len(had)):
            return True
    return False
