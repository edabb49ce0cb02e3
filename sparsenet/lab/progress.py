"""What passes at a terminal: a text, with a bar and the remaining time where it is known how much there is to do."""

import os
import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 80  # of a terminal that does not tell
FORM = "{percentage:3.0f}% {bar:16} {remaining} left  {text}"


class Progress:
    """Told a text, and how many of how many steps are done, it gives the line to show.

    The bar is drawn by tqdm (the `app` extra), which is loaded with the first one; where it is missing the text is all.
    Its clock starts anew where the steps do: with another total, or fewer done than before. A text alone leaves it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.total, self.done, self.start, self.first = clock, 0, 0, 0.0, 0

    def line(self, text: str, done: int = 0, total: int = 0, *, width: int = WIDTH, unicode: bool = True) -> str:
        """The line, no longer than `width`."""
        if not total:
            return text[: width - 1]
        if total != self.total or done < self.done:
            self.total, self.start, self.first = total, self.clock(), done
        self.done = done
        try:
            from tqdm import tqdm
        except ImportError:
            return text[: width - 1]
        taken, look = self.clock() - self.start, {"ncols": width - 1, "bar_format": FORM, "ascii": not unicode}
        return tqdm.format_meter(done, total, taken, initial=self.first, text=text, **look)


def width_of(stream: TextIO) -> int:
    """Columns of the terminal that a stream writes to."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or WIDTH
    except (OSError, ValueError, AttributeError):
        return WIDTH
