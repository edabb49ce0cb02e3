"""The one way in which kernels are compiled."""

from collections.abc import Callable

from numba import njit


def kernel(function: Callable) -> Callable:
    """Compile a function of plain arrays on its first call, without the GIL, and cache it on disk where that can be.

    Where no folder can be written (a read-only installation without a home) it is compiled anew in each process.
    """
    try:
        return njit(function, cache=True, nogil=True)
    except RuntimeError:  # "no locator available": Numba found no place for the cache
        return njit(function, nogil=True)
