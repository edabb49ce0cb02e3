"""Where a run tells what it does, and how it writes what it found."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..files.atomic_write import write_atomically
from ..nn.training import Epoch
from ..pruning.cycle import Round
from .task import CLASSIFICATION, Task

NOTES = 1 << 20  # bytes, more than a plot and a JSON take


@dataclass
class Narrator:
    """Where a run tells what it does: `line` for what stays, `progress` for what the next one replaces."""

    line: Callable[[str], None] = print
    progress: Callable[[str], None] = lambda text: None

    def epoch(self, stage: str, epochs: int) -> Callable[[Epoch], None]:
        """A hook for `fit`."""
        return lambda e: self.progress(f"{stage}: epoch {e.epoch}/{epochs}, loss {e.loss:.4f}, {e.seconds:.1f} s")

    def round(self, rounds: int, task: Task = CLASSIFICATION) -> Callable[[Round], None]:
        """A hook for `iterative_prune`."""

        def tell(r: Round) -> None:
            self.line(
                f"round {r.round}/{rounds}: {100 * r.sparsity:.1f} % of the weights gone, "
                f"validation {task.name} {task.show(r.accuracy_before)} masked, {task.show(r.accuracy)} retrained, "
                f"{r.seconds:.1f} s" + ("" if r.accepted else " - too low")
            )

        return tell


def write_json(path: Path, content: dict) -> None:
    """Write `content` as JSON, whole or not at all."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
