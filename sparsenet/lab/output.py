"""Where a run tells what it does, and how it writes what it found."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..files.atomic_write import write_atomically
from ..nn.training import Epoch
from ..pruning.cycle import Round
from .task import CLASSIFICATION, Task

NOTES = 4 << 20  # bytes, more than a JSON, a plot and a report with its pictures take


@dataclass
class Narrator:
    """Where a run tells what it does: `line` for what stays, `progress` for what the next one replaces.

    Progress is a text, how many steps of a stage are done, and of how many; 0 and 0 for a text alone.
    """

    line: Callable[[str], None] = print
    progress: Callable[[str, int, int], None] = lambda text, done, total: None

    def epoch(self, stage: str, epochs: int, rounds: int = 1) -> Callable[[Epoch], None]:
        """A hook for `fit`, or for one `fit` in each round, all of which are one stage."""
        numbers, total = count(), epochs * rounds
        self.progress(f"{stage} ...", 0, total)

        def tell(e: Epoch) -> None:
            done = next(numbers) % total + 1  # once all rounds are over they may begin again
            self.progress(f"{stage}: epoch {e.epoch}/{epochs}, loss {e.loss:.4f}, {e.seconds:.1f} s", done, total)

        return tell

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
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def draw(plot: Callable[[], object], narrator: Narrator) -> None:
    """Draw and write a plot, or say why there is none; an error in writing is the caller's to know."""
    try:
        plot()
    except OSError:
        raise
    except ImportError as error:
        narrator.line(f"no plot: {error}")
    except Exception as error:  # an installation of matplotlib that is broken raises anything
        narrator.line(f"no plot: {type(error).__name__}: {error}")


def write_text(path: Path, text: str) -> None:
    """Write `text`, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()))
