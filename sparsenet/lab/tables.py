"""Plain text: rows of cells as a table, counts with their unit."""

from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def describe_batch(batch: int, threads: int) -> str:
    """What was measured: "batch of 64, 1 thread"."""
    return f"batch of {batch}, {count_threads(threads)}"


def count_threads(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread{'s' * (threads != 1)}"
