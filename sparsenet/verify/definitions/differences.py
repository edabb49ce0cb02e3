"""Derivatives by differences: what every hand-written gradient is held against."""

from collections.abc import Callable

import numpy as np


def central_difference(function: Callable[[], float], array: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """d function() / d array, element by element; `function` reads the array, which is changed in place and restored.

    Notes
    -----
    df/dx ~ (f(x + h) - f(x - h)) / 2h, wrong by h^2 f'''(x) / 6 and by rounding, about 1e-16 |f| / h

    Examples
    --------
    >>> x = np.array([1.0, 3.0])
    >>> central_difference(lambda: float((x**2).sum()), x).round(6).tolist()
    [2.0, 6.0]
    """
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function()
        array[index] = kept - step
        below = function()
        array[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient
