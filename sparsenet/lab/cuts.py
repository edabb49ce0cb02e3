"""Networks of which each layer (with structures: each dependency group) is pruned by a sparsity of its own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..checks import check_known
from ..nn.network import Network
from ..pruning.cycle import prune_targets
from ..pruning.granularity import Arrays, Granularity
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
    """How much of its norm a unit loses, by its logarithm: errors (units, levels) that need no data.

    Notes
    -----
    e_u(s) = - sum over l of ln(||m_l w_l||^2 / ||w_l||^2)

    with m_l the masks of all layers once unit u alone is pruned to s: for weights those of one layer, for structures
    those of what makes and what reads them. It is 0 for nothing, and without bound for all of a layer, however little
    its loss would tell: signals pass the layers one after another, and their norms multiply.

    With a layer's smallest weights gone it is - sum of ln(1 - I_u) over them, I_u the score of `lamp` (Lee et al.
    2021):
    where each weight costs the same, the least sum of errors is what global pruning by that score finds, near enough;
    with times or bytes as costs it is more than that.
    """
    norms, rows = _squared_norms(network), []
    for unit in cuts.units:
        # a neuron that has lost all its weights takes those that read it along: they count for their own layer
        names = [unit] if cuts.targets.pools is None else list(norms)
        pruned = [_squared_norms(cuts.cut(network, scores, {unit: level})) for level in levels]
        rows.append([-sum(np.log(own[name] / norms[name]) for name in names) for own in pruned])
    return np.array(rows)


def _squared_norms(network: Network) -> dict[str, float]:
    """Of each layer's weights; never 0."""
    tiny = np.finfo(np.float64).tiny
    norms = {name: np.vdot(own.value, own.value) for name, own in network.weights().items()}
    return {name: max(float(norm), tiny) for name, norm in norms.items()}
