"""Run entries: each compares code and oracle on arguments drawn from a seed."""

import difflib
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .entries import ENTRIES
from .entry import Comparison, Entry, difference, place_of


@dataclass(frozen=True)
class Result:
    """What became of one entry.

    Attributes
    ----------
    entry : Entry
    comparisons : tuple of (what, the code's, the oracle's)
    difference : float
        The largest of all comparisons (see `entry.difference`); infinite where one of the two raised an error.
    error : str
        That error; empty where there was none.
    seconds : float
    """

    entry: Entry
    comparisons: tuple[Comparison, ...]
    difference: float
    error: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether something was compared, and nothing was farther apart than the tolerance."""
        return not self.error and bool(self.comparisons) and self.difference <= self.entry.tolerance.limit

    def to_json(self) -> dict[str, Any]:
        """The result as plain values, without the arrays that were compared."""
        entry = self.entry
        return {
            "name": entry.name,
            "kind": entry.kind,
            "formula": entry.text,
            "where": entry.place,
            "source": entry.source,
            "oracle": place_of(entry.oracle),
            "comparisons": [what for what, *_ in self.comparisons],
            "largest_difference": self.difference if np.isfinite(self.difference) else None,
            "tolerance": entry.tolerance.limit,
            "ok": self.ok,
            "error": self.error,
            "seconds": self.seconds,
        }


def run_entry(entry: Entry, seed: int = 0) -> Result:
    """Compare code and oracle of one entry. The arguments depend on its name and the seed alone."""
    rng = np.random.default_rng([seed, zlib.crc32(entry.name.encode())])
    start, comparisons, error = time.perf_counter(), [], ""
    try:
        comparisons.extend(entry.compare(entry.function, entry.oracle, rng))
    except Exception as failure:  # whatever it is, the formula is not shown to hold, and the others are still to be run
        error = f"{type(failure).__name__}: {failure}"
    largest = max((difference(value, expected) for _, value, expected in comparisons), default=float("inf"))
    largest = float("inf") if error else largest
    return Result(entry, tuple(comparisons), largest, error, time.perf_counter() - start)


def run(
    entries: Iterable[Entry] = ENTRIES, *, seed: int = 0, progress: Callable[[str, int, int], None] | None = None
) -> list[Result]:
    """Run entries one after the other; `progress` is told each name before it runs, and where it is."""
    entries, results = list(entries), []
    for number, entry in enumerate(entries, 1):
        if progress is not None:
            progress(f"{number}/{len(entries)} {entry.name}", number - 1, len(entries))
        results.append(run_entry(entry, seed))
    return results


def select(names: Sequence[str]) -> list[Entry]:
    """The entries that carry one of the names: in full, or a part between dots, in capitals or not; all for none.

    Raises
    ------
    ValueError
        For a name that no entry carries, with those that are close to it.

    Examples
    --------
    >>> [entry.name for entry in select(["taylor"])]
    ['scores.taylor']
    """
    if not names:
        return list(ENTRIES)
    found = []
    for name in names:
        own = [entry for entry in ENTRIES if name.lower() in _calls(entry)]
        if not own:
            raise ValueError(f"no formula is called {name!r}{_close(name)}")
        found += [entry for entry in own if entry not in found]
    return found


def _calls(entry: Entry) -> set[str]:
    return {entry.name.lower(), *entry.name.lower().split(".")}


def _close(name: str) -> str:
    """What to say of the names that are like one that there is not."""
    known = {call: entry.name for entry in ENTRIES for call in sorted(_calls(entry))}
    close = dict.fromkeys(known[call] for call in difflib.get_close_matches(name.lower(), known, n=5))
    return f"; like it are {', '.join(close)}" if close else "; `sparsenet verify` without a name lists all"
