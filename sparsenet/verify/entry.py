"""What an entry is: a formula, the function that implements it, a slow independent oracle, and how the two compare."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FLOOR = 1e-3  # the least scale of a difference: below it numbers are compared absolutely
Comparison = tuple[str, Any, Any]  # what is compared, the code's, the oracle's


class Tolerance(NamedTuple):
    """The largest `difference` that passes, and why it is not 0."""

    limit: float
    meaning: str


EXACT = Tolerance(0.0, "equal, bit for bit")
ROUNDING = Tolerance(1e-12, "float64, added in another order")
SINGLE = Tolerance(1e-5, "float32 against float64")
SLOPE = Tolerance(1e-7, "float64 against central differences, whose error is about 1e-9")


@dataclass(frozen=True)
class Entry:
    """One formula and its proof.

    Attributes
    ----------
    name : str
        What the command calls it: the module, or the class, and the function, as in "scores.taylor".
    kind : str
        Of what it is: "layer", "loss", "optimizer", "criterion", "mask", ...
    function : function or class
        What implements the formula.
    oracle : function
        An independent definition, from `definitions`.
    compare : function (function, oracle, rng) -> (what, the function's, the oracle's), ...
        Draws arguments, calls both, and yields what has to agree. It uses the two as they are handed to it, so that
        another implementation of the same formula can be checked in the place of ours: `dataclasses.replace`.
    source : str
        Paper and equation, or what makes it a definition.
    tolerance : Tolerance
    at : function, optional
        Where the formula stands, where that is not the function that is called but one within it (a method, a kernel).
    formula : str
        The formula, where it is not what the documentation says.
    """

    name: str
    kind: str
    function: Callable
    oracle: Callable
    compare: Callable[[Callable, Callable, np.random.Generator], Iterable[Comparison]]
    source: str
    tolerance: Tolerance = ROUNDING
    at: Callable | None = None
    formula: str = ""

    @property
    def text(self) -> str:
        """The formula in words and letters."""
        return self.formula or (self.at and formula_of(self.at)) or formula_of(self.function)

    @property
    def place(self) -> str:
        """File and line of the formula."""
        return place_of(self.at or self.function)


def same(draw: Callable[[np.random.Generator], Iterable[tuple]]) -> Callable[..., Iterator[Comparison]]:
    """A `compare` of two functions of the same arguments: those that `draw` makes, one tuple for each comparison.

    Examples
    --------
    >>> compare = same(lambda rng: [(np.array([3.0, -4.0]),)])
    >>> [(what, value.tolist(), expected.tolist()) for what, value, expected in compare(np.abs, np.fabs, None)]
    [('1', [3.0, 4.0], [3.0, 4.0])]
    """

    def compare(function: Callable, oracle: Callable, rng: np.random.Generator) -> Iterator[Comparison]:
        for number, arguments in enumerate(draw(rng), 1):
            yield str(number), function(*arguments), oracle(*arguments)

    return compare


def difference(value: Any, expected: Any) -> float:
    """How far two results are apart: numbers, arrays, bytes, text, and tuples, lists or dicts of them.

    Notes
    -----
    max |value - expected| / max(FLOOR, max |expected|) for arrays of numbers, a truth being 0 or 1; the largest of the
    parts for what has parts; infinite where shapes, names, NaNs, bytes or text differ

    Examples
    --------
    >>> difference(np.array([1.0, 2.0]), np.array([1.0, 4.0])), difference((1, "a"), (1, "a")), difference([1], [1, 2])
    (0.5, 0.0, inf)
    """
    if isinstance(expected, dict):
        if not isinstance(value, dict) or value.keys() != expected.keys():
            return float("inf")
        return max((difference(value[key], expected[key]) for key in expected), default=0.0)
    if isinstance(expected, tuple | list):
        if not isinstance(value, tuple | list) or len(value) != len(expected):
            return float("inf")
        return max((difference(*pair) for pair in zip(value, expected, strict=True)), default=0.0)
    if isinstance(expected, str | bytes):
        return 0.0 if value == expected else float("inf")
    return _array_difference(np.asarray(value), np.asarray(expected))


def _array_difference(value: np.ndarray, expected: np.ndarray) -> float:
    if value.dtype.kind not in "fiub" or value.shape != expected.shape:
        return float("inf")
    value, expected = value.astype(np.float64), expected.astype(np.float64)
    agree = (value == expected) | (np.isnan(value) & np.isnan(expected))  # infinities too
    if agree.all():
        return 0.0
    apart, scale = value[~agree] - expected[~agree], np.abs(expected[np.isfinite(expected)]).max(initial=FLOOR)
    return float(np.abs(apart).max() / scale) if np.isfinite(apart).all() else float("inf")


def plain(function: Callable) -> Callable:
    """The function as it is written, within a partial, a compiled kernel, a method."""
    while True:
        inner = getattr(function, "func", None) or getattr(function, "py_func", None)
        if inner is None:
            return inspect.unwrap(function)
        function = inner


def place_of(function: Callable) -> str:
    """File, from the package's parent on, and line of a function or class; its name where it has no file.

    Examples
    --------
    >>> place_of(place_of).split(":")[0]
    'sparsenet/verify/entry.py'
    """
    written = plain(function)
    if not inspect.isclass(written) and not inspect.isroutine(written):
        written = type(written)
    try:
        path, (_, line) = Path(inspect.getfile(written)), inspect.getsourcelines(written)
    except (TypeError, OSError):  # built in, or typed at a prompt
        return f"{written.__module__}.{written.__qualname__}"
    parent = Path(__file__).parents[2]
    return f"{path.relative_to(parent).as_posix() if path.is_relative_to(parent) else path}:{line}"


def formula_of(function: Callable) -> str:
    """The first paragraph of a function's own documentation, and its Notes.

    Examples
    --------
    >>> print(formula_of(difference)[:163])
    How far two results are apart: numbers, arrays, bytes, text, and tuples, lists or dicts of them.
    <BLANKLINE>
    max |value - expected| / max(FLOOR, max |expected|) for arrays of
    """
    text = inspect.cleandoc(plain(function).__doc__ or "")  # not what a method inherits
    first, _, notes = text.partition("\n\n")[0], *text.partition("Notes\n-----\n")[1:]
    lines = notes.splitlines()
    ends = [number for number, line in enumerate(lines[1:]) if line and set(line) == {"-"}]
    return "\n\n".join(filter(None, [first, "\n".join(lines[: ends[0]] if ends else lines).strip()]))
