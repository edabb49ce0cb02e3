"""Networks of which each layer (with structures: each dependency group) is pruned by a sparsity of its own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..checks import check_known
from ..nn.network import Network
from ..pruning.cycle import prune_targets
from ..pruning.granularity import Arrays, Granularity
from ..pruning.search import norm_lost
from ..pruning.strategies import Strategy, lowest_in_layer
from ..pruning.surgery import remove_pruned_structures
from ..pruning.targets import Targets, find_targets


@dataclass(frozen=True, eq=False)
class Cuts:
    """What of a network may go, by units of decision: a layer, or for `Filter` and `Channel` what goes together.

    Attributes
    ----------
    units : dict of dicts layer -> share
        What of each layer's costs a unit of decision answers for, by its name: the layer's, or for structures all of
        those that it makes, by the part of the outputs that it has. A layer whose own outputs stay, as those of the
        output layer do, and a depthwise convolution stand with the first unit that they read.
    """

    strategy: Strategy
    targets: Targets
    units: dict[str, dict[str, float]]

    def cut(self, network: Network, scores: Arrays, sparsities: Mapping[str, float]) -> Network:
        """A copy of the network with the fraction of each named unit of decision gone that has the lowest scores."""
        check_known("sparsities", sparsities, self.units)
        asked = dict(sparsities)
        if self.targets.pools is None:
            scores = {name: scores[name] for name in asked}  # the others stay: they need not be sorted
        named = {layer: own for name, own in asked.items() for layer in self._pruned(name) if layer in scores}
        targets = replace(self.targets, leave=self.targets.leave & set(scores), overrides=asked, named=named)
        pruned = network.copy()
        prune_targets(pruned, scores, self.strategy, 0.0, targets)
        return pruned

    def smallest(self, network: Network) -> Network:
        """The network as it is to be run: without the structures that are gone."""
        return network if self.targets.pools is None else remove_pruned_structures(network)

    def _pruned(self, name: str) -> tuple[str, ...]:
        if self.targets.pools is None:
            return (name,)
        return tuple(next(pool for pool in self.targets.pools if pool.name == name).parts)


def find_cuts(network: Network, scores: Arrays, granularity: Granularity, exclude: Collection[str] = ()) -> Cuts:
    """What of a network may be pruned by this granularity; warns of layers that are left out, as `prune` does."""
    strategy = Strategy(granularity, lowest_in_layer)
    targets = find_targets(network, scores, strategy, exclude, {}, "sum")
    if targets.pools is None:
        return Cuts(strategy, targets, {name: {name: 1.0} for name in scores if name not in targets.leave})
    weights = network.weights()
    units = {
        pool.name: {layer: own.size / weights[layer].shape[granularity.axis] for layer, own in pool.parts.items()}
        for pool in targets.pools
    }
    cuts, owned = Cuts(strategy, targets, units), {layer for shares in units.values() for layer in shares}
    for name in units:  # what else gets smaller with it
        small = cuts.smallest(cuts.cut(network, scores, {name: 0.5}))
        also = [layer for layer in weights if small[layer].weight.shape != weights[layer].shape and layer not in owned]
        units[name] |= dict.fromkeys(also, 1.0)
        owned.update(also)
    return cuts


def norm_errors(network: Network, scores: Arrays, cuts: Cuts, levels: Sequence[float]) -> np.ndarray:
    """Errors (units, levels) of each unit of decision pruned alone, by the norm that goes: see `norm_lost`.

    Those of a layer are of its own weights; of structures they add up over all layers that make and that read them.
    """
    weights, rows = network.weights(), []
    for unit in cuts.units:
        # a neuron that has lost all its weights takes those that read it along: they count for their own layer
        names = [unit] if cuts.targets.pools is None else list(weights)
        pruned = (cuts.cut(network, scores, {unit: level}).masks() for level in levels)
        rows.append([sum(norm_lost(weights[name].value, masks[name]) for name in names) for masks in pruned])
    return np.array(rows)
