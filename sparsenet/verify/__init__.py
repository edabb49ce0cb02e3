"""Floor 5: formulas against their proofs.

`definitions` has the slow independent ones, `entries` says which of them belongs to which function, `runner` compares,
`report` tells; `own` checks layers and criteria of yours.

Examples
--------
>>> for result in run(select(["losses.accuracy"])):
...     print(result.entry.name, result.difference, result.ok)
losses.accuracy 0.0 True
"""

from .entries import ENTRIES
from .entry import Entry, Tolerance
from .own import criterion, gradients
from .runner import Result, run, run_entry, select

__all__ = ["ENTRIES", "Entry", "Result", "Tolerance", "criterion", "gradients", "run", "run_entry", "select"]
