"""Results of verification as text: a table of all, one entry in full with digits of both sides, JSON."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from .entry import difference, place_of
from .runner import Result

DIGITS = 4  # numbers of a result that an example shows
HEADER = ("formula", "where", "source", "oracle", "difference", "ok")


def format_json(results: Sequence[Result]) -> str:
    """The results as JSON: whether all are ok, and a record for each (see `Result.to_json`)."""
    content = {"ok": all(result.ok for result in results), "formulas": [result.to_json() for result in results]}
    return json.dumps(content, indent=1, allow_nan=False)


def format_results(results: Sequence[Result]) -> str:
    """A row for each entry, and how many are right."""
    rows = [HEADER, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    failed = [result for result in results if not result.ok]
    lines += ["", *(f"{result.entry.name}: {_failure(result)}" for result in failed)]
    seconds = sum(result.seconds for result in results)
    lines.append(f"{len(results) - len(failed)} of {len(results)} formulas agree with their oracles, {seconds:.1f} s")
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    entry = result.entry
    ok = "ok" if result.ok else "FAILED"
    where, oracle = (place.removeprefix("sparsenet/") for place in (entry.place, place_of(entry.oracle)))
    return entry.name, where, entry.source, oracle, f"{result.difference:.1e}", ok


def _failure(result: Result) -> str:
    if result.error or not result.comparisons:
        return result.error or "nothing was compared"
    what, value, expected = max(result.comparisons, key=lambda comparison: difference(*comparison[1:]))
    return f"{what}: {_digits(value)} in the code, {_digits(expected)} by the oracle"


def format_entry(result: Result) -> str:
    """One entry in full: the formula, where code and oracle are, and an example with the digits of both."""
    entry = result.entry
    lines = [
        f"{entry.name} ({entry.kind})",
        textwrap.indent(entry.text, "  "),
        f"source:     {entry.source}",
        f"code:       {entry.place}",
        f"oracle:     {place_of(entry.oracle)}",
        f"tolerance:  {entry.tolerance.limit:g} ({entry.tolerance.meaning})",
    ]
    for what, value, expected in result.comparisons:
        lines += [
            f"{what}: largest difference {difference(value, expected):.1e}",
            f"  code    {_digits(value)}",
            f"  oracle  {_digits(expected)}",
        ]
    lines.append("ok" if result.ok else f"FAILED: {_failure(result)}")
    return "\n".join(lines)


def _digits(value: Any) -> str:
    """The first numbers of a result."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_digits(part)}" for key, part in list(value.items())[:DIGITS])
    if isinstance(value, tuple | list):
        shown = "; ".join(_digits(part) for part in value[:DIGITS])
        return shown + " ..." * (len(value) > DIGITS)
    if isinstance(value, str | bytes) or value is None:
        return repr(value[:32]) if value else repr(value)
    flat = np.asarray(value).reshape(-1)
    shown = " ".join(f"{number:.10g}" if flat.dtype.kind == "f" else str(number) for number in flat[:DIGITS].tolist())
    return shown + " ..." * (flat.size > DIGITS)
