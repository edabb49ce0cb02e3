"""Equal scores: where the index of a unit, and not its score, settles whether it goes."""

from collections.abc import Collection, Mapping

import numpy as np

from ..checks import warn_caller
from .granularity import Granularity, sum_over_structures

MOST = 0.75  # of a layer's units: what a tie must hold to be told


def settled_by_index(
    scores: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    granularity: Granularity,
    current: Mapping[str, np.ndarray] | None = None,
) -> list[str]:
    """The layers of which units go and others stay with one and the same score, where that settles most of the layer.

    It does where three quarters or more of the units that the layer had, two at least, share the score, as in a dead
    layer or at a loss of 0. (Half of a layer without a gradient is common: the borders of images are empty.) Units that
    were pruned before do not count.

    Examples
    --------
    >>> from sparsenet.pruning.granularity import Weight
    >>> from sparsenet.pruning.masks import make_masks, prune_lowest_units
    >>> scores = {"a": np.array([[0.0, 0.0, 0.0, 7.0]]), "b": np.array([[0.0, 0.0, 6.0, 7.0]])}
    >>> settled_by_index(scores, make_masks(scores, 0.5, scope="layer", exclude=["a"]), Weight())
    []
    >>> settled_by_index(scores, prune_lowest_units(scores, 0.5, scope="layer"), Weight())
    ['a']
    """
    return [
        name for name, mask in masks.items() if _cuts_a_tie(scores[name], mask, granularity, (current or {}).get(name))
    ]


def _cuts_a_tie(scores: np.ndarray, mask: np.ndarray, granularity: Granularity, before: np.ndarray | None) -> bool:
    before = np.ones(scores.shape, bool) if before is None else before
    units = sum_over_structures(scores * before, granularity)
    had, has = (sum_over_structures(kept, granularity) > 0 for kept in (before, mask))
    lost = had & ~has
    if not lost.any():
        return False
    cut = units[lost].max()
    tied = int((units[had] == cut).sum())
    return bool((units[has] == cut).any()) and tied >= max(2, MOST * int(had.sum()))


def warn_of_ties(names: Collection[str], by: str = "") -> None:
    """Warn the caller of the package that the index settled which units of these layers went, scored `by` whom.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     warn_of_ties(["fc1"], "criterion 'taylor'")
    >>> str(told[0].message)[:68]
    "criterion 'taylor' gives units of 'fc1' that went and units that sta"
    """
    if names:
        warn_caller(
            f"{by or 'the criterion'} gives units of {', '.join(map(repr, names))} that went and units that stay one "
            "and the same score: which of them went was settled by their index (dead units, or a loss of 0?)"
        )
