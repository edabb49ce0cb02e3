"""Time several programs side by side: interleaved calls, medians with their spread."""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

Found = TypeVar("Found")


@dataclass(frozen=True)
class Latency:
    """Time of one call in microseconds: the median, and the quartiles as its spread."""

    median_us: float
    low_us: float
    high_us: float
    calls: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Latency":
        """Summary of measured seconds."""
        low, median, high = (float(q) for q in np.percentile(np.array(seconds) * 1e6, (25, 50, 75)))
        return cls(median, low, high, len(seconds))


def in_turn(
    programs: Mapping[Hashable, Callable[[], Found]], seconds: float, least: int = 5
) -> dict[Hashable, list[Found]]:
    """What each program gives back, called in turn for about `seconds` in all, each at least `least` times.

    In turn, so that whatever else the machine does falls on all of them alike. Each call that counts follows one of the
    same program that does not, so that the caches hold what the program itself has left there, as where it runs alone.
    A round of calls before them all warms up.
    """

    def call_all() -> dict[Hashable, Found]:
        found = {}
        for name, program in programs.items():
            program()
            found[name] = program()
        return found

    call_all()
    rounds, end = [], time.perf_counter() + seconds
    while len(rounds) < least or time.perf_counter() < end:
        rounds.append(call_all())
    return {name: [found[name] for found in rounds] for name in programs}


def measure(programs: Mapping[Hashable, Callable[[], object]], seconds: float = 1.0) -> dict[Hashable, Latency]:
    """Latency of each program, measured side by side."""
    timed = {name: partial(_seconds_of, program) for name, program in programs.items()}
    return {name: Latency.of(taken) for name, taken in in_turn(timed, seconds).items()}


def _seconds_of(program: Callable[[], object]) -> float:
    start = time.perf_counter()
    program()
    return time.perf_counter() - start
