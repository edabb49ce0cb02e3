"""Checks of arguments at the public boundary: each raises an error that names the argument, its value and the rule."""

import operator
import sys
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

FLOATS = (np.float32, np.float64)
PACKAGE = str(Path(__file__).parent)


def _number(name: str, value: float) -> float:
    if isinstance(value, str | bytes | bool | np.bool_):
        raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {value!r}") from None


def check_fraction(name: str, value: float, *, low: float = 0.0, high: float = 1.0, closed: bool = False) -> float:
    """Return `value` as a float in [low, high), or in [low, high] when `closed`.

    Raises
    ------
    TypeError
        When `value` is no number.
    ValueError
        When it is outside the interval, or not a number (NaN).
    """
    number = _number(name, value)
    inside = low <= number <= high if closed else low <= number < high
    if not inside:
        raise ValueError(f"{name} must be in [{low:g}, {high:g}{']' if closed else ')'}, not {value!r}")
    return number


def check_positive(name: str, value: float, *, zero: bool = False) -> float:
    """Return `value` as a finite float above zero (or zero, where `zero` allows it)."""
    number = _number(name, value)
    if not np.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} must be a finite number {'>= 0' if zero else '> 0'}, not {value!r}")
    return number


def check_count(name: str, value: int, *, at_least: int = 1) -> int:
    """Return `value` as an int of at least `at_least`; booleans and floats are refused."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {value!r}") from None
    if number < at_least:
        raise ValueError(f"{name} must be at least {at_least}, not {number}")
    return number


def check_pair(name: str, value: int | tuple[int, int], *, at_least: int) -> tuple[int, int]:
    """Return (height, width) from one integer or a pair of them."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair (height, width), not {value!r}")
    return check_count(name, pair[0], at_least=at_least), check_count(name, pair[1], at_least=at_least)


def check_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return the shape of one sample as a tuple of positive ints."""
    try:
        sizes = None if isinstance(shape, str | bytes) else tuple(shape)
    except TypeError:
        sizes = None
    if sizes is None:
        raise TypeError(f"{name} must be a tuple such as (1, 28, 28) or (784,), not {shape!r}")
    if not sizes:
        raise ValueError(f"{name} must name at least one dimension")
    return tuple(check_count(name, size) for size in sizes)


def check_plain(name: str, value: Any) -> Any:
    """Return `value` unless it is a masked array of NumPy: its mask would be ignored, and what it hides be used."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, not a NumPy masked array: fill it or leave samples out")
    return value


def check_float_array(name: str, value: Any, *, ndim: int | None = None) -> np.ndarray:
    """Return `value` when it is a float32 or float64 array (of `ndim` dimensions)."""
    check_plain(name, value)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(value).__name__}")
    if value.dtype not in FLOATS:
        raise TypeError(f"{name} must be float32 or float64, not {value.dtype}")
    if ndim is not None and value.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, not shape {value.shape}")
    return value


def check_data(name: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) when they are two arrays of the same, positive number of samples."""
    try:
        x, y = data
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a pair (x, y) of arrays, for instance dataset.train") from None
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        raise TypeError(f"{name} must hold NumPy arrays, not {type(x).__name__} and {type(y).__name__}")
    for letter, array in (("x", x), ("y", y)):
        check_plain(f"{letter} of {name}", array)
    if not x.ndim or not y.ndim or len(x) != len(y) or not len(x):
        raise ValueError(f"{name} must have as many x as y, at least one, not shapes {x.shape} and {y.shape}")
    return x, y


def check_mask(name: str, mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return `mask` as an array when it is bool (True = kept) and of the shape of what it masks."""
    mask = np.asarray(check_plain(name, mask))
    if mask.dtype != bool or mask.shape != shape:
        raise ValueError(f"{name} must be bool of shape {shape}, not {mask.dtype} of shape {mask.shape}")
    return mask


def check_known(name: str, values: Collection[str], known: Collection[str]) -> None:
    """Refuse names that nothing carries: a misspelt layer must not silently prune nothing."""
    unknown = [value for value in values if value not in known]
    if unknown:
        raise ValueError(f"{name} names {', '.join(map(repr, unknown))}; the layers are {', '.join(map(repr, known))}")


def check_output_gradient(dy: np.ndarray, shape: tuple, dtype: np.dtype) -> np.ndarray:
    """Return dy, contiguous, when it has the output's shape and type; else raise before a kernel indexes it."""
    if not isinstance(check_plain("dy", dy), np.ndarray):
        raise TypeError(f"dy must be a NumPy array, not {type(dy).__name__}")
    if dy.shape != tuple(shape):
        raise ValueError(f"dy must have the output's shape {tuple(shape)}, not {dy.shape}")
    if dy.dtype != dtype:
        raise TypeError(f"dy must be {dtype}, like the forward pass, not {dy.dtype}")
    return np.ascontiguousarray(dy)


def warn_caller(message: str, category: type[Warning] = UserWarning, *, inside: tuple[str, ...] = ()) -> None:
    """Warn at the innermost line that is not this package's, nor in a file whose path starts with one of `inside`."""
    inside = (PACKAGE, "<frozen importlib", *inside)
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    told = frame.f_globals.setdefault("__warningregistry__", {})  # the filter "once for each place" needs it
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, registry=told)
