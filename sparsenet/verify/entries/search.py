"""Entry of the search for what each layer loses."""

from collections.abc import Iterator

import numpy as np

from ...pruning.search import allocate
from ..definitions.search import best_choice
from ..entry import EXACT, Comparison, Entry


def _whole_bins(function, oracle, rng: np.random.Generator) -> Iterator[Comparison]:
    """Costs of whole bins, where the programme finds the optimum; errors without ties."""
    for layers, options in ((1, 4), (3, 3), (4, 4)):
        errors, costs = rng.random((layers, options)), rng.integers(1, 20, (layers, options)).astype(float)
        least = int(costs.min(axis=1).sum())
        for spare in (1, 5, 12):
            found = function(errors, costs, least + spare, bins=spare)
            yield f"{layers} layers, {spare} to spare", found, oracle(errors, costs, least + spare)


ENTRIES = (
    Entry(
        "search.allocate",
        "allocation",
        allocate,
        best_choice,
        _whole_bins,
        "Frantar & Alistarh 2022 (SPDY), section 3",
        EXACT,
    ),
)
