"""What structured pruning ranks: units, each by all the rows of weights that make it, as if they were one row.

A rule for masks (`make_masks`) knows arrays of weights only. So the units of a dependency group are handed to it as a
weight of their own, one row for each: the rows of all the layers that make the unit, one behind the other. The mask
that comes back is cut up again, and the layers agree.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ..nn.channels import groups_of
from ..nn.network import Network
from .dependency import dependency_groups, map_units
from .granularity import Arrays, Granularity

TIED = ("sum", "mean")


@dataclass(frozen=True, eq=False)
class Pool:
    """Units as a rule for masks sees them.

    Attributes
    ----------
    name : str
        Of the layer, or of the layers whose rows are joined.
    axis : int
        Of the weights: 0, units are outputs, or 1, they are inputs.
    parts : dict name -> int array (units, indices of a unit)
        The indices of each unit along the axis of each layer's weight.
    whole : bool
        Whether these are just all units of one layer.
    """

    name: str
    axis: int
    parts: dict[str, np.ndarray]
    whole: bool

    def gather(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """One array, its `axis` counting the units, of those layers that `arrays` has."""
        if self.whole:
            return arrays[self.name]
        rows = np.concatenate([_rows(arrays[n], self.axis, own) for n, own in self.parts.items() if n in arrays], 1)
        return rows if self.axis == 0 else rows.T

    def scatter(self, mask: np.ndarray, masks: Arrays, scored: Collection[str]) -> None:
        """Write the mask of what `gather` made of the layers `scored` into the masks of all layers."""
        if self.whole:
            masks[self.name] = mask
            return
        rows = mask if self.axis == 0 else mask.T
        start = 0
        for name, own in self.parts.items():
            axis_first = np.moveaxis(masks[name], self.axis, 0)  # a view
            if name in scored:
                width = own.shape[1] * axis_first[0].size
                axis_first[own] = rows[:, start : start + width].reshape(*own.shape, *axis_first.shape[1:])
                start += width
            else:
                axis_first[own] &= rows.any(axis=1).reshape(-1, *[1] * axis_first.ndim)


def _rows(array: np.ndarray, axis: int, indices: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, axis, 0)[indices].reshape(len(indices), -1)


def find_pools(network: Network, granularity: Granularity) -> list[Pool]:
    """The units that may go: for `Filter` of each dependency group, for `Channel` those that each layer reads.

    Examples
    --------
    >>> from sparsenet import Channel, Filter, Linear, chain
    >>> network = chain({"hidden": Linear(2, 3), "output": Linear(3, 1)})
    >>> [(pool.name, len(pool.parts[pool.name])) for pool in find_pools(network, Filter())]
    [('hidden', 3)]
    >>> [(pool.name, len(pool.parts[pool.name])) for pool in find_pools(network, Channel())]
    [('output', 3)]
    """
    found = _of_inputs(network) if granularity.axis == 1 else _of_groups(network)
    pools, names = [], set()
    for parts in found:
        (first, indices), name = next(iter(parts.items())), " + ".join(parts)
        units = network[first].weight.shape[granularity.axis]
        whole = len(parts) == 1 and np.array_equal(indices, np.arange(units)[:, None])
        while name in names:
            name += "'"
        names.add(name)
        pools.append(Pool(name, granularity.axis, parts, whole))
    return pools


def _of_groups(network: Network) -> list[dict[str, np.ndarray]]:
    weights = {name for name, layer in network.weighted().items() if groups_of(layer) == 1}
    groups = [
        {m.layer: np.array(m.indices) for m in group.members if m.axis == 0 and m.layer in weights}
        for group in dependency_groups(network)
        if not group.stays
    ]
    return [parts for parts in groups if parts]


def _of_inputs(network: Network) -> list[dict[str, np.ndarray]]:
    units = map_units(network)
    free = {
        name: np.flatnonzero([unit not in units.stays for unit in read.tolist()])[:, None]
        for name, read in units.columns.items()
    }
    return [{name: indices} for name, indices in free.items() if len(indices)]


def mask_pools(
    pools: Collection[Pool],
    scores: Mapping[str, np.ndarray],
    current: Arrays,
    rule: Callable[..., Arrays],
    *,
    tied: str,
    exclude: Collection[str],
    overrides: Mapping[str, float],
) -> Arrays:
    """The masks of `rule(arrays, current=, exclude=, overrides=)` on the units of the pools, for the layers' weights.

    Parameters
    ----------
    scores, current : dicts of arrays
        By layer. A pool's units are ranked by the layers that have scores; all its layers are masked.
    tied : "sum" or "mean"
        Importance of a unit: of the scores in all its layers the sum, or that divided by the number of the layers.
    exclude : names
        Layers of no pool, handed on as they are.
    overrides : dict name -> sparsity
        By pool.

    Examples
    --------
    Two filters of two layers, tied: their sums are 1 + 4 and 2 + 2, so that the second goes in both.

    >>> from functools import partial
    >>> from sparsenet import Filter, make_masks
    >>> both = np.arange(2)[:, None]
    >>> pool = Pool("a + b", 0, {"a": both, "b": both}, whole=False)
    >>> scores = {"a": np.array([[1.0], [2.0]]), "b": np.array([[4.0], [2.0]])}
    >>> current = {name: np.ones((2, 1), bool) for name in scores}
    >>> rule = partial(make_masks, sparsity=0.5, granularity=Filter())
    >>> masks = mask_pools([pool], scores, current, rule, tied="sum", exclude=(), overrides={})
    >>> {name: mask[:, 0].tolist() for name, mask in masks.items()}
    {'a': [True, False], 'b': [True, False]}
    """
    arrays, before, todo = {}, {}, list(pools)
    for name in scores:
        if name in exclude:
            arrays[name], before[name] = scores[name], current[name]
        for pool in [pool for pool in todo if name in pool.parts]:
            todo.remove(pool)
            table = pool.gather(scores)
            terms = sum(part in scores for part in pool.parts) if tied == "mean" else 1
            arrays[pool.name] = table / terms if terms > 1 else table
            before[pool.name] = pool.gather({part: current[part] for part in pool.parts if part in scores})
    made = rule(arrays, current=before, exclude=exclude, overrides=overrides)
    used = [pool for pool in pools if pool not in todo]
    named = dict.fromkeys([*scores, *(part for pool in used for part in pool.parts)])
    masks = {name: made[name] if name in exclude else current[name].copy() for name in named}
    for pool in used:
        pool.scatter(made[pool.name], masks, scores)
    return masks


def pool_overrides(pools: Collection[Pool], overrides: Mapping[str, float]) -> dict[str, float]:
    """By pool, the sparsity asked for one of its layers: it holds for all that goes with that layer's units.

    Examples
    --------
    >>> both = np.arange(2)[:, None]
    >>> pool_overrides([Pool("a + b", 0, {"a": both, "b": both}, whole=False)], {"b": 0.25})
    {'a + b': 0.25}
    """
    asked = {}
    for pool in pools:
        values = {overrides[name] for name in pool.parts if name in overrides}
        if len(values) > 1:
            listed = ", ".join(map(repr, pool.parts))
            raise ValueError(f"overrides must agree for {listed}, whose units go together")
        if values:
            asked[pool.name] = values.pop()
    return asked
