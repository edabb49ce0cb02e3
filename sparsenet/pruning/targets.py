"""What a call of `prune` is about: which units may go, which layers stay and why, and whether anything went."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..checks import check_known, warn_caller
from ..nn.network import Network
from .dependency import fixed_layers, left_out
from .granularity import Arrays, sum_over_structures
from .masks import mask_below_maximum
from .pools import TIED, Pool, find_pools, pool_overrides
from .strategies import Strategy


@dataclass(frozen=True)
class Targets:
    """What is to be pruned: the pools of units (None: weights, layer by layer), and the layers to leave.

    `overrides` are by pool where there are pools, `named` by layer, as they were given.
    """

    pools: list[Pool] | None
    leave: set[str]
    overrides: Mapping[str, float]
    named: Mapping[str, float]
    tied: str


def find_targets(
    network: Network,
    scores: Collection[str],
    strategy: Strategy,
    exclude: Collection[str],
    overrides: Mapping[str, float],
    tied: str,
) -> Targets:
    """Check what `prune` is asked for, and find the units that may go; warns of layers that are left out unasked.

    Examples
    --------
    >>> from sparsenet import Linear, chain, strategies
    >>> network = chain({"hidden": Linear(2, 3), "output": Linear(3, 1)})
    >>> targets = find_targets(network, network.weights(), strategies.channelwise, (), {}, "sum")
    >>> [pool.name for pool in targets.pools], targets.leave
    (['hidden'], {'output'})
    """
    names, granularity = network.weights(), strategy.granularity
    check_known("exclude", exclude, names)
    check_known("overrides", overrides, names)
    if tied not in TIED:
        raise ValueError(f"tied must be one of {', '.join(TIED)}, not {tied!r}")
    pools, fixed, unexpected = None, {}, {}
    if granularity.axis is not None:
        fixed, unexpected = fixed_layers(network, granularity), left_out(network, granularity)
        found = find_pools(network, granularity)
        pools = [pool for pool in found if not set(pool.parts) & set(exclude) and set(pool.parts) & set(scores)]
        unexpected |= _tied_to_excluded(found, exclude)
    wrong = sorted(set(fixed) & set(overrides))
    if wrong:
        raise ValueError(f"overrides names {', '.join(map(repr, wrong))}, whose units have to stay")
    reasons = fixed | unexpected | dict.fromkeys(exclude, "it is excluded")
    pruned = set(names) - set(exclude) if pools is None else {name for pool in pools for name in pool.parts}
    if scores and not pruned & set(scores):
        listed = "; ".join(f"{name!r}: {reasons[name]}" for name in scores)
        raise ValueError(f"no layer is left to prune by {granularity} ({listed})")
    listed = "; ".join(f"{n!r}: {why}" for n, why in unexpected.items() if n in scores and n not in exclude)
    if listed:
        warn_caller(f"not pruned by {granularity}: {listed}")
    asked = overrides if pools is None else pool_overrides(pools, overrides)
    return Targets(pools, set(scores) - pruned, asked, overrides, tied)


def _tied_to_excluded(pools: Collection[Pool], exclude: Collection[str]) -> dict[str, str]:
    """The layers that stay, or a part of whose units does, because an excluded layer's have to."""
    return {
        name: f"its units go with those of {excluded!r}, which is excluded"
        for pool in pools
        for excluded in pool.parts
        if excluded in exclude
        for name in pool.parts
        if name not in exclude
    }


def falls_short(
    strategy: Strategy, asked: Mapping[str, float], before: Arrays, after: Arrays, *, alone: Collection[str] = ()
) -> str:
    """What to tell where not one more unit went, though fewer are gone than `asked`, a sparsity by layer; else empty.

    Asked for are round(sparsity n) of the n units, of each layer or of all together, whichever is less (those in
    `alone` always by layer); at least one. A rate of `max_threshold` asks for one.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenet import strategies
    >>> four = {"fc": np.ones((4, 2), bool)}
    >>> falls_short(strategies.channelwise, {"fc": 0.1}, four, four)
    'nothing was pruned by Filter() at 0.1: 0 of 4 units are gone (counts are rounded, and a layer keeps a unit)'
    """
    if not any(asked.values()) or any((before[name] & ~after[name]).any() for name in asked):
        return ""
    units = {name: sum_over_structures(after[name], strategy.granularity) > 0 for name in asked}
    gone, total = sum(int((~kept).sum()) for kept in units.values()), sum(kept.size for kept in units.values())
    wanted = 0
    if strategy.rule is not mask_below_maximum:
        exact = {name: sparsity * units[name].size for name, sparsity in asked.items()}
        pool = [exact[name] for name in asked if name not in alone]
        wanted = min(round(sum(pool)), sum(map(round, pool))) + sum(round(exact[n]) for n in asked if n in alone)
    if gone >= max(1, wanted):
        return ""
    at = " or ".join(f"{sparsity:g}" for sparsity in sorted(set(asked.values())))
    return (
        f"nothing was pruned by {strategy.granularity} at {at}: {gone} of {total} units are gone "
        "(counts are rounded, and a layer keeps a unit)"
    )
