"""The article's pruning strategies: presets of (granularity, scope, rule), section 4.1 and 5.2.2."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .masks import Arrays, Filter, Granularity, Weight, make_masks, mask_below_maximum


def lowest_in_layer(scores: Mapping[str, np.ndarray], strength: float, **options) -> Arrays:
    """Rule: the fraction `strength` of the units of each layer, the lowest scores."""
    return make_masks(scores, strength, scope="layer", **options)


def lowest_of_all(scores: Mapping[str, np.ndarray], strength: float, **options) -> Arrays:
    """Rule: the fraction `strength` of all units, the lowest scores wherever they are."""
    return make_masks(scores, strength, scope="global", **options)


@dataclass(frozen=True)
class Strategy:
    """What goes as one (`granularity`), and the rule that says how many of them and where.

    Calling it, strategy(scores, strength, current=, exclude=, overrides=), gives the masks.
    """

    granularity: Granularity
    rule: Callable[..., Arrays]

    def __call__(self, scores: Mapping[str, np.ndarray], strength: float, **options) -> Arrays:
        """Masks for scores, at this strength (a sparsity, or the rate of `max_threshold`)."""
        return self.rule(scores, strength, granularity=self.granularity, **options)


layerwise = Strategy(Weight(), lowest_in_layer)
"""Printed: theta_ij = 0 if I_i < theta_ij. Reading: importance against a threshold tau_l of the layer, its quantile for
the sparsity asked (the printed right-hand side, the weight itself, cannot be meant)."""

channelwise = Strategy(Filter(), lowest_in_layer)
"""Printed: theta_ij = 0 for all j if I_i < theta_ij. Reading: whole filters (neurons) go, the same fraction in each
layer; a neuron's importance is summed over its incoming weights, as is usual in the field. For the printed sum over the
outgoing ones: Strategy(Channel(), lowest_in_layer)."""

proportional = Strategy(Weight(), lowest_of_all)
"""Printed: keep if I_i >= theta and sum_i I_i / N >= p. Reading: one threshold for the whole network; the fraction p of
all N weights, those of the lowest importance, goes wherever it is."""

max_threshold = Strategy(Weight(), mask_below_maximum)
"""Printed: mask = |w| < rate * max|w|, per layer; the strength is the rate, not a sparsity."""

STRATEGIES = {
    "layerwise": layerwise,
    "channelwise": channelwise,
    "proportional": proportional,
    "max_threshold": max_threshold,
}
