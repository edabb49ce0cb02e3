"""Time several programs side by side: interleaved calls, medians with their spread."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


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


def interleave(programs: Mapping[str, Callable[[], object]], seconds: float, least: int = 5) -> None:
    """Call the programs in turn for about `seconds` in all, each at least `least` times, after one call to warm up.

    In turn, so that whatever else the machine does falls on all of them alike.
    """
    for program in programs.values():
        program()
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < least or time.perf_counter() < end:
        for program in programs.values():
            program()
        rounds += 1


def measure(programs: Mapping[str, Callable[[], object]], seconds: float = 1.0) -> dict[str, Latency]:
    """Latency of each program, measured side by side."""
    times = {name: [] for name in programs}

    def timed(name, program):
        def call():
            program()  # finds the caches as another program has left them, which is nobody's everyday
            start = time.perf_counter()
            program()
            times[name].append(time.perf_counter() - start)

        return call

    interleave({name: timed(name, program) for name, program in programs.items()}, seconds)
    return {name: Latency.of(values[1:]) for name, values in times.items()}  # the first call was the warm-up
