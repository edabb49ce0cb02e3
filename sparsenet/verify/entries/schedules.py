"""Entries of the schedules of pruning."""

import numpy as np

from ...pruning import schedules
from ..definitions import schedules as definitions
from ..entry import Entry, same


def _rounds(rng: np.random.Generator) -> list[tuple]:
    drawn = int(rng.integers(2, 9)), float(rng.uniform(0.5, 0.99)), float(rng.uniform(0, 0.5))
    return [(1, 0.9), (5, 0.95), (4, 0.8, 0.3), drawn]


def _entry(name: str, source: str) -> Entry:
    function, oracle = getattr(schedules, name), getattr(definitions, name)
    return Entry(f"schedules.{name}", "schedule", function, oracle, same(_rounds), source)


ENTRIES = (
    _entry("one_shot", "definition"),
    _entry("linear", "definition"),
    _entry("cubic", "Zhu & Gupta 2017, eq. 1"),
    _entry("geometric", "Frankle & Carbin 2019"),
)
