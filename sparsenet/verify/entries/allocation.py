"""Entries of how much of each layer goes."""

from collections.abc import Callable, Iterator

import numpy as np

from ...pruning import allocation
from ..definitions import allocation as definitions
from ..entry import Entry, same


def _shapes(fractions: tuple[float, ...]) -> Callable[[np.random.Generator], Iterator[tuple]]:
    """Layers of which none, one, or all are full."""

    def draw(rng):
        yield {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}, 0.1
        for fraction in (*fractions, float(rng.uniform(0.02, 0.98))):
            sizes = [tuple(rng.integers(1, 9, count).tolist()) for count in (2, 4, 4, 2)]
            yield {f"layer{number}": shape for number, shape in enumerate(sizes)}, fraction

    return draw


def _entry(name: str, fractions: tuple[float, ...], source: str, formula: str = "") -> Entry:
    function, oracle = getattr(allocation, name), getattr(definitions, name)
    return Entry(
        f"allocation.{name}", "allocation", function, oracle, same(_shapes(fractions)), source, formula=formula
    )


ENTRIES = (
    _entry("erk_densities", (0.05, 0.5, 1.0), "Evci et al. 2020, section 3"),
    _entry(
        "erk_sparsities",
        (0.0, 0.5, 0.95),
        "Evci et al. 2020, section 3",
        "sum_l (1 - s_l) n_l = n - round(s n) exactly, each layer within one weight of d_l n_l",
    ),
)
