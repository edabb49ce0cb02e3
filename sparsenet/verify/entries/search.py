"""Entry of the search for what each layer loses."""

from collections.abc import Iterator

import numpy as np

from ...pruning.search import allocate, norm_lost, search_coefficients
from ..definitions import search as define
from ..entry import EXACT, ROUNDING, Comparison, Entry


def _whole_bins(function, oracle, rng: np.random.Generator) -> Iterator[Comparison]:
    """Costs of whole bins, where the programme finds the optimum; errors without ties."""
    for layers, options in ((1, 4), (3, 3), (4, 4)):
        errors, costs = rng.random((layers, options)), rng.integers(1, 20, (layers, options)).astype(float)
        least = int(costs.min(axis=1).sum())
        for spare in (1, 5, 12):
            found = function(errors, costs, least + spare, bins=spare)
            yield f"{layers} layers, {spare} to spare", found, oracle(errors, costs, least + spare)


def _masks(function, oracle, rng: np.random.Generator) -> Iterator[Comparison]:
    for shape in ((7, 5), (4, 3, 2, 2)):
        weight = rng.standard_normal(shape)
        for sparsity in (0.0, 0.3, 0.9):
            mask = rng.random(shape) >= sparsity
            mask.flat[0] = True
            yield f"{shape}, about {sparsity} gone", function(weight, mask), oracle(weight, mask)


def _hidden_best(function, oracle, rng: np.random.Generator) -> Iterator[Comparison]:
    """A loss that is the least at coefficients which the search does not know."""
    for layers, trials in ((1, 0), (2, 1), (3, 40)):
        hidden, seed = rng.standard_normal(layers), int(rng.integers(1 << 30))

        def judge(c: np.ndarray, hidden: np.ndarray = hidden) -> float:
            return float(np.square(np.log(c) - hidden).sum())

        found, right = (each(judge, layers, trials, np.random.default_rng(seed)) for each in (function, oracle))
        for what, one, other in zip(("coefficients", "loss"), found, right, strict=True):
            yield f"{layers} layers, {trials} trials, {what}", one, other


ENTRIES = (
    Entry(
        "search.norm_lost",
        "allocation",
        norm_lost,
        define.norm_lost,
        _masks,
        "Lee et al. 2021 (LAMP), its score summed over what goes",
        ROUNDING,
    ),
    Entry(
        "search.search_coefficients",
        "allocation",
        search_coefficients,
        define.local_search,
        _hidden_best,
        "Frantar & Alistarh 2022 (SPDY), section 3, with steps of its own",
        ROUNDING,
    ),
    Entry(
        "search.allocate",
        "allocation",
        allocate,
        define.best_choice,
        _whole_bins,
        "Frantar & Alistarh 2022 (SPDY), section 3",
        EXACT,
    ),
)
