"""The article's pruning strategies: presets of (granularity, rule), section 4.1 and 5.2.2.

Which when (figures: MNIST, L1; the table in `scores`):

- `proportional` for accuracy at a given number of weights: the layers that can spare most lose most.
- `layerwise` for speed: every layer gets thin, the convolutions too, which hold few of the weights and most of the
  arithmetic; and where a criterion's scores do not compare across layers.
- `channelwise` for a smaller dense network that any library runs (`remove_pruned_structures`). Half of the filters,
  75 % of the weights, went at no cost; nine tenths of them cost two points, whatever the criterion.
- `max_threshold` to follow the article: its number is a rate, no fraction of the weights. At the rate that prunes 90 %
  it did as well as `proportional`.

Examples
--------
>>> scores = {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([[5.0, 8.0]])}
>>> for strategy in (layerwise, channelwise, proportional, max_threshold):
...     print([mask.astype(int).tolist() for mask in strategy(scores, 0.5).values()])
[[[0, 0], [1, 1]], [[0, 1]]]
[[[0, 0], [1, 1]], [[1, 1]]]
[[[0, 0], [0, 1]], [[1, 1]]]
[[[0, 1], [1, 1]], [[1, 1]]]
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from .granularity import Arrays, Filter, Granularity, Weight
from .masks import mask_below_maximum, prune_lowest_units
from .ties import settled_by_index, warn_of_ties

lowest_in_layer = partial(prune_lowest_units, scope="layer")
lowest_of_all = partial(prune_lowest_units, scope="global")


@dataclass(frozen=True)
class Strategy:
    """What goes as one (`granularity`), and the rule that says how many of them and where.

    The rules are `lowest_in_layer` and `lowest_of_all`, which are `prune_lowest_units` with its scope,
    `mask_below_maximum`, or any function that takes the same arguments.

    Examples
    --------
    >>> pairs = Strategy(Weight(), lowest_in_layer)
    >>> masks = pairs({"a": np.array([[1.0, 2.0]]), "b": np.array([[9.0, 8.0, 7.0, 6.0]])}, 0.5, exclude=["a"])
    >>> {name: mask.astype(int).tolist() for name, mask in masks.items()}
    {'a': [[1, 1]], 'b': [[1, 1, 0, 0]]}
    """

    granularity: Granularity
    rule: Callable[..., Arrays]

    def __call__(
        self,
        scores: Mapping[str, np.ndarray],
        sparsity: float,
        *,
        current: Mapping[str, np.ndarray] | None = None,
        exclude: Collection[str] = (),
        overrides: Mapping[str, float] | None = None,
    ) -> Arrays:
        """Masks for scores, at this sparsity (for `max_threshold`: its rate); arguments and warning of `make_masks`."""
        masks = self.masks(scores, sparsity, current=current, exclude=exclude, overrides=overrides)
        warn_of_ties(settled_by_index(scores, masks, self.granularity, current))
        return masks

    def masks(
        self,
        scores: Mapping[str, np.ndarray],
        sparsity: float,
        *,
        current: Mapping[str, np.ndarray] | None = None,
        exclude: Collection[str] = (),
        overrides: Mapping[str, float] | None = None,
    ) -> Arrays:
        """The same without the warning."""
        return self.rule(
            scores, sparsity, granularity=self.granularity, current=current, exclude=exclude, overrides=overrides
        )


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
"""Printed: mask = |w| < rate * max|w|, per layer; the number it is called with is the rate, not a sparsity."""

STRATEGIES = {
    "layerwise": layerwise,
    "channelwise": channelwise,
    "proportional": proportional,
    "max_threshold": max_threshold,
}
